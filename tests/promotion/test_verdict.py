"""The first sentences on a model, for whoever decides whether to use it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from pipeline.promotion.decision import IS_CHAMPION, Decision
from pipeline.promotion.verdict import evidence, next_step, verdict


def _found(accuracy: float, low: float, high: float, is_beaten: bool = True) -> Any:
    intervals = pd.DataFrame({"value": [accuracy], "low": low, "high": high}, index=["accuracy"])
    baseline = SimpleNamespace(is_beaten=is_beaten, largest_class="tulips", baseline_accuracy=0.3)
    classes = pd.DataFrame({"recall": [accuracy, 1.0]}, index=["daisy", "tulips"])
    summary = f"{100 * accuracy:.1f} % right"
    tables = {"per_class.json": classes}
    return SimpleNamespace(intervals=intervals, baseline=baseline, tables=tables, summary=summary)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            _found(0.91, 0.875, 0.941),
            "About 9 of 100 labels will be wrong (95 % interval 5 to 13): ready for use if that is acceptable.",
        ),
        (_found(1, 0.964, 1), "Ready for use: at most 4 of 100 labels will be wrong (95 % interval)."),
        (_found(0.3, 0.2, 0.4, False), "Do not use it: it is not proven better than always giving the same answer."),
    ],
)
def test_the_verdict_says_what_it_is_good_enough_for(found: Any, said: str) -> None:
    assert verdict(found) == said


def test_the_evidence_names_photos_and_the_alternative() -> None:
    assert evidence(_found(0.9, 0.8, 0.95), 50, "that it has not seen") == (
        "It got 90.0 % right: 45 of 50 test photos that it has not seen. Always answering tulips, the largest class, "
        "would be 30.0 % right."
    )


def test_the_next_step_follows_from_the_decision() -> None:
    champion: Any = SimpleNamespace(number=3)
    good = _found(0.9, 0.8, 0.95)
    for decision in (Decision(True, "it is better"), Decision(False, IS_CHAMPION, champion)):
        assert next_step(good, decision).startswith("Next: use it (python -m pipeline predict")
    stays = next_step(good, Decision(False, "not better", champion))
    assert stays == "Next: keep using the champion, version 3. More photos of daisy would help it most."
    assert "More photos" not in next_step(_found(1, 0.9, 1), Decision(True, "it is better"))
    assert "search again" in next_step(_found(0.3, 0.2, 0.4, False), Decision(True, "always"))
