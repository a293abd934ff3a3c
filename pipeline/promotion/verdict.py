"""What is read first of an evaluation: is the model good enough, compared with what, how sure is that, what to do next.

Whether a share of wrong labels is acceptable is not for a program to say; what it is, and how sure, is.
"""

from __future__ import annotations

import math

from pipeline.promotion.assessment import Assessment
from pipeline.promotion.decision import Decision


def verdict(found: Assessment) -> str:
    """Return the first sentence on a model: what it is good enough for."""
    if not found.baseline.is_beaten:
        return "Do not use it: it is not proven better than always giving the same answer."
    value, low, high = found.intervals.loc["accuracy", ["value", "low", "high"]]
    wrong, least, most = round(100 * (1 - value)), math.floor(100 * (1 - high)), math.ceil(100 * (1 - low))
    if wrong == 0:
        return f"Ready for use: at most {most} of 100 labels will be wrong (95 % interval)."
    return (
        f"About {wrong} of 100 labels will be wrong (95 % interval {least} to {most}): ready for use if that is "
        "acceptable."
    )


def evidence(found: Assessment, photos: int, claim: str) -> str:
    """Return the sentence that says on what the verdict rests, beside one answer for all photos."""
    right = round(float(found.intervals.loc["accuracy", "value"]) * photos)
    baseline = found.baseline
    return (
        f"It got {found.summary}: {right} of {photos} test photos {claim}. Always answering {baseline.largest_class}, "
        f"the largest class, would be {100 * baseline.baseline_accuracy:.1f} % right."
    )


def next_step(found: Assessment, decision: Decision) -> str:
    """Return what to do next."""
    recalls = found.tables["per_class.json"]["recall"]
    more = f" More photos of {recalls.idxmin()} would help it most." if recalls.min() < 1 else ""
    if not found.baseline.is_beaten:
        return "Next: check the labels, add photos, and search again (python -m pipeline tune)."
    if decision.promoted or decision.is_champion:
        return f"Next: use it (python -m pipeline predict --photos=FOLDER).{more}"
    if decision.champion:
        return f"Next: keep using the champion, version {decision.champion.number}.{more}"
    return f"Next: add photos, and search again (python -m pipeline tune).{more}"
