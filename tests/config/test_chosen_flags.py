"""Flags that choose for themselves: what they come to, and that nothing that was typed is replaced."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import FROM_SCRATCH, AblateConfig, SuspectsConfig, TrainConfig, TuneConfig, chosen_by_photos
from pipeline.config.chosen_flags import LEAST_EPOCHS, MOST_EPOCHS, OPEN, STEPS, UNFREEZE_LR_FACTOR, open_flags

CONFIGS = (TrainConfig, TuneConfig, AblateConfig)


@pytest.mark.parametrize("config_class", CONFIGS)
def test_random_weights_have_the_values_that_they_always_had(config_class: type[TrainConfig]) -> None:
    config = config_class(weights="none")
    for name in OPEN.keys() & config_class.model_fields.keys():
        assert getattr(config_class(), name) == OPEN[name]
        assert getattr(config, name) == FROM_SCRATCH[name]
    assert open_flags(config.model_dump()) == set()


def test_what_was_typed_is_never_replaced() -> None:
    typed = {"image_size": 96, "epochs": 5, "head_epochs": 2, "unfreeze_lr_factor": 0.5}
    assert (
        TrainConfig(weights="none", **typed).model_dump() | typed == TrainConfig(weights="none", **typed).model_dump()
    )
    assert chosen_by_photos(TuneConfig(**typed, head_trials=1).model_dump(), 1000) == {}
    assert open_flags(SuspectsConfig().model_dump()) == {"image_size"}


@pytest.mark.parametrize(
    ("photos", "flags", "wanted"),
    [
        (80, {}, {"epochs": MOST_EPOCHS, "head_epochs": 8}),  # 20 photos a class
        (64_000, {}, {"epochs": LEAST_EPOCHS, "head_epochs": 1}),
        (2936, {"freeze_backbone": True}, {"epochs": -(-STEPS // 46), "head_epochs": 0}),
        (2936, {"epochs": 1, "warmup_epochs": 0}, {"head_epochs": 0}),
        (64_000, {"head_epochs": 4}, {"epochs": 5}),
        (64_000, {"warmup_epochs": 3}, {"epochs": 4, "head_epochs": 1}),
    ],
)
def test_the_fewer_photos_the_more_epochs(photos: int, flags: dict[str, Any], wanted: dict[str, int]) -> None:
    chosen = chosen_by_photos(TrainConfig(**flags).model_dump(), photos)
    assert chosen == {"unfreeze_lr_factor": UNFREEZE_LR_FACTOR} | wanted


def test_half_of_the_trials_are_heads_where_fine_tuning_has_two_phases() -> None:
    def heads(**flags: Any) -> int | None:
        return chosen_by_photos(TuneConfig(**flags).model_dump(), 500).get("head_trials")

    assert [heads(), heads(n_trials=1), heads(head_epochs=0), heads(freeze_backbone=True), heads(head_trials=0)] == [
        6, 0, 0, 0, None,
    ]  # fmt: skip


@given(
    st.integers(1, 10**6),
    st.fixed_dictionaries(
        {"batch_size": st.integers(1, 512), "warmup_epochs": st.floats(0, 8)},
        optional={"head_epochs": st.integers(-1, 9), "freeze_backbone": st.booleans()},
    ),
)
def test_what_is_chosen_obeys_the_rules_between_flags(photos: int, flags: dict[str, Any]) -> None:
    if flags.get("freeze_backbone") and flags.get("head_epochs", 0) > 0:
        return
    flags = TrainConfig(**flags).model_dump()
    chosen = TrainConfig(**flags | chosen_by_photos(flags, photos))
    assert open_flags(chosen.model_dump()) == {"image_size"}
