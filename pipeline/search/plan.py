"""The plan of a search from pre-trained weights: which kind of trial comes next.

The first trials are heads on features that are computed once: seconds each, so that variants and heads are compared
before anything expensive is tried. The others fine-tune the best two variants in two phases, of which the first is such
a head. All are trials of one study: the sampler carries over what it has learned of heads, and a head that no
fine-tuning beats wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pipeline.config import Objective, TuneConfig
from pipeline.search.space import HEAD, Space
from pipeline.search.space_file import HEADS_FIRST_MODE, mode_of, space_of
from pipeline.search.trial_record import FINISHED, REPEAT_OF, enqueued_params

FINE_TUNED_VARIANTS = 2
# Of the first fine-tunings; None for that of the flags, which suits good weights. Weak ones want to be changed: all at
# once at ten times the rate was 7.5 points better (docs/log.md, "Few epochs from pre-trained weights").
UNFREEZE_LR_FACTORS = (None, 1.0)


def is_head(trial: FrozenTrial) -> bool:
    """Return whether a trial of a search that begins with heads is one."""
    return bool((enqueued_params(trial) | trial.params).get(HEAD))


def kind_of_next(study: Study, config: TuneConfig) -> dict[str, Any]:
    """Return what the plan fixes of the next trial, whatever the sampler suggests; nothing without heads first."""
    if mode_of(config) != HEADS_FIRST_MODE:
        return {}
    return {name: of for name, of in next_of_plan(study, config).items() if name in (HEAD, "variant")}


def next_of_plan(study: Study, config: TuneConfig) -> dict[str, Any]:
    """Return kind and variant of the next trial of a search that begins with heads.

    The first head of each variant is a whole point, by the flags; so are the first fine-tunings, by the best head.
    """
    space = space_of(config)
    counted = [trial for trial in study.get_trials(deepcopy=False) if _counts(trial)]
    heads = [trial for trial in counted if is_head(trial)]
    best_heads = _best_first(heads, config.judged_by)
    head_is_next = len(heads) < config.head_trials
    variants = _variants(space) if head_is_next else best_variants(best_heads, _variants(space))
    before = heads if head_is_next else [trial for trial in counted if not is_head(trial)]
    variant = variants[len(before) % len(variants)]
    kind = {HEAD: head_is_next, "variant": variant}
    if head_is_next:
        point = space.params(config) if len(before) < len(variants) else {}
    elif len(before) < len(UNFREEZE_LR_FACTORS):
        factor = UNFREEZE_LR_FACTORS[len(before)] or config.unfreeze_lr_factor
        point = space.params(config.model_copy(update={"unfreeze_lr_factor": factor})) | _best_params(
            best_heads, variant
        )
    else:
        point = {}
    return _within(space, point | kind, head_is_next)


def _best_first(heads: Sequence[FrozenTrial], objective: Objective) -> list[FrozenTrial]:
    complete = [trial for trial in heads if trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda trial: -objective.score(trial.value or 0.0))


def best_variants(heads: Sequence[FrozenTrial], variants: Sequence[str]) -> list[str]:
    """Return the variants to fine-tune, in the order of the complete heads, best first; all where there is none."""
    best = dict.fromkeys(str(trial.params.get("variant", variants[0])) for trial in heads)
    return list(best)[:FINE_TUNED_VARIANTS] or list(variants)


def _best_params(heads: Sequence[FrozenTrial], variant: str) -> dict[str, Any]:
    own = (trial for trial in heads if trial.params.get("variant", variant) == variant)
    return dict(next((trial.params for trial in own), {}))


def _counts(trial: FrozenTrial) -> bool:
    return trial.state in (*FINISHED, TrialState.RUNNING) and REPEAT_OF not in trial.user_attrs


def _variants(space: Space) -> Sequence[str]:
    return [str(variant) for variant in space.choices("variant")]


def _within(space: Space, params: dict[str, Any], of_head: bool) -> dict[str, Any]:
    return {name: params[name] for name in space.dimensions_of(of_head) if name in params}
