"""The page of ``demo``: drop a photo, see what the model makes of it, where it looks, and what it has seen like it.

Streamlit runs this file from top to bottom at every change of the page; what is loaded once is kept by its cache.
Gradio was the other choice: no version of it installs beside Pillow 13 and Starlette 1.
"""

from __future__ import annotations

import sys

import numpy as np
import streamlit as st

from pipeline.config import UserError
from pipeline.data.pixels import BadImage
from pipeline.demo import Demo

NEIGHBOURS = 6
MOST_CLASSES, WEAKEST = 20, 5  # classes that are all named; of more, so many
KEEP = 0.95  # of photos of known classes keep their label where that is asked for
LIKELIEST = 10  # classes whose probabilities are shown


@st.cache_resource(show_spinner="Loading the model…")
def load(model_uri: str, data: str) -> Demo:
    """Load the model and its training photos, once for all visitors."""
    return Demo.load(model_uri, data)


def show_classes(demo: Demo) -> None:
    """Name the classes; of many, those that the model knows worst, and all in a table that opens."""
    count = len(demo.class_names)
    names = ", ".join(demo.class_names) if count <= MOST_CLASSES else f"{count:,} classes"
    st.write(f"It tells {names} apart ({demo.name}). The photo stays on this machine.")
    if count <= MOST_CLASSES:
        return
    weakest = sorted(demo.recalls, key=lambda name: demo.recalls[name])
    if weakest:
        named = ", ".join(f"{name} ({100 * demo.recalls[name]:.0f} %)" for name in weakest[:WEAKEST])
        st.write(f"It recognises these worst, by its validation photos: {named}.")
    table = {"class": weakest or demo.class_names}
    with st.expander("All classes, the weakest first" if weakest else "All classes"):
        st.dataframe(table | {"recognised": [demo.recalls[name] for name in weakest]} if weakest else table)


def chosen_keep(demo: Demo) -> float:
    """Return the share of photos of known classes that keep their label, which the visitor chooses; 1 for all."""
    if not demo.can_doubt:
        return 1.0
    doubts = st.toggle(
        "Say “none of these” of a photo that it is less sure of than of 95 % of photos of its classes",
        key="doubts",
    )
    return KEEP if doubts else 1.0


def show_answer(demo: Demo, image: np.ndarray, keep: float) -> None:
    """Show label, probabilities, and heat map of a decoded photo."""
    prepared = demo.prepared(image)
    answer = demo.answer(prepared, keep)
    likeliest = answer.probabilities[0][0]
    left, right = st.columns(2)
    with left:
        st.image(image, caption="The photo", width="stretch")
    with right:
        st.image(demo.overlay(prepared), caption=f"What speaks for {likeliest} (Grad-CAM)", width="stretch")
    digits = 0 if answer.probability >= 0.1 else 1
    known = answer.label == likeliest
    title = f"{answer.label}, {100 * answer.probability:.{digits}f} %" if known else answer.label.capitalize()
    st.header(title, anchor=False)
    for name, probability in answer.probabilities[:LIKELIEST]:
        st.progress(probability, text=f"{name} {100 * probability:.1f} %")


def show_neighbours(demo: Demo, image: np.ndarray) -> None:
    """Show the training photos that are most similar to the network, or why there are none."""
    st.subheader("The most similar training photos", anchor=False)
    if isinstance(demo.similar, str):
        st.info(f"They cannot be shown: {demo.similar}")
        return
    with st.spinner("Looking at the training photos…"):
        neighbours = demo.similar.nearest(demo.prepared(image), NEIGHBOURS)
    for column, neighbour in zip(st.columns(len(neighbours)), neighbours, strict=True):
        column.image(neighbour.pixels, caption=f"{neighbour.label} {neighbour.similarity:.2f}", width="stretch")
    st.caption("The number is the cosine of the features before the last layer: 1 is the same to the network.")


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
    keep = chosen_keep(demo)
    uploaded = st.file_uploader("Drop a photo here", accept_multiple_files=False)
    if uploaded is None:
        return
    try:
        image = demo.decoded(uploaded.getvalue())
    except BadImage as error:
        st.error(f"This photo cannot be used: {error}.")
        return
    show_answer(demo, image, keep)
    show_neighbours(demo, image)


if __name__ == "__main__":
    main(*sys.argv[1:3])
