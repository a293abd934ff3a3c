"""When rules change: what was made by earlier ones keeps them, and what is new gets the newest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DataConfig, UserError
from pipeline.data.pixels import decode, prepare
from pipeline.data.pixels.decode import PIXEL_RULES
from pipeline.data.rule_versions import HISTORY, RuleVersions
from pipeline.data.splits.assignment import ASSIGN_SPLITS
from pipeline.data.store import Store, prepared_store
from pipeline.data.store import store as store_module
from pipeline.serving import About

FIRST = HISTORY[-1]  # today's, as if there were none before
SECOND = FIRST._replace(splits=FIRST.splits + 1)


@pytest.fixture
def prepared(photo_folder: Path, tmp_path: Path) -> Callable[..., Store]:
    """A function that prepares the photos with some flags, by the newest rules or those that it is given."""

    def make(rules: RuleVersions | None = None, **flags: int) -> Store:
        config = DataConfig(data=str(photo_folder), **{"image_size": 32} | flags)
        return prepared_store(config, tmp_path / "data", rules=rules)

    return make


@pytest.fixture
def later_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version of this package, in which photos are split by other rules."""
    assign = ASSIGN_SPLITS[FIRST.splits]
    monkeypatch.setitem(ASSIGN_SPLITS, SECOND.splits, lambda *arguments: assign(*arguments[:-1], arguments[-1] + 1000))
    monkeypatch.setattr(store_module, "HISTORY", (FIRST, SECOND))
    monkeypatch.setattr("pipeline.data.rule_versions.NEWEST", SECOND)


def test_a_store_is_found_again_after_the_rules_have_changed(
    prepared: Callable[..., Store], request: pytest.FixtureRequest
) -> None:
    before = prepared()
    request.getfixturevalue("later_rules")
    again = prepared()
    assert (again.reused, again.digest, again.rule_versions) == (True, before.digest, FIRST)


@pytest.mark.usefixtures("later_rules")
def test_what_is_new_gets_the_newest_rules_and_a_model_its_own(prepared: Callable[..., Store]) -> None:
    newest = prepared()
    assert (newest.reused, newest.rule_versions) == (False, SECOND)
    of_a_model = prepared(rules=FIRST)
    assert (of_a_model.reused, of_a_model.rule_versions) == (False, FIRST)
    assert newest.digest != of_a_model.digest
    assert newest.manifest["split"].tolist() != of_a_model.manifest["split"].tolist()
    assert prepared().rule_versions == SECOND  # of several, the newest is found


def _about(**rules: int) -> About:
    return About(("a", "b"), 32, "crop", (), "digest", "photos", {}, rules=rules)


def test_a_model_remembers_its_rules() -> None:
    assert _about().rule_versions == RuleVersions()
    with pytest.raises(UserError, match=r"a version that this package knows, got pixels version 9 \(upgrade"):
        _ = _about(pixels=9).rule_versions


def test_pixels_are_made_by_the_version_that_is_asked_for(photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = next((photo_folder / "red").iterdir()).read_bytes()
    first = PIXEL_RULES[1]

    def decode_negative(data: bytes, max_pixels: int) -> object:
        decoded = first.decode(data, max_pixels)
        return decoded._replace(pixels=255 - decoded.pixels)

    monkeypatch.setitem(PIXEL_RULES, 2, first._replace(decode=decode_negative))
    pixels = decode(data)
    np.testing.assert_array_equal(decode(data, version=2), 255 - pixels)
    np.testing.assert_array_equal(prepare(pixels, 32, "crop", version=2), prepare(pixels, 32, "crop"))
