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
MOST_CLASSES, LIKELIEST = 20, 10  # classes that are named, and whose probabilities are shown


@st.cache_resource(show_spinner="Loading the model…")
def load(model_uri: str, data: str) -> Demo:
    """Load the model and its training photos, once for all visitors."""
    return Demo.load(model_uri, data)


def show_answer(demo: Demo, image: np.ndarray) -> None:
    """Show label, probabilities, and heat map of a decoded photo."""
    prepared = demo.prepared(image)
    answer = demo.answer(prepared)
    left, right = st.columns(2)
    with left:
        st.image(image, caption="The photo", width="stretch")
    with right:
        st.image(demo.overlay(prepared), caption=f"What speaks for {answer.label} (Grad-CAM)", width="stretch")
    st.header(f"{answer.label}, {100 * answer.probability:.0f} %", anchor=False)
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
    names = ", ".join(demo.class_names[:MOST_CLASSES])
    if len(demo.class_names) > MOST_CLASSES:
        names = f"{len(demo.class_names):,} classes, such as {names},"
    st.write(f"It tells {names} apart ({demo.name}). The photo stays on this machine.")
    uploaded = st.file_uploader("Drop a photo here", accept_multiple_files=False)
    if uploaded is None:
        return
    try:
        image = demo.decoded(uploaded.getvalue())
    except BadImage as error:
        st.error(f"This photo cannot be used: {error}.")
        return
    show_answer(demo, image)
    show_neighbours(demo, image)


if __name__ == "__main__":
    main(*sys.argv[1:3])
