"""What is laid before a person: contact sheets with the right photos on them, tables, and one line for the console."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline import plots, tracking
from pipeline.config import PreprocessConfig
from pipeline.data.pixels.decode import decode
from pipeline.data.sources.synthetic import draw_photo
from pipeline.data.store.store import Store, prepared_store
from pipeline.evaluation import baseline
from pipeline.experiment import label_suspects, review
from pipeline.experiment import photos as photos_of_commands


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Twelve photos of two classes, one of them mirrored as well, one smaller as well, one under the other label."""
    folder = tmp_path_factory.mktemp("review")
    for number in range(12):
        picture = decode(draw_photo("tulips", np.random.default_rng(number)))
        copies = {"a" if number < 6 else "b": picture}
        copies |= {"a/mirror": picture[:, ::-1]} if number == 0 else {}
        copies |= {"a/small": cv2.resize(picture, None, fx=0.5, fy=0.5)} if number == 0 else {}
        copies |= {"b/wrong": picture} if number == 1 else {}
        for place, image in copies.items():
            file = (
                folder / "photos" / f"{place}-{number}.png"
                if "/" in place
                else folder / "photos" / place / f"{number}.png"
            )
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), np.ascontiguousarray(image[..., ::-1]))
    return prepared_store(PreprocessConfig(data=str(folder / "photos"), image_size=32), folder / "data")


def test_the_line_counts_pairs_kinds_labels_and_the_largest_group(store: Store) -> None:
    assert review.duplicates_line(store) == (
        "4 pairs of one picture (2 mirrored, 1 alike, 1 same pixels; 1 under two labels), "
        "the largest group has 3 photos"
    )


@pytest.fixture
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[list[np.ndarray]], list[str], str]]:
    """What the contact sheets are asked to show."""
    asked: list[tuple[list[list[np.ndarray]], list[str], str]] = []
    draw = plots.draw_groups
    monkeypatch.setattr(plots, "draw_groups", lambda *what: asked.append(what) or draw(*what))
    return asked


def test_duplicates_are_logged_with_their_pictures(
    store: Store, tracking_store: MlflowClient, sheets: list[tuple[list[list[np.ndarray]], list[str], str]]
) -> None:
    tracking.connect()
    for _ in range(2):
        with tracking.run("preprocess", "pictures", PreprocessConfig()) as run_id:
            photos_of_commands.log_store(store, ("train", "validation", "test"))
        names = {file.path for file in tracking_store.list_artifacts(run_id)}
        assert names >= {"duplicates.csv", "duplicates.png", "samples.png", "class_counts.png", "class_counts.json"}
    table = pd.read_csv(tracking_store.download_artifacts(run_id, "duplicates.csv"), keep_default_na=False)
    assert table["path"].tolist() == store.duplicates["path"].tolist()
    (sheet,) = sheets  # the second run has the pictures of the first
    photos, captions, title = sheet
    assert [len(group) for group in photos] == [3, 2]
    assert captions[1] == "same pixels (quarantined): a and b"
    assert title == "2 groups of photos that show the same picture"
    rows = store.manifest.set_index("path").loc[["a/0.png", "a/mirror-0.png", "a/small-0.png"]]
    for shown, row in zip(photos[0], rows.itertuples(), strict=True):
        np.testing.assert_array_equal(shown, store.images(row.split)[row.row])
    assert np.abs(photos[1][0].astype(int) - photos[1][1]).max() == 0


def test_groups_of_splits_that_are_not_to_be_seen_are_not_drawn(
    store: Store, sheets: list[tuple[list[list[np.ndarray]], list[str], str]]
) -> None:
    split = store.manifest.set_index("path").loc["a/0.png", "split"]
    assert review.duplicates_sheet(store, ("train", "validation", "test")) is not None
    assert review.duplicates_sheet(store, sorted({"train", "validation", "test"} - {split})) is not None
    assert [captions for _, captions, _ in sheets][1] == ["same pixels (quarantined): a and b"]


def test_label_suspects_are_logged_with_their_pictures(
    store: Store,
    tracking_store: MlflowClient,
    sheets: list[tuple[list[list[np.ndarray]], list[str], str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("cleanlab", reason="the extra suspects")
    monkeypatch.setattr(baseline, "ALPHA", 1)  # seven photos prove little
    tracking.connect()
    labels = store.labels("train")
    probabilities = np.eye(2)[labels] * 0.9 + 0.05
    probabilities[0] = probabilities[0][::-1]
    with tracking.run("train", "suspects", PreprocessConfig()) as run_id:
        line = review.log_suspects(store, ["train"], probabilities)
    place = f"mlruns/0/{run_id}/artifacts/label_suspects.csv"
    assert line == f"1 of {len(labels)} train photos have doubtful labels: see {place}"
    table = pd.read_csv(place)
    assert table["path"].tolist() == [store.rows("train")["path"].iloc[0]]
    photos, captions, _ = sheets[0]
    np.testing.assert_array_equal(photos[0][0], store.images("train")[0])
    assert captions == [f"{table['label'][0]}; or {table['suggested'][0]}, 0.95?"]


def test_who_is_not_better_than_one_answer_names_no_suspects(
    store: Store, tracking_store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_suspects, "can_find_suspects", lambda: True)
    one_answer = np.tile([0.9, 0.1], (len(store.labels("train")), 1))
    with tracking.run("train", "suspects", PreprocessConfig()) as run_id:
        line = review.log_suspects(store, ["train"], one_answer)
    assert line.startswith("no label suspects: the model is not proven better than always giving the same answer: ")
    assert not [file for file in tracking_store.list_artifacts(run_id) if "suspects" in file.path]


def test_a_training_does_not_fail_for_the_sake_of_its_suspects(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.eye(2)[store.labels("train")]

    def fail(*_: object) -> None:
        raise ValueError("no way")

    monkeypatch.setattr(baseline, "ALPHA", 1)
    monkeypatch.setattr(label_suspects, "can_find_suspects", lambda: True)
    monkeypatch.setattr(label_suspects, "suspect_table", fail)
    assert review.log_suspects(store, ["train"], probabilities).endswith("cleanlab failed with no way")
    monkeypatch.setattr(label_suspects, "can_find_suspects", lambda: False)
    assert review.log_suspects(store, ["train"], probabilities) == label_suspects.missing_extra()


def test_the_sheet_says_how_many_photos_of_a_group_it_leaves_out(tmp_path: Path) -> None:
    photo = np.zeros((16, 16, 3), np.uint8)
    figure = plots.draw_groups([[photo] * 6, [photo] * 2], ["many", "two"], "Groups")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["many, and 2 more", "two"]
    assert plots.draw_groups([], [], "None").axes == []
