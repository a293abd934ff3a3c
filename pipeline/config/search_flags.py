"""The flags of a search: what is tried, and by which processes."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from pipeline.config.base import Config, Variant, split_commas
from pipeline.config.chosen_flags import USUAL_TRIALS
from pipeline.config.identity import AsBefore, FormerDefault
from pipeline.config.places import RUNS_FOLDER

IN_MEMORY = ("sqlite://", "sqlite:///", "sqlite:///:memory:")


class SearchConfig(Config):
    """The search: how many trials, over which space, and how the winner is confirmed."""

    n_trials: Annotated[int, FormerDefault(USUAL_TRIALS)] = Field(
        0,
        ge=0,
        description="Finished trials to reach, earlier runs included; 0 is automatic: as many as fit into "
        f"timeout_s, else {USUAL_TRIALS}.",
    )
    head_trials: Annotated[int, AsBefore(0), FormerDefault(0)] = Field(
        -1,
        ge=-1,
        description="First trials, which compare variants and heads on features of pre-trained weights, computed once; "
        "the others fine-tune the best two variants. 0 for none, -1 is automatic: half of n_trials, 6 if n_trials is "
        "0.",
    )
    timeout_s: float = Field(
        0.0,
        ge=0,
        description="Seconds for the whole search, from photos to registration; trials end early enough for "
        "confirmations. 0 for no limit.",
    )
    study_name: str = Field("", description="Name of the Optuna study; empty derives it from data and flags.")
    storage: str = Field(
        f"sqlite:///{RUNS_FOLDER}/optuna.db",
        min_length=1,
        description="Optuna storage URL; ${NAME} in it stands for an environment variable.",
    )
    sampler: Literal["tpe", "random"] = Field("tpe", description="How the next trial is suggested.")
    pruner: Literal["percentile", "median", "hyperband", "none"] = Field(
        "percentile", description="Which trials are stopped early, by the objective per epoch."
    )
    variants: Annotated[tuple[Variant, ...], BeforeValidator(split_commas)] = Field(
        ("resnet18", "resnet18_v2", "resnet18_vd"),
        min_length=1,
        description="Variants to search over, as a comma list.",
    )
    space: str = Field(
        "",
        description="YAML or JSON file of ranges, choices and fixed values to search instead (docs/search_space.md).",
    )
    confirm_top_k: int = Field(
        2, ge=0, description="Best configs to train again, with fresh seeds and for longer; 0 for none."
    )
    confirm_seeds: int = Field(1, ge=1, description="Fresh seeds per confirmed config.")
    confirm_epochs_factor: float = Field(
        2.5,
        ge=1,
        description="Epochs of a confirmation, as a multiple of a trial's: trials are short so that many fit.",
    )
    prune_audit: int = Field(
        0, ge=0, description="Pruned trials to finish after the search, to measure what pruning has cost."
    )

    @property
    def most_trials(self) -> float:
        """Finished trials with which the search ends; infinite where only its time ends it."""
        return self.n_trials or (math.inf if self.timeout_s else USUAL_TRIALS)

    @field_validator("storage")
    @classmethod
    def _outlives_a_process(cls, storage: str) -> str:
        if storage in IN_MEMORY:
            raise ValueError(
                f"storage must be a file or a database server, got {storage}, which is lost when its process ends "
                f"(try sqlite:///{RUNS_FOLDER}/optuna.db)"
            )
        return storage


class WorkersConfig(Config):
    """The processes that train."""

    workers: int = Field(1, ge=1, description="Processes that run trials or trainings in parallel.")
    ray_address: str = Field("", description="Run the workers on Ray: local, or a cluster's address.")

    @property
    def many_machines(self) -> bool:
        """Whether trials may run on machines that do not see this one's files."""
        return self.ray_address not in ("", "local")
