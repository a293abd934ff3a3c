"""What a command's networks start from: ``weights=auto`` resolved once, and the record of what it came to.

The config that goes on names weights by their place and their SHA-256, or says ``none``. So the start is part of a
training's identity, and the same in all processes and on all machines; one that comes to random weights is the training
that ``weights=none`` names. What a stopped command has begun with it goes on with, whether the network has come or gone
since: its run says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pipeline import tracking
from pipeline.config import (
    FROM_SCRATCH,
    PRETRAINED_SIZE_PX,
    Config,
    StructureConfig,
    TrainConfig,
    UserError,
    open_flags,
    weights_by_variant,
    weights_table,
)
from pipeline.config.text import make_config
from pipeline.experiment.identity import training_key
from pipeline.experiment.lineage import LINEAGE, UNKNOWN, Start, saved_start
from pipeline.files import sha256_of_file
from pipeline.models.saved import image_size_of
from pipeline.models.weights.hubs import NotFetched
from pipeline.models.weights.library import find_weights, origin_of, own_folder
from pipeline.models.weights.places import Address, check_place, check_sha256, parse_address, weights_of

C = TypeVar("C", bound=Config)

AUTO, RANDOM = "auto", "none"
BEGUN_BY, BEGUN_WITH = "begun_by", "begun_with"  # tags: the command's identity with weights=auto, and what that came to


def resolve_start(config: C, stage: str, variants: Sequence[str], obstacle: str = "", needs_every: bool = False) -> C:
    """Return the config with what ``weights=auto`` and ``image_size=0`` come to, printed in a line each.

    For several variants the weights are a table (`weights_by_variant`), without those of which there are none. What
    depends on the number of photos is still to be chosen (`chosen.with_epochs`).

    Args:
        config: of a command.
        stage: of the command's run.
        variants: that it may train.
        obstacle: what makes ImageNet's weights unfit for it, if anything does.
        needs_every: random weights for all, unless there are ImageNet's for every variant.

    Raises:
        UserError: the weights are not there, were others when it was begun, or some are damaged.
    """
    weights: str = getattr(config, "weights")  # noqa: B009
    check_place(weights)
    saved_start(weights)
    if stopped := _stopped(config, stage):
        return _with_size(stopped)
    if weights == AUTO:
        start, reason = (
            (RANDOM, f"there are no ImageNet weights for {obstacle}") if obstacle else _find(variants, needs_every)
        )
        print(f"weights={AUTO}: {_describe(config, start)}{reason and f': {reason}'}", flush=True)
        config = _with_start(config, start)
    return _with_size(config)


def _stopped(config: C, stage: str) -> C | None:
    """Return the config of the stopped command that this one goes on with, if there is one.

    Earlier versions began it when the flags that choose today had defaults.
    """
    flags = config.model_dump()
    if flags.get("resume", "never") == "never":
        return None
    fixed = {name: FROM_SCRATCH[name] for name in open_flags(flags)}
    former = config.model_copy(update=fixed)
    if flags["weights"] != AUTO:
        known = fixed and tracking.tags_of_stopped_run(stage, tracking.TRAINING, training_key(former))
        return former if known else None
    for typed in (config, former) if fixed else (config,):
        if begun := _begun_with(typed, stage):
            return go_on_with(typed, begun)
    return None


def _with_size(config: C) -> C:
    """Return the config with a size that suits its pre-trained weights, and print it, where it is to choose one."""
    flags = config.model_dump()
    if "image_size" not in open_flags(flags) or flags["weights"] == RANDOM:
        return config
    start = saved_start(flags["weights"])
    size = image_size_of(start.file) if start else PRETRAINED_SIZE_PX
    print(f"image_size: {size} px, for pre-trained weights", flush=True)
    return make_config(type(config), flags | {"image_size": size})


def go_on_with(config: C, start: str) -> C:
    """Return the config with the start that a command was begun with, and say so.

    Raises:
        UserError: its weights are no longer here, or others.
    """
    print(f"weights={AUTO}: {_describe(config, start)}, as when this was started", flush=True)
    for variant, address in _by_variant(config, start).items():
        try:
            check_sha256(find_weights(variant).file, parse_address(address).sha256)
        except UserError as error:
            raise UserError(f"this was started with {address}, and can continue only with it: {error}") from error
    return _with_start(config, start)


def _with_start(config: C, start: str) -> C:
    """Return the config with weights; of a table, a single training takes its part."""
    return make_config(type(config), config.model_dump() | {"weights": start})


def begun_tags(typed: Config, resolved: Config) -> dict[str, str]:
    """Return the tags of a command's run by which it is known what ``weights=auto`` came to."""
    if getattr(typed, "weights", "") != AUTO:
        return {}
    return {BEGUN_BY: training_key(typed), BEGUN_WITH: str(getattr(resolved, "weights"))}  # noqa: B009


def unusual_structure(config: StructureConfig) -> str:
    """Return the flag that makes a network one that nobody has trained on ImageNet; empty if there is none."""
    own = StructureConfig()
    changed = (name for name in StructureConfig.model_fields if getattr(config, name) != getattr(own, name))
    return next((f"{name}={getattr(config, name)}" for name in changed), "")


def _begun_with(config: Config, stage: str) -> str:
    """Return what the stopped run that goes on has begun with; empty where nothing was stopped."""
    if tags := tracking.tags_of_stopped_run(stage, BEGUN_BY, training_key(config)):
        return tags[BEGUN_WITH]
    random = config.model_copy(update={"weights": RANDOM})  # which was the default before there was another
    return RANDOM if tracking.tags_of_stopped_run(stage, tracking.TRAINING, training_key(random)) else ""


def _find(variants: Sequence[str], needs_every: bool) -> tuple[str, str]:
    """Return the table of the variants' weights, or that they are random, and then why."""
    found, reasons = {}, []
    for variant in dict.fromkeys(variants):
        try:
            weights = find_weights(variant)
        except NotFetched as error:
            reasons.append(str(error))
            if needs_every:
                break
        else:
            found[variant] = str(Address(str(own_folder(variant)), weights.sha256))
    if reasons and (needs_every or not found):
        return RANDOM, reasons[0]
    return weights_table(found), ""


def _by_variant(config: Config, start: str) -> dict[str, str]:
    if start == RANDOM:
        return {}
    return weights_by_variant(start) or {str(getattr(config, "variant")): start}  # noqa: B009


def _describe(config: Config, start: str) -> str:
    if start == RANDOM:
        return "random weights"
    return f"ImageNet weights of {', '.join(_by_variant(config, start))}"


def start_record(config: TrainConfig, start: Start | None) -> dict[str, Any]:
    """Return what a model remembers of its first weights; empty for random ones.

    That is source, SHA-256 and, of a saved classifier, the addresses of all ancestors, or else the input scaling.
    """
    if start:
        unknown = {UNKNOWN: start.unknown} if start.unknown else {}
        lineage = {LINEAGE: list(start.lineage), **unknown}
        return {"source": config.weights, "sha256": sha256_of_file(start.file), **lineage}
    weights = weights_of(config)
    if not weights:
        return {}
    return {
        "source": origin_of(weights) or parse_address(config.weights).place,
        "sha256": weights.sha256,
        "scaling": weights.scaling,
    }


def start_tags(record: dict[str, Any]) -> dict[str, str]:
    """Return a `start_record` as tags of a run."""
    return {f"weights_{name}": value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
