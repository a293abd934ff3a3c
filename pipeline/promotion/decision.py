"""The decision who is champion: challenger against champion on the test photos that are new to both.

The rules are `evaluation.comparison`'s, the aliases `registry`'s. Before an alias moves, a fresh process must give the
answers of the evaluation (`parity`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from pipeline import evaluation
from pipeline.config import PromotionConfig, UserError
from pipeline.data.store import HeldOutPhotos
from pipeline.promotion.contest import Contest, open_contest
from pipeline.promotion.parity import check_parity
from pipeline.promotion.unseen import JudgedPhotos
from pipeline.serving import About
from pipeline.tracking import registry
from pipeline.tracking.registry import ChampionChanged, Version

MOST_NAMED = 5  # classes, in a sentence
IS_CHAMPION = "it is the champion"


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes champion, the reason, and the comparison with the champion if there is one.

    ``compared`` marks the photos of the contest that decided; ``notes`` are sentences on which photos these are, and on
    what one of the two models alone can do.
    """

    promoted: bool
    reason: str
    champion: Version | None = None
    comparison: evaluation.Comparison | None = None
    contest: Contest | None = None
    compared: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    parity: float | None = None

    @property
    def is_champion(self) -> bool:
        """Whether it was the champion already."""
        return self.reason == IS_CHAMPION

    @property
    def description(self) -> str:
        """The decision and its reason."""
        if self.is_champion:
            return "is the champion already"
        return f"{'is now champion' if self.promoted else 'does not become champion'}: {self.reason}"

    @property
    def confusion_difference(self) -> pd.DataFrame | None:
        """`evaluation.confusion_difference` against the champion on the photos that decided; None without one."""
        if self.contest is None or self.compared is None or self.comparison is None:
            return None
        return self.contest.confusion_difference(self.compared)

    def as_json(self) -> dict[str, object]:
        """Return what ``promotion.json`` holds."""
        return {
            "promoted": self.promoted,
            "reason": self.reason,
            "champion": self.champion and self.champion.number,
            "comparison": self.comparison and asdict(self.comparison),
            "notes": self.notes,
            "largest_difference_after_a_fresh_load": self.parity,
        }


def decide(
    rule: PromotionConfig, version: Version, about: About, judged: JudgedPhotos, probabilities: np.ndarray, data: str
) -> Decision:
    """Compare a version with the champion, if there is one, and say whether it may take its place.

    Args:
        rule: the flags of promotion.
        version: the challenger.
        about: what its classifier remembers.
        judged: the test photos that are new to it.
        probabilities: its answers (n, classes).
        data: where the photos are.
    """
    champion = registry.version_with_alias(version.name, registry.CHAMPION)
    if champion == version:
        return Decision(False, IS_CHAMPION, champion)
    if judged.unknown:
        reason = f"it started from {judged.unknown}, and it is unknown which photos that was trained on"
        return Decision(rule.promotion == "always", _by_rule(rule, reason), champion)
    if champion is None:
        return _first_champion(rule, version, judged.photos, probabilities, about)
    try:
        contest = open_contest(champion, about, judged.photos, probabilities, data)
    except UserError as error:
        reason = f"the champion, version {champion.number}, cannot be compared: {error}"
        return Decision(rule.promotion == "always", _by_rule(rule, reason), champion)
    return _judge(rule, version, about, champion, contest)


def _judge(rule: PromotionConfig, version: Version, about: About, champion: Version, contest: Contest) -> Decision:
    """Say which of two models is better, on photos of classes that both know, or on all where that is wanted."""
    shared = contest.is_shared
    compared = np.ones_like(shared) if rule.accept_class_changes else shared
    notes = _notes(contest, compared, champion)
    if not shared.any():
        reason = f"it and the champion, version {champion.number}, have no class of the test photos in common"
        return Decision(rule.promotion == "always", _by_rule(rule, reason), champion, notes=notes)
    metric = rule.promotion_metric
    comparison = contest.compare(compared, _place(version, about, champion, contest, compared, metric), metric)
    found = Decision(False, comparison.description, champion, comparison, contest, compared, notes)
    if rule.promotion in ("always", "never"):
        return replace(found, promoted=rule.promotion == "always", reason=_by_rule(rule, found.reason))
    refusals = [evaluation.rejection_reason(comparison, rule.promotion, rule.recall_tolerance)]
    if refusals[0] and comparison.cannot_tell and rule.promotion == "significant":
        refusals = [
            f"{comparison.photos} test photos that are new to both are too few to show a difference ({contest.remedy})"
        ]
    if rule.accept_class_changes:
        refusals.append(_worse_where_shared(contest, rule.recall_tolerance))
    elif contest.lost:
        refusals.append(f"it does not know {_named(contest.lost)} (accept_class_changes=true allows that)")
    refusal = "; ".join(filter(None, refusals))
    return replace(found, promoted=not refusal, reason=f"{refusal}; {found.reason}" if refusal else found.reason)


def _by_rule(rule: PromotionConfig, reason: str) -> str:
    """Return the reason, after the rule where that alone decides."""
    return f"promotion={rule.promotion}; {reason}" if rule.promotion in ("always", "never") else reason


def _place(
    version: Version, about: About, champion: Version, contest: Contest, compared: np.ndarray, metric: str
) -> int:
    """Count this comparison in the life of the test splits of both models, and return which one it is of the older.

    One on other photos than the challenger was trained beside, on those of other classes, or by another metric counts
    anew.
    """
    marks = "all" if compared.sum() > contest.is_shared.sum() else ""
    seeds = {about.config.get("split_seed", 0), contest.champion_seed}
    return _count(version, champion.number, contest.photos, about, seeds, marks, metric)


def _count(
    version: Version, other: str, photos: HeldOutPhotos, about: About, seeds: set[int], marks: str, metric: str
) -> int:
    """Count a comparison in the life of the splits of ``seeds``, and return which one it is of the older."""
    if photos.store.digest != about.data_digest:
        names = sorted(photos.rows["sha256"])
        marks = hashlib.sha256("".join(names).encode()).hexdigest()[:8] + marks
    if metric != "accuracy":
        marks += metric
    counted = {0} if photos.store.has_given_splits else seeds
    return max(registry.count_comparison(version, other, f"split_seed_{seed}", marks) for seed in sorted(counted))


def _worse_where_shared(contest: Contest, tolerance: float) -> str:
    """Return why a model of other classes may be worse on those that both know; empty if it is not."""
    if not (contest.gained or contest.lost):
        return ""
    shared = contest.compare(contest.is_shared)
    if shared.difference_low >= -tolerance:
        return ""
    return (
        f"it may be worse on the {shared.photos} photos of classes that both know: the difference is "
        f"{100 * shared.difference:+.1f} points, and its 95 % interval reaches {100 * shared.difference_low:+.1f}, "
        f"below recall_tolerance={tolerance}"
    )


def _notes(contest: Contest, compared: np.ndarray, champion: Version) -> tuple[str, ...]:
    added = f"; {contest.added} of them were added after the champion was trained" if contest.added else ""
    notes = [f"{len(compared)} test photos are new to it and to the champion, version {champion.number}{added}"]
    if contest.seen:
        learned = f"version {champion.number}, or what it started from, has seen"
        notes.append(f"{contest.seen} more test photos, which {learned}, are left out ({contest.remedy})")
    if contest.gained:
        beyond = ~contest.is_shared
        right = int((contest.challenger.argmax(axis=1) == contest.photos.labels)[beyond].sum())
        counted = (
            "which the champion cannot recognise"
            if compared[beyond].any()
            else "which accept_class_changes=true would count"
        )
        notes.append(
            f"it also knows {_named(contest.gained)}: {right} of {int(beyond.sum())} test photos right, {counted}"
        )
    if contest.lost:
        notes.append(f"it does not know {_named(contest.lost)}, which version {champion.number} knows")
    return tuple(notes)


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _first_champion(
    rule: PromotionConfig, version: Version, photos: HeldOutPhotos, probabilities: np.ndarray, about: About
) -> Decision:
    """Say whether a version may be the first champion: it must know more than one answer for all photos.

    By another metric than accuracy that is one of the comparisons of the test split, so that trying all gains nothing.
    """
    if rule.promotion in ("always", "never"):
        return Decision(rule.promotion == "always", _by_rule(rule, "there was no champion before"))
    metric = rule.promotion_metric
    baseline = evaluation.compare_with_baseline(photos.labels, probabilities, about.class_names, metric, photos.groups)
    allowed = evaluation.BASELINE_ALPHA
    if metric != "accuracy":
        seeds = {about.config.get("split_seed", 0)}
        allowed = evaluation.error_of(_count(version, registry.NO_VERSION, photos, about, seeds, "", metric))
    if baseline.p_value < allowed or (rule.promotion == "better" and baseline.improvement > 0):
        return Decision(True, f"there was no champion before, and it has {baseline.description}")
    return Decision(False, f"it is not proven better than always giving the same answer: {baseline.description}")


def carry_out(
    decision: Decision, version: Version, about: About, photos: HeldOutPhotos, probabilities: np.ndarray,
    environment: Mapping[str, str],
) -> Decision:  # fmt: skip
    """Make the version champion if that was decided, once a fresh process has given the same answers.

    Raises:
        DamagedModel: it has not; no alias has moved.
    """
    if not decision.promoted:
        return decision
    difference = check_parity(version.uri, photos.files, probabilities, about.class_names, environment)
    try:
        registry.promote(version, decision.champion)
    except ChampionChanged as error:
        return replace(decision, promoted=False, reason=str(error), parity=difference)
    return replace(decision, parity=difference)
