"""The plan of an ablation: what the flag ``factors`` means, and which trainings that makes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipeline.ablation.effects import Place
from pipeline.config import AblateConfig, TrainConfig, UserError
from pipeline.config.text import config_text, make_config

# Factors that are parts of a flag: (the flag, its value, the factor's value) -> the flag's new value.
PARTS: dict[str, tuple[str, Callable[[str, str], str]]] = {
    "depth": ("variant", lambda variant, depth: "_".join([f"resnet{depth}", *variant.split("_")[1:]])),
    "block": ("variant", lambda variant, block: "_".join([variant.split("_")[0], *([block] if block != "v1" else [])])),
}


class Setting(NamedTuple):
    """A factor's value, and further flags that go with it, as in ``optimizer=sgd&learning_rate=0.1``."""

    factor: str
    value: str
    with_flags: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return "&".join(f"{name}={value}" for name, value in ((self.factor, self.value), *self.with_flags))

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of what it sets."""
        return self.factor, *(name for name, _ in self.with_flags)

    @property
    def label(self) -> str:
        """The value as people read it, with the further flags."""
        others = ", ".join(f"{name}={value}" for name, value in self.with_flags)
        return f"{self.value or 'none'} ({others})" if others else self.value or "none"

    def applied(self, flags: dict[str, str]) -> dict[str, str]:
        """Return the flags of a training as this setting changes them."""
        changed = dict(flags)
        for name, value in ((self.factor, self.value), *self.with_flags):
            if name in PARTS:
                flag, part = PARTS[name]
                changed[flag] = part(changed[flag], value)
            else:
                is_list = isinstance(TrainConfig.model_fields[name].default, tuple)
                changed[name] = value.replace("+", ",") if is_list else value
        return changed


class Cell(NamedTuple):
    """One training of an ablation; the base's has no settings."""

    settings: tuple[Setting, ...]
    training: TrainConfig

    @property
    def name(self) -> str:
        """What tells it from the base."""
        return " ".join(map(str, self.settings)) or "base"

    @property
    def place(self) -> Place:
        """Its settings and its seed."""
        return tuple((setting.factor, setting.label) for setting in self.settings), self.training.seed


def settings_of(factors: str) -> list[Setting]:
    """Return the settings that ``factor=value,value;factor=value`` names.

    Raises:
        UserError: it cannot be read, or names what is no training or data flag.
    """
    return [
        _setting(factor, text.strip(), part)
        for part in factors.split(";")
        if part.strip()
        for factor, _, texts in [part.partition("=")]
        for text in texts.split(",")
    ]


def _setting(factor: str, text: str, part: str) -> Setting:
    value, *others = text.split("&")
    further = [other.partition("=") for other in others]
    pairs = [(factor.strip(), value.strip()), *((name.strip(), value.strip()) for name, _, value in further)]
    known = (TrainConfig.model_fields.keys() - {"seed", "recipe", "model_name", "resume", "timeout_s"}) | PARTS.keys()
    if wrong := [name for name, _ in pairs if name not in known]:
        raise UserError(
            "factors must read factor=value,value;factor=value with flags of train, depth or block as factors, "
            f"got {wrong[0]!r} in {part!r} (flag=value&flag=value changes two at once; a + joins the items of a list)"
        )
    return Setting(pairs[0][0], pairs[0][1], tuple(pairs[1:]))


def plan_trainings(config: AblateConfig) -> list[Cell]:
    """Return every training: of each seed the base first, then each setting, or each combination of factors.

    Raises:
        UserError: the factors cannot be read, hold a value out of range, or change nothing.
    """
    base, left_out = _base_flags(config), settings_that_change_nothing(config)
    wanted = [setting for setting in settings_of(config.factors) if setting not in left_out]
    if not wanted:
        raise UserError(f"factors must change something, got factors={config.factors!r} (the base has these values)")
    cells = [
        Cell(settings, _training(settings, base | {"seed": str(seed)}))
        for seed in range(config.seed, config.seed + config.seeds)
        for settings in _combinations(config, wanted)
    ]
    _refuse_equal_ones(cells)
    return cells


def settings_that_change_nothing(config: AblateConfig) -> list[Setting]:
    """Return the settings that are the base itself, which are left out."""
    base = _base_flags(config)
    unchanged = make_config(TrainConfig, base)
    return [setting for setting in settings_of(config.factors) if _training((setting,), base) == unchanged]


def _base_flags(config: AblateConfig) -> dict[str, str]:
    return config_text(config.train_config()) | {"weights": config.weights}  # for every variant, if it is a table


def trainings_from_auto(config: AblateConfig) -> list[TrainConfig]:
    """Return the trainings of an ablation that ``weights=auto`` is for, each once: with one seed, whatever they change.

    Raises:
        UserError: the factors cannot be read, hold a value out of range, or make ``auto`` a value of weights.
    """
    wanted = settings_of(config.factors)
    if any(("weights", "auto") in ((each.factor, each.value), *each.with_flags) for each in wanted):
        raise UserError("factors must name the weights, got weights=auto, which is resolved once for all trainings")
    base = config_text(config.train_config())
    trainings = [_training(settings, base) for settings in _combinations(config, wanted)]
    return [training for training in trainings if training.weights == "auto"]


def _combinations(config: AblateConfig, wanted: Sequence[Setting]) -> list[tuple[Setting, ...]]:
    """Return the settings of each training; the base's are none."""
    if config.design == "one_at_a_time":
        return [(), *((setting,) for setting in wanted)]
    by_factor: dict[str, list[Setting]] = {}
    for setting in wanted:
        by_factor.setdefault(setting.factor, []).append(setting)
    grid = itertools.product(*([None, *settings] for settings in by_factor.values()))
    return [tuple(setting for setting in row if setting) for row in grid]


def _refuse_equal_ones(cells: Sequence[Cell]) -> None:
    first: dict[TrainConfig, Cell] = {}
    for cell in cells:
        if (other := first.setdefault(cell.training, cell)) is not cell:
            raise UserError(f"factors must differ, got the same training by {other.name!r} and {cell.name!r}")


def _training(settings: Sequence[Setting], flags: dict[str, str]) -> TrainConfig:
    for setting in settings:
        flags = setting.applied(flags)
    changed = {name for setting in settings for name, _ in ((setting.factor, ""), *setting.with_flags)}
    has_no_phases = flags["weights"] == "none" or flags["freeze_backbone"].lower() == "true"
    if has_no_phases and changed & {"freeze_backbone", "weights"} and "head_epochs" not in changed:
        flags = flags | {"head_epochs": "0"}
    try:
        return make_config(TrainConfig, flags)
    except UserError as error:
        raise UserError(f"factors: {' '.join(map(str, settings))}: {error}") from None
