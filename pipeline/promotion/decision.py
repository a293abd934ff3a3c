"""The decision who is champion: challenger against champion on the same test photos, each with its own pixels.

The rules are `evaluation.comparison`'s, the aliases `registry`'s. Before an alias moves, a fresh process must give the
answers of the evaluation (`parity`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from pipeline import evaluation
from pipeline.config import PromotionConfig, UserError
from pipeline.data.class_columns import class_columns
from pipeline.data.store import HeldOutPhotos
from pipeline.experiment import data_config_of, open_store
from pipeline.promotion.parity import check_parity
from pipeline.serving import About, Classifier
from pipeline.tracking import registry
from pipeline.tracking.registry import ChampionChanged, Version


@dataclass(frozen=True)
class Decision:
    """Whether a version becomes champion, the reason, and the comparison with the champion if there is one."""

    promoted: bool
    reason: str
    champion: Version | None = None
    comparison: evaluation.Comparison | None = None
    champion_probabilities: np.ndarray | None = None
    parity: float | None = None

    @property
    def description(self) -> str:
        """The decision and its reason."""
        return f"{'is now champion' if self.promoted else 'does not become champion'}: {self.reason}"

    def as_json(self) -> dict[str, object]:
        """Return what ``promotion.json`` holds."""
        return {
            "promoted": self.promoted,
            "reason": self.reason,
            "champion": self.champion and self.champion.number,
            "comparison": self.comparison and asdict(self.comparison),
            "largest_difference_after_a_fresh_load": self.parity,
        }


def decide(
    rule: PromotionConfig, version: Version, about: About, photos: HeldOutPhotos, probabilities: np.ndarray, data: str
) -> Decision:
    """Compare a version with the champion, if there is one, and say whether it may take its place.

    Args:
        rule: the flags of promotion.
        version: the challenger.
        about: what its classifier remembers.
        photos: the test photos.
        probabilities: its answers (n, classes).
        data: where the photos are.
    """
    champion = registry.version_with_alias(version.name, registry.CHAMPION)
    if champion is None:
        return _first_champion(rule, photos, probabilities, about)
    if champion == version:
        return Decision(False, "it is the champion", champion)
    answers = _champion_answers(champion, about, photos, data)
    if isinstance(answers, str):
        return Decision(rule.promotion == "always", answers, champion)
    place = registry.count_comparison(version, champion, f"split_seed_{about.config.get('split_seed', 0)}")
    comparison = evaluation.compare(photos.labels, probabilities, answers, photos.groups, about.class_names, place)
    found = Decision(False, comparison.description, champion, comparison, answers)
    if rule.promotion in ("always", "never"):
        return replace(found, promoted=rule.promotion == "always")
    refusal = evaluation.rejection_reason(comparison, rule.promotion, rule.recall_tolerance)
    return replace(found, promoted=not refusal, reason=f"{refusal}; {found.reason}" if refusal else found.reason)


def _first_champion(rule: PromotionConfig, photos: HeldOutPhotos, probabilities: np.ndarray, about: About) -> Decision:
    """Say whether a version may be the first champion: it must know more than which class is the largest."""
    if rule.promotion in ("always", "never"):
        return Decision(rule.promotion == "always", "there was none before")
    baseline = evaluation.compare_with_baseline(photos.labels, probabilities, about.class_names)
    if baseline.is_beaten or (rule.promotion == "better" and baseline.accuracy > baseline.baseline_accuracy):
        return Decision(True, f"there was none before, and it has {baseline.description}")
    return Decision(False, f"it is not better than one answer for all photos, beyond chance: {baseline.description}")


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


def _champion_answers(champion: Version, about: About, photos: HeldOutPhotos, data: str) -> np.ndarray | str:
    """Return the champion's probabilities (n, classes) of the test photos, or why they would prove nothing."""
    try:
        classifier = Classifier(registry.fetch_model(champion.uri).folder)
        if classifier.about.class_names != about.class_names:
            return f"the champion, version {champion.number}, has other classes"
        if classifier.about.data_digest == about.data_digest:
            return classifier.probabilities(photos.images)
        if reason := _has_seen(classifier.about, photos, data):
            return f"the champion, version {champion.number}, cannot be compared: {reason}"
        table = classifier.predict(photos.files)
    except UserError as error:
        return f"the champion, version {champion.number}, cannot be compared: {error}"
    if table["error"].notna().any():
        return f"the champion, version {champion.number}, cannot read {int(table['error'].notna().sum())} test photos"
    return table[class_columns(about.class_names)].to_numpy(np.float64)


def _has_seen(about: About, photos: HeldOutPhotos, data: str) -> str:
    """Return why the test photos are not new to a model of other data flags; empty if they are.

    Its own split is made again of the photos in ``data``; photos are known by the SHA-256 of their bytes.
    """
    store = open_store(data_config_of(about).model_copy(update={"data": data}), rules=about.rule_versions)
    if store.digest != about.data_digest:
        return f"its split cannot be made again of the photos in {data}, which have changed since"
    learned = store.manifest.loc[store.manifest["split"] != "test", "sha256"]
    seen = int(photos.rows["sha256"].isin(learned).sum())
    return f"it was trained or chosen by {seen} of the {len(photos.rows)} test photos" if seen else ""
