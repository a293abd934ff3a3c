"""The name of a store: hashed part by part, it is what hashing all at once gave."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.config import DataConfig, identifying_flags
from pipeline.data.intake import Candidate, photo_name
from pipeline.data.intake.photos import BATCH
from pipeline.data.rule_versions import NEWEST
from pipeline.data.store.preparation import FORMAT, store_digest


@pytest.mark.parametrize("count", [0, 1, BATCH, 2 * BATCH + 1])
def test_the_digest_does_not_depend_on_how_many_are_hashed_at_once(count: int) -> None:
    source, config = Path("photos"), DataConfig()
    photos = [
        Candidate(source / f"ro\u0301se{number % 7}/{number}.jpg", f'"{number % 7}', f"{number:064x}", split="train")
        for number in range(count)
    ]
    options = identifying_flags(config.data_config(), exclude={"data", "exclude"}) | {"max_pixels": config.max_pixels}
    rows = [(photo_name(source, photo.path), photo.label, photo.sha256, photo.split, photo.group) for photo in photos]
    whole = json.dumps([FORMAT, options, rows, NEWEST.changed], sort_keys=True)
    assert store_digest(config, source, photos, NEWEST) == hashlib.sha256(whole.encode()).hexdigest()
