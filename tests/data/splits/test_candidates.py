"""The search for near hashes: it misses none where there is room, and is bounded where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits import candidates
from pipeline.data.splits.candidates import NEAREST, candidate_pairs
from pipeline.data.splits.duplicates import MAX_DISTANCE_BITS

hashes_close_together = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 63), max_size=8)), min_size=1, max_size=NEAREST
)


@given(hashes_close_together, st.integers(0, 2**32))
@settings(deadline=None, max_examples=40)
def test_all_near_hashes_of_few_photos_are_met(drawn: list[tuple[int, list[int]]], seed: int) -> None:
    centres = np.random.default_rng(seed).integers(0, 2**64, 4, dtype=np.uint64)
    hashes = np.array([int(centres[i]) ^ sum(1 << bit for bit in set(bits)) for i, bits in drawn], np.uint64)
    mirrored = hashes[::-1].copy()
    found = candidate_pairs(np.zeros(len(hashes), int), hashes, mirrored)
    expected = {}
    for i in range(len(hashes)):
        for j in range(i + 1, len(hashes)):
            plain = int(hashes[i] ^ hashes[j]).bit_count()
            turned = min(int(mirrored[i] ^ hashes[j]).bit_count(), int(hashes[i] ^ mirrored[j]).bit_count())
            expected |= {(i, j, False): plain, (i, j, True): turned}
    expected = {pair: bits for pair, bits in expected.items() if bits <= MAX_DISTANCE_BITS}
    assert {tuple(pair): bits for *pair, bits in found.itertuples(index=False)} == expected


@pytest.mark.parametrize("distinct", [1, 3, 1 << 10])
def test_a_crowd_of_near_hashes_is_searched_in_bounded_steps(distinct: int, monkeypatch: pytest.MonkeyPatch) -> None:
    count, looked_at = 20_000, 0
    low_bits = np.random.default_rng(0).integers(0, distinct, count).astype(np.uint64)
    expand = candidates.expand_ranges

    def watched(first: np.ndarray, counts: np.ndarray, chunk: int):
        nonlocal looked_at
        for place, number in expand(first, counts, chunk):
            looked_at += len(place)
            assert len(place) <= 1.1 * candidates.CHUNK
            yield place, number

    monkeypatch.setattr(candidates, "expand_ranges", watched)
    pairs = candidate_pairs(np.zeros(count, int), low_bits, low_bits)
    assert looked_at <= 8 * candidates.FULL_BUCKET * count
    assert len(pairs) <= 4 * NEAREST * count
    assert set(pairs["left"]) | set(pairs["right"]) == set(range(count))  # nobody is left alone
