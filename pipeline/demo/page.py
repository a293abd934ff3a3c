"""The page of ``demo``: choose photos or take one, read the label, and see where the model looks and what is alike.

Streamlit runs this file from top to bottom at every change of the page; what is loaded once is kept by its cache.
Gradio was the other choice: no version of it installs beside Pillow 13 and Starlette 1.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import streamlit as st

from pipeline.config import UserError
from pipeline.data.pixels import BadImage
from pipeline.demo import Answer, Demo
from pipeline.serving import NONE_OF_THESE

if TYPE_CHECKING:
    from streamlit.runtime.uploaded_file_manager import UploadedFile

NEIGHBOURS = 6
MOST_CLASSES, WEAKEST = 20, 5  # classes that are all named; of more, so many
KEEP = 0.95  # of photos of known classes keep their label where that is asked for
LIKELIEST = 10  # classes whose probabilities are shown
SURE = 2 / 3  # a label that is less probable is called unsure: it would be wrong more than one time in three
PHOTO_TYPES = ["image/*", ".heic", ".heif", ".avif"]  # by the first, phones offer their camera, too
THUMBNAIL_PX = 150


class Classified(NamedTuple):
    """A photo, uint8 RGB (height, width, 3), its name, the network's input, and what the model says of it."""

    name: str
    image: np.ndarray
    prepared: np.ndarray
    answer: Answer


@st.cache_resource(show_spinner="Loading the model…")
def load(model_uri: str, data: str) -> Demo:
    """Load the model and its training photos, once for all visitors."""
    return Demo.load(model_uri, data)


def show_classes(demo: Demo) -> None:
    """Name the classes; of many, those that the model knows worst, and all in a table that opens."""
    count = len(demo.class_names)
    names = ", ".join(demo.class_names) if count <= MOST_CLASSES else f"{count:,} classes"
    st.write(f"It tells {names} apart. Your photos stay on the machine that runs it.")
    if count <= MOST_CLASSES:
        return
    weakest = sorted(demo.recalls, key=lambda name: demo.recalls[name])
    if weakest:
        named = ", ".join(f"{name} ({100 * demo.recalls[name]:.0f} %)" for name in weakest[:WEAKEST])
        st.write(f"It is weakest on these classes, by its validation photos: {named}.")
    table = {"class": weakest or demo.class_names}
    with st.expander("All classes, the weakest first" if weakest else "All classes"):
        st.dataframe(table | {"recognised": [demo.recalls[name] for name in weakest]} if weakest else table)


def chosen_keep(demo: Demo) -> float:
    """Return the share of photos of known classes that keep their label, which the visitor chooses; 1 for all."""
    if not demo.can_doubt:
        return 1.0
    doubts = st.toggle(
        "Answer “none of these” for photos that are probably of other classes",
        help="This also rejects 1 in 20 photos of its own classes.",
        key="doubts",
    )
    return KEEP if doubts else 1.0


def title_of(answer: Answer) -> str:
    """Return the answer in a few words: a label and its probability, that it is unsure, or none of these."""
    likeliest, *others = answer.probabilities
    if answer.label == NONE_OF_THESE:
        return answer.label.capitalize()
    if answer.probability >= SURE or not others:
        return f"{answer.label}, {percent(answer.probability)}"
    return f"Unsure: {likeliest[0]} ({percent(likeliest[1])}) or {others[0][0]} ({percent(others[0][1])})?"


def percent(share: float) -> str:
    """Return a share in 0..1 as text."""
    return f"{100 * share:.{0 if share >= 0.1 else 1}f}\N{NO-BREAK SPACE}%"


def classify(demo: Demo, uploads: Sequence[UploadedFile], keep: float) -> list[Classified]:
    """Return what the model says of each photo; say which ones cannot be used."""
    found = []
    for upload in uploads:
        try:
            image = demo.decoded(upload.getvalue())
        except BadImage as error:
            st.error(f"{upload.name} cannot be used: {error}.")
            continue
        prepared = demo.prepared(image)
        found.append(Classified(upload.name, image, prepared, demo.answer(prepared, keep)))
    return found


def choose(found: list[Classified]) -> Classified:
    """Show all answers, if there are several, and return the photo that the visitor wants to look at."""
    if len(found) == 1:
        return found[0]
    counts = Counter("unsure" if title_of(each.answer).startswith("Unsure") else each.answer.label for each in found)
    st.header(f"{len(found)} photos: " + ", ".join(f"{n} {label}" for label, n in counts.most_common()), anchor=False)
    captions = [f"{number}. {title_of(each.answer)}" for number, each in enumerate(found, 1)]
    show_thumbnails([each.prepared for each in found], captions, [each.name for each in found])
    place = st.selectbox(
        "Look at", range(len(found)), format_func=lambda place: f"{place + 1}. {found[place].name}", key="chosen"
    )
    return found[place]


def show_answer(demo: Demo, photo: Classified) -> None:
    """Show label, probabilities, and heat map of a photo: the answer first."""
    answer, likeliest = photo.answer, photo.answer.probabilities[0][0]
    st.header(title_of(answer), anchor=False)
    for name, probability in answer.probabilities[:LIKELIEST]:
        st.progress(probability, text=f"{name} {100 * probability:.1f} %")
    left, right = st.columns(2)
    overlay, has_evidence = demo.evidence(photo.prepared)
    speaks = f"Evidence for {likeliest} (Grad-CAM): the yellower, the stronger"
    if not has_evidence:
        speaks = f"Nothing is marked: no part of the photo raised the score of {likeliest} (Grad-CAM)"
    left.image(photo.image, caption="The photo", width="stretch", alt=photo.name)
    right.image(overlay, caption=speaks, width="stretch", alt=f"{photo.name} under a heat map")


def show_neighbours(demo: Demo, photo: Classified) -> None:
    """Show the training photos that are most similar to the network, or why there are none."""
    st.subheader("The most similar training photos", anchor=False)
    if isinstance(demo.similar, str):
        st.info(f"They cannot be shown: {demo.similar}")
        return
    with st.spinner("Searching the training photos…"):
        neighbours = demo.similar.nearest(photo.prepared, NEIGHBOURS)
    st.caption(
        "Of the photos that the model was trained on, these look most like yours to it. Below each stand its label in "
        "the training data and its similarity: the cosine of the features before the last layer, 1 if the network "
        "cannot tell the two apart. Other labels among them show what it may confuse."
    )
    captions = [f"{neighbour.label}, {neighbour.similarity:.2f}" for neighbour in neighbours]
    show_thumbnails([neighbour.pixels for neighbour in neighbours], captions, captions)


def show_thumbnails(images: Sequence[np.ndarray], captions: Sequence[str], alts: Sequence[str]) -> None:
    """Show small photos side by side, as many in a row as fit."""
    with st.container(horizontal=True):
        for image, caption, alt in zip(images, captions, alts, strict=True):
            st.image(image, caption=caption, width=THUMBNAIL_PX, alt=alt)


def show_facts(demo: Demo) -> None:
    """Say which model this is, and what it has learned from."""
    with st.expander("About this model"):
        st.table({"": list(demo.facts), "value": list(demo.facts.values())}, hide_index=True, hide_header=True)


def main(model_uri: str, data: str) -> None:
    """Lay out the page."""
    st.set_page_config(page_title="Try the classifier", page_icon="📷", layout="centered")
    st.title("Try the classifier", anchor=False)
    try:
        demo = load(model_uri, data)
    except UserError as error:
        st.error(str(error))
        return
    show_classes(demo)
    uploads = st.file_uploader("Choose photos, or take one", type=PHOTO_TYPES, accept_multiple_files=True)
    keep = chosen_keep(demo)
    if found := classify(demo, uploads, keep):
        photo = choose(found)
        show_answer(demo, photo)
        show_neighbours(demo, photo)
    show_facts(demo)


if __name__ == "__main__":
    main(*sys.argv[1:3])
