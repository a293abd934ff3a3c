"""The search space as data: which flags a search varies, and over what.

Owns every search range, with the reason beside it. `study.suggest` reads the tables, `space_file` lets a user change
them; nothing here knows Optuna.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from pipeline.config import TrainConfig, TrainingConfig, TuneConfig


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, sampled on a logarithmic scale with ``log``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _rises(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 with log, got {self.low:g}")
        return self


Scalar = bool | int | float | str
Dimension = Range | tuple[Scalar, ...]

# Peak learning rate and weight decay at which each optimizer usually trains a ResNet. A trial suggests factors around
# them, so that what it learns of "too fast" and "too weak" carries over between optimizers whose scales differ
# 1,000-fold. sgd: He et al. 2015; adamw: Wightman et al. 2021 (ResNet strikes back); lion: Chen et al. 2023;
# adam, rmsprop: Keras' own rates.
USUAL_RATES: dict[str, tuple[float, float]] = {
    "adamw": (1e-3, 0.05), "sgd": (0.1, 5e-4), "lion": (1e-4, 0.5), "adam": (1e-3, 0.05), "rmsprop": (1e-3, 0.05),
}  # fmt: skip
USUAL_SCHEDULE: dict[str, Scalar] = {"lr_schedule": "cosine", "lr_decay": 0.01}
FACTORS = {"learning_rate_factor": "learning_rate", "weight_decay_factor": "weight_decay"}  # of USUAL_RATES, in order

HEAD = "freeze_backbone"

FROM_SCRATCH: dict[str, Dimension] = {
    "optimizer": ("adamw", "sgd", "lion"),  # adam is adamw without decay; rmsprop has never led for a ResNet
    "augment": ("medium", "light", "strong"),  # how much pays depends on photos and epochs (docs/log.md)
    "learning_rate_factor": Range(low=0.1, high=10, log=True),  # beyond, a ResNet diverges or hardly moves
    "weight_decay_factor": Range(low=0.1, high=10, log=True),  # the optimum moves with the number of epochs
    "lr_schedule": ("cosine", "exponential", "step"),  # constant is lr_decay=1 of each of them
    "lr_decay": Range(low=1e-3, high=0.3, log=True),  # below, the last epochs change nothing; above, it never settles
}
FROZEN_BACKBONE: dict[str, Dimension] = {
    "optimizer": ("adamw", "sgd"),  # a head is a small, almost convex problem: they differ little
    "learning_rate_factor": Range(low=0.1, high=10, log=True),  # one layer bears more than a whole network
    "weight_decay_factor": Range(low=0.01, high=10, log=True),  # 2,048 features of few photos: from none to a lot
    "head_units": (0, 256, 512),  # a linear head is hard to beat; a hidden layer bends the borders between classes
    "dropout": Range(low=0, high=0.5),  # against learning single features by heart
    # augment stays that of the flags: every policy costs feature_views passes through the backbone
}
FINE_TUNING: dict[str, Dimension] = {
    "optimizer": ("adamw", "sgd"),  # lion has no record of fine-tuning small ResNets
    "augment": ("medium", "light", "strong"),  # fewer trained epochs bear less of it
    "learning_rate_factor": Range(low=0.03, high=3, log=True),  # usual rates are too fast for weights that are good
    "weight_decay_factor": Range(low=0.01, high=10, log=True),  # decay pulls to 0, away from where the weights began
    "unfreeze_from": ("stem", "stage2", "stage3", "stage4"),  # early stages see edges, the same on any photos
    "unfreeze_lr_factor": Range(low=0.01, high=1, log=True),  # Howard and Ruder 2018; where head_epochs are asked for
    "dropout": Range(low=0, high=0.5),  # the head is new, and large for few photos
}
HEADS_FIRST: dict[str, Dimension] = {  # what trials of heads find out is true of the first phase of fine-tuning, too
    HEAD: (True, False),  # the search's plan says which
    **FROZEN_BACKBONE,
    **{name: FINE_TUNING[name] for name in ("augment", "unfreeze_from", "unfreeze_lr_factor")},
}
SPACES = {
    "from scratch": FROM_SCRATCH, "frozen backbone": FROZEN_BACKBONE, "fine-tuning": FINE_TUNING,
    "heads first": HEADS_FIRST,
}  # fmt: skip
UNFROZEN_ONLY = {"augment", "degrade", "unfreeze_from", "unfreeze_lr_factor", "start_size"}  # mean nothing to a head
HEAD_ALONE: dict[str, Scalar] = {  # its features come from photos as they are: augmented ones cost a pass each
    HEAD: True, "head_epochs": 0, "unfreeze_from": "stem", "start_size": 0, "augment": "none", "vertical_flip": False,
    "degrade": 0.0,
}  # fmt: skip

# They say which search it is.
FLAGS_ALONE = {"weights", "freeze_backbone", "head_epochs", "epochs", "devices", "seed", "resume", "objective"}
SEARCHABLE = [*(name for name in TrainingConfig.model_fields if name not in FLAGS_ALONE), *FACTORS]
BORDER_SHARE = 0.05  # of a range, from either end


@dataclass(frozen=True)
class Space:
    """The dimensions of a search, and the flags that it fixes."""

    dimensions: dict[str, Dimension]
    fixed: dict[str, Scalar]

    def flags(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return a trial's params as training flags, the factors times the usual rates of its optimizer."""
        flags = {**self.fixed, **params, **(HEAD_ALONE if params.get(HEAD) else {})}
        for place, (factor, name) in enumerate(FACTORS.items()):
            if factor in flags:
                flags[name] = USUAL_RATES[str(flags["optimizer"])][place] * flags.pop(factor)
        return flags

    def params(self, config: TuneConfig) -> dict[str, Any]:
        """Return the point of the space that is nearest to the flags."""
        rates = zip(FACTORS.items(), USUAL_RATES[config.optimizer], strict=True)
        values = {factor: getattr(config, name) / rate for (factor, name), rate in rates}
        return {name: _nearest(of, values.get(name, getattr(config, name, 0))) for name, of in self.dimensions.items()}

    def choices(self, name: str) -> tuple[Scalar, ...]:
        """Return the values that a name may have; none for a range."""
        of = self.dimensions.get(name, ())
        return (self.fixed[name],) if name in self.fixed else of if isinstance(of, tuple) else ()

    def dimensions_of(self, is_head: bool) -> dict[str, Dimension]:
        """Return the dimensions that mean something to a trial: all, or those of a head alone."""
        return {name: of for name, of in self.dimensions.items() if not (is_head and name in UNFROZEN_ONLY)}

    @property
    def size(self) -> float:
        """Number of different points; infinite with a range of fractions."""
        return math.prod(_points(name, of) for name, of in self.dimensions.items())

    def to_dict(self) -> dict[str, Any]:
        """Return the space in the form of a space file."""
        varied = {name: of.model_dump() if isinstance(of, Range) else list(of) for name, of in self.dimensions.items()}
        return varied | self.fixed


def usual_flags(optimizer: str) -> dict[str, Scalar]:
    """Return the flags with which an optimizer usually trains a ResNet."""
    rate, weight_decay = USUAL_RATES[optimizer]
    return {"optimizer": optimizer, "learning_rate": rate, "weight_decay": weight_decay, **USUAL_SCHEDULE}


def _nearest(dimension: Dimension, value: Any) -> Scalar:
    if isinstance(dimension, Range):
        return min(max(value, dimension.low), dimension.high)
    return value if value in dimension else dimension[0]


def _points(name: str, dimension: Dimension) -> float:
    if isinstance(dimension, tuple):
        return len(dimension)
    return dimension.high - dimension.low + 1 if is_integer(name) else math.inf


def is_integer(name: str) -> bool:
    """Return whether a dimension takes integers only."""
    return name not in FACTORS and TrainConfig.model_fields[name].annotation is int


class AtBorder(NamedTuple):
    """A value close to the end of its range, so that better ones may lie beyond, and the range to try next."""

    name: str
    value: float
    range: Range
    next: Range


def params_at_border(space: Space, params: Mapping[str, Any]) -> list[AtBorder]:
    """Return the dimensions in which a point lies at the border of its range, if the flag allows values beyond."""
    found = []
    for name, of in space.dimensions.items():
        if not isinstance(of, Range) or name not in params:
            continue
        (low, value, high), scale = _on_scale(of, params[name]), math.exp if of.log else float
        reach, near = (high - low) / 2, BORDER_SHARE * (high - low)
        if value - low <= near:
            wider = of.model_copy(update={"low": _allowed(name, float(f"{scale(low - reach):.2g}"))})
        elif high - value <= near:
            wider = of.model_copy(update={"high": _allowed(name, float(f"{scale(high + reach):.2g}"))})
        else:
            continue
        if wider.low < of.low or wider.high > of.high:
            found.append(AtBorder(name, params[name], of, wider))
    return found


def _on_scale(of: Range, value: float) -> tuple[float, float, float]:
    return (math.log(of.low), math.log(value), math.log(of.high)) if of.log else (of.low, value, of.high)


def _allowed(name: str, value: float) -> float:
    """Return the nearest value that the flag's own limits allow."""
    for limit in () if name in FACTORS else TrainConfig.model_fields[name].metadata:
        value = max(value, getattr(limit, "ge", getattr(limit, "gt", value)))
        value = min(value, getattr(limit, "le", 0.95 * getattr(limit, "lt", math.inf)))
    return value
