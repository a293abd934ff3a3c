"""The card of a trained model says by what its best epoch was chosen, and shows names as they are."""

from __future__ import annotations

import html
import re
from types import SimpleNamespace
from typing import Any

import markdown
import pytest

from pipeline.experiment.model_card import render_card, training_card


def test_it_says_what_else_than_accuracy_the_best_epoch_was_chosen_for() -> None:
    config = {"variant": "resnet18", "weights": "none", "data": "photos", "split_seed": 0}
    about: Any = SimpleNamespace(
        config=config, image_size=32, resize="crop", image_ops=(), class_names=("a", "b"), data_digest="0" * 64
    )
    cards = [training_card(about, 0.821, 5, chosen_for, "", "0", "run") for chosen_for in ("", "a macro F1 of 71.2 %")]
    assert (
        "**82.1 % right** on the validation photos, which were also used to choose its best epoch\n(5):\n" in cards[0]
    )
    assert "to choose its best epoch\n(5), for a macro F1 of 71.2 %:\n" in cards[1]


MEAN_NAMES = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a|b", "**bold**", "_it_", "[a](http://b.example)",
    "![a](b)", "`code`", "&lt;i&gt;", "# title", "- item", "~~gone~~", "a\\_b_", "http://b.example", "www.b.example",
    "<http://b.example>", "@somebody", ":smile:", "line\nbreak", "great_white_shark", "R&D", "ünï 🌼",
    "=1+1", "{{ x }}",
)  # fmt: skip


@pytest.mark.parametrize("name", MEAN_NAMES)
def test_names_are_shown_as_they_are(name: str) -> None:
    """By a reader of Markdown, in a line and in a table, as text and as code."""
    config = {"variant": "resnet18", "weights": name, "data": name, "split_seed": 0}
    about: Any = SimpleNamespace(
        config=config, image_size=32, resize="crop", image_ops=(name,), class_names=(name, "b"), data_digest="0" * 64
    )
    card = training_card(about, 0.821, 5, "", "models:/a/1", "0", "run")
    assert 'mlflow.pyfunc.load_model("models:/a/1")' in card
    table = render_card("| name | n |\n|---|---|\n| {{ name }} | 1 |\n", "0", "run", name=name)
    page = markdown.markdown(f"{card}\n\n{table}", extensions=["tables", "fenced_code"])
    tags = set(re.findall(r"<(\w+)", page))
    assert tags == {"p", "strong", "h3", "a", "img", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}
    shown = [html.unescape(text) for text in re.findall(r">([^<>]*)<", page)]
    one_line = " ".join(name.split())
    assert shown.count(one_line) == 4  # in a cell, and as code
    assert any(f"2 classes: {one_line}, b." in text for text in shown)
    assert page.count("<a ") == 2  # ours: the picture's, and the run's
