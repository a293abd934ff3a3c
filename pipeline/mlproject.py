"""The MLproject file, written from the configs: run ``python -m pipeline.mlproject > MLproject`` after a change."""

from __future__ import annotations

import importlib

import yaml

from pipeline.config import Config
from pipeline.config.text import as_text, fields_of

ENTRY_POINTS = (
    "preprocess", "train", "tune", "evaluate", "ablate", "predict", "serve", "demo", "export", "rollback",
    "suspects", "weights", "main", "doctor",
)  # fmt: skip


def mlproject() -> dict[str, object]:
    """Return the content of MLproject: an entry point per command, with its flags in order and their defaults."""
    points = {name: importlib.import_module(f"pipeline.commands.{name}").CONFIG for name in ENTRY_POINTS}
    return {
        "name": "photo-pipeline",
        "conda_env": "conda.yaml",
        "entry_points": {name: _entry_point(name, config) for name, config in points.items()},
    }


def _entry_point(name: str, config: type[Config]) -> dict[str, object]:
    # Bare {placeholders}: MLflow quotes them for the shell, which quotes around them would undo.
    # --name={name} and not --name {name}: a value that begins with -- must stay a value.
    flags = " ".join(f"--{field}={{{field}}}" for field in fields_of(config))
    parameters = {
        field: {"type": "float" if type(info.default) in (int, float) else "string", "default": _default(info.default)}
        for field, info in fields_of(config).items()
    }
    return {"parameters": parameters, "command": f"python -m pipeline {name} {flags}"}


def _default(value: object) -> object:
    return value if type(value) in (int, float) else as_text(value)


if __name__ == "__main__":
    print("# Written by `python -m pipeline.mlproject` from the configs in pipeline/config.")
    print(yaml.safe_dump(mlproject(), sort_keys=False, width=110, default_flow_style=None), end="")
