"""The card of a trained model says by what its best epoch was chosen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline.experiment.model_card import training_card


def test_it_says_what_else_than_accuracy_the_best_epoch_was_chosen_for() -> None:
    config = {"variant": "resnet18", "weights": "none", "data": "photos", "split_seed": 0}
    about: Any = SimpleNamespace(
        config=config, image_size=32, resize="crop", image_ops=(), class_names=("a", "b"), data_digest="0" * 64
    )
    cards = [training_card(about, 0.821, 5, chosen_for, "", "0", "run") for chosen_for in ("", "a macro F1 of 71.2 %")]
    assert "**82.1 % right** on the validation photos, by which its best epoch (5) was chosen:\n" in cards[0]
    assert "by which its best epoch (5) was chosen, for a macro F1 of 71.2 %:\n" in cards[1]
