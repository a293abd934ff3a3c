"""What the page says of a model's classes, few or many."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("streamlit", reason="the page needs Streamlit (extra demo)")
from streamlit.testing.v1 import AppTest

from pipeline.demo import Answer
from pipeline.demo.page import title_of


@pytest.fixture(autouse=True)
def own_main_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Streamlit, which puts a script in its place, not keep it: processes of later tests would run that script."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def _page(classes: int, with_recalls: bool) -> None:
    from types import SimpleNamespace

    from pipeline.demo.page import show_classes

    names = tuple(f"class {number}" for number in range(classes))
    recalls = {name: 1 - number / classes for number, name in enumerate(names)} if with_recalls else {}
    show_classes(SimpleNamespace(class_names=names, recalls=recalls))  # type: ignore[arg-type]


def _shown(classes: int, with_recalls: bool) -> AppTest:
    page = AppTest.from_function(_page, args=(classes, with_recalls)).run(timeout=60)
    assert not page.exception
    return page


def test_few_classes_are_all_named() -> None:
    page = _shown(2, with_recalls=True)
    assert [text.value for text in page.markdown] == [
        "It tells class 0, class 1 apart. Your photos stay on the machine that runs it."
    ]
    assert not page.dataframe


def test_of_many_classes_the_weakest_are_named_and_all_listed() -> None:
    page = _shown(100, with_recalls=True)
    told, worst = (text.value for text in page.markdown)
    assert "100 classes apart" in told
    assert worst.startswith(
        "It is weakest on these classes, by its validation photos: class 99 (1 %), class 98 (2 %), "
    )
    assert page.dataframe[0].value["class"].tolist()[:2] == ["class 99", "class 98"]
    assert len(page.dataframe[0].value) == 100


def test_where_no_figures_are_known_no_class_is_called_weak() -> None:
    page = _shown(100, with_recalls=False)
    assert len(page.markdown) == 1
    assert page.dataframe[0].value["class"].tolist()[0] == "class 0"


def _doubts(can_doubt: bool) -> None:
    from types import SimpleNamespace

    import streamlit as st

    from pipeline.demo.page import chosen_keep

    st.write(f"keep {chosen_keep(SimpleNamespace(can_doubt=can_doubt))}")  # type: ignore[arg-type]


def test_a_switch_asks_for_none_of_these() -> None:
    page = AppTest.from_function(_doubts, args=(True,)).run(timeout=60)
    assert page.markdown[0].value == "keep 1.0"
    page.toggle[0].set_value(True).run(timeout=60)
    assert page.markdown[0].value == "keep 0.95"


def test_a_model_that_cannot_doubt_has_no_switch() -> None:
    page = AppTest.from_function(_doubts, args=(False,)).run(timeout=60)
    assert page.markdown[0].value == "keep 1.0"
    assert not page.toggle


@pytest.mark.parametrize(
    ("label", "probabilities", "title"),
    [
        ("roses", [("roses", 0.914), ("tulips", 0.086)], "roses, 91 %"),
        (
            "roses",
            [("roses", 0.55), ("tulips", 0.45)],
            "Unsure: roses (55 %) or tulips (45 %)?",
        ),
        ("none of these", [("roses", 0.55), ("tulips", 0.45)], "None of these"),
        (
            "roses",
            [("roses", 0.08), ("tulips", 0.05)],
            "Unsure: roses (8.0 %) or tulips (5.0 %)?",
        ),
    ],
)
def test_the_answer_says_when_it_is_unsure(label: str, probabilities: list[tuple[str, float]], title: str) -> None:
    said = title_of(Answer(label, probabilities[0][1], probabilities))
    assert said.replace("\N{NO-BREAK SPACE}", " ") == title


def _several() -> None:
    from types import SimpleNamespace

    import numpy as np

    from pipeline.data.pixels import BadImage
    from pipeline.demo import Answer
    from pipeline.demo.page import choose, classify

    def decoded(data: bytes) -> np.ndarray:
        if not data:
            raise BadImage("empty file")
        return np.full((4, 4, 3), data[0], np.uint8)

    def answer(prepared: np.ndarray, keep: float) -> Answer:
        sure = prepared[0, 0, 0] / 100
        return Answer("roses", sure, [("roses", sure), ("tulips", 1 - sure)])

    demo = SimpleNamespace(decoded=decoded, prepared=lambda image: image, answer=answer)
    uploads = [
        SimpleNamespace(name=f"{byte.decode()}.jpg", getvalue=lambda byte=byte: byte) for byte in (b"Z", b"<", b"")
    ]
    import streamlit as st

    st.write(choose(classify(demo, uploads, 1.0)).name)  # type: ignore[arg-type]


def test_several_photos_are_told_at_once_and_each_can_be_looked_at() -> None:
    page = AppTest.from_function(_several).run(timeout=60)
    assert not page.exception
    assert page.header[0].value == "2 photos: 1 roses, 1 unsure"
    assert page.error[0].value == ".jpg cannot be used: empty file."
    assert page.markdown[0].value == "Z.jpg"
    page.selectbox[0].select_index(1).run(timeout=60)
    assert page.markdown[0].value == "<.jpg"


def _neighbours(has_evidence: bool) -> None:
    from types import SimpleNamespace

    import numpy as np

    from pipeline.demo import Answer
    from pipeline.demo.page import Classified, show_answer, show_neighbours
    from pipeline.demo.similar import Neighbour

    grey = np.full((4, 4, 3), 90, np.uint8)
    similar = SimpleNamespace(nearest=lambda image, count: [Neighbour(grey, "a.jpg", "tulips", 0.876)] * count)
    demo = SimpleNamespace(similar=similar, evidence=lambda prepared: (prepared, has_evidence))
    photo = Classified("a.jpg", grey, grey, Answer("roses", 0.9, [("roses", 0.9), ("tulips", 0.1)]))
    show_answer(demo, photo)  # type: ignore[arg-type]
    show_neighbours(demo, photo)  # type: ignore[arg-type]


@pytest.mark.parametrize("has_evidence", [True, False])
def test_the_pictures_are_explained(has_evidence: bool) -> None:
    page = AppTest.from_function(_neighbours, args=(has_evidence,)).run(timeout=60)
    assert not page.exception
    assert page.subheader[0].value == "The most similar training photos"
    assert page.caption[0].value.startswith("Of the photos that the model was trained on, these look most like yours")
    captions = [image.proto.imgs[0].caption for image in page.get("image")]
    assert captions[0] == "The photo"
    assert ("Nothing is marked" in captions[1]) != has_evidence
    assert captions[2:] == ["tulips, 0.88"] * 6
