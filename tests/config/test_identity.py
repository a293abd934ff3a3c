"""Identities survive upgrades: what version 0.1 named is found again, and a later flag orphans nothing.

`tests/fixtures/identities.json` holds configs with all their flags, and the digests, keys and names that version 0.1
derived from them. It is never written again: a change that makes one of these tests fail would make strangers of
prepared photos, unfinished trainings, studies and registered models (see `pipeline.config.identity`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

import pipeline.config
from pipeline.config import FIRST_MAX_PIXELS, Config, TrainConfig, identifying_flags, restore_config
from pipeline.config.identity import AsBefore
from pipeline.data.intake import Candidate
from pipeline.data.rule_versions import HISTORY, NEWEST, RuleVersions
from pipeline.data.store.preparation import store_digest
from pipeline.experiment import training_key
from pipeline.search.study import study_name
from tests.conftest import FIXTURES

RECORDED = json.loads((FIXTURES / "identities.json").read_text())
PHOTOS = [
    Candidate(Path(f"photos/{label}/{number}.jpg"), label, f"{number:064x}", group="g" if number == 1 else "")
    for label in "ab"
    for number in range(3)
]


def _store_digest(config: Any, rules: RuleVersions = HISTORY[0]) -> str:
    return store_digest(config, Path("photos"), PHOTOS, rules)


IDENTITIES: dict[str, Callable[[Any], str]] = {
    "training_key": training_key,
    "study_name": lambda config: study_name(config, "0" * 64),
    "store_digest": _store_digest,
}


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: f"{case['identity']}-{case['expected'][:12]}")
def test_what_version_0_1_named_keeps_its_name(case: dict[str, Any]) -> None:
    flags = RECORDED["defaults"][case["config"]] | case["flags"]
    config = getattr(pipeline.config, case["config"])(**flags)
    assert IDENTITIES[case["identity"]](config) == case["expected"]


class _LaterConfig(TrainConfig):
    """A training with a flag that is younger than version 0.1, and whose default changes something."""

    rotation: Annotated[int, AsBefore(0)] = Field(90, ge=0)


def test_a_later_flag_is_part_of_an_identity_only_where_it_changes_something() -> None:
    before = training_key(TrainConfig())
    assert training_key(_LaterConfig(rotation=0)) == before
    assert len({before, training_key(_LaterConfig()), training_key(_LaterConfig(rotation=45))}) == 3


def test_what_was_recorded_before_a_flag_existed_is_read_as_before() -> None:
    recorded = TrainConfig(epochs=7).model_dump(mode="json") | {"gone": 1}
    restored = restore_config(_LaterConfig, recorded)
    assert (restored.rotation, restored.epochs) == (0, 7)
    assert training_key(restored) == training_key(TrainConfig(epochs=7))


def test_flags_that_do_not_matter_are_left_out() -> None:
    class Small(Config):
        kept: int = 1
        left_out: int = 2

    assert identifying_flags(Small(), exclude={"left_out"}) == {"kept": 1}


def test_later_rules_make_another_store_and_the_first_ones_the_same() -> None:
    config = pipeline.config.DataConfig()
    first = _store_digest(config)
    others = [RuleVersions(pixels=2), RuleVersions(grouping=2), RuleVersions(splits=2)]
    assert len({first, *(_store_digest(config, rules) for rules in others)}) == 4
    assert RuleVersions.from_record({}) == RuleVersions()
    assert RuleVersions.from_record(NEWEST.changed) == NEWEST


def test_the_default_of_max_pixels_names_what_its_former_one_named() -> None:
    """It has grown since version 0.1; what was made with the former default, which nobody typed, is found again."""
    former = {"max_pixels": FIRST_MAX_PIXELS}
    assert training_key(TrainConfig()) == training_key(TrainConfig(**former))
    assert training_key(TrainConfig()) != training_key(TrainConfig(max_pixels=1_000_000))
    data = pipeline.config.DataConfig
    assert _store_digest(data()) == _store_digest(data(**former))
    later = [_store_digest(config, RuleVersions(pixels=2)) for config in (data(), data(**former))]
    assert len({_store_digest(data()), *later}) == 3  # stores of the later rules have photos between both
