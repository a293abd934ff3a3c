"""The whole ablation: every training of the plan, by worker processes, and what they say."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

import numpy as np
import pandas as pd

from pipeline import plots, tracking
from pipeline.ablation import effects
from pipeline.ablation.effects import Measured, Place
from pipeline.ablation.plan import Cell, plan_trainings, settings_that_change_nothing, trainings_from_auto
from pipeline.config import AblateConfig, Objective, TrainConfig, UserError
from pipeline.data.store import Store, prepared_store
from pipeline.experiment import (
    begun_tags,
    check_start,
    expected_seconds,
    log_report,
    log_store,
    machine_speed,
    open_store,
    print_imbalance,
    resolve_start,
    tracked_fit,
    training_key,
    trainings_end,
    unusual_structure,
    with_epochs,
)
from pipeline.processes import preload, run_tasks
from pipeline.report import AblationReport, ablation_report
from pipeline.training import Epoch, Untrainable, step_of_one_photo

ABLATION, SETTINGS, SEED = "ablation", "settings", "seed"  # tags of a training: whose it is, and what it measures
AFTER_S = 30.0  # for the comparison
ROUNDS = 3  # how often a training whose process is killed is given to another
SHOWN_FACTORS = 4  # in the run's name


def run_ablation(config: AblateConfig) -> None:
    """Train the base and every setting with every seed; log the table, the plot, and a sentence per factor."""
    began = time.time()
    from_auto = trainings_from_auto(config)  # reads the factors, before anything is asked or fetched
    if not config.ray_address:
        preload("pipeline.experiment.preload")
    tracking.connect(many_machines=config.many_machines)
    typed, config = config, _with_one_start(config, from_auto)
    key, tags = training_key(config), begun_tags(typed, config)
    as_typed = config.model_copy(update={"weights": typed.weights})
    cells = plan_trainings(config)
    with tracking.run("ablate", _name(cells), as_typed, tags, training=key) as parent:
        store = _open_stores(cells)
        check_start(config, store)
        end = trainings_end(began, config.timeout_s, AFTER_S)
        if (chosen := with_epochs(config, store, partial(_fits, store, end))) != config:
            config, cells = chosen, plan_trainings(chosen)
        for setting in settings_that_change_nothing(config):
            print(f"{setting} equals the base, and is left out", flush=True)
        print_imbalance(config, store, varied={name for cell in cells for each in cell.settings for name in each.flags})
        known = finished_cells(config, cells, parent)
        print(f"{len(known)} of {len(cells)} trainings are finished", flush=True)
        measured = _train(config, cells, known, parent, end)
        _log_comparison(measured, config.judged_by, store.labels("validation"))


def _with_one_start(config: AblateConfig, from_auto: Sequence[TrainConfig]) -> AblateConfig:
    """Resolve ``weights=auto`` to ImageNet's weights for all trainings, or to random ones for all: it is no factor."""
    obstacle = next((what for training in from_auto if (what := unusual_structure(training))), "")
    variants = [training.variant for training in from_auto]
    return resolve_start(config, "ablate", variants, obstacle, needs_every=True)


def _name(cells: Sequence[Cell]) -> str:
    factors = list(dict.fromkeys(setting.factor for cell in cells for setting in cell.settings))
    more = len(factors) - SHOWN_FACTORS
    return f"ablate {', '.join(factors[:SHOWN_FACTORS])}" + (f" and {more} more" if more > 0 else "")


def _open_stores(cells: Sequence[Cell]) -> Store:
    """Prepare all photos here, where it shows its progress, and not in every worker; return those of the base."""
    base, *_ = [open_store(data) for data in dict.fromkeys(cell.training.data_config() for cell in cells)]
    log_store(base, with_pictures=True)
    return base


def _fits(store: Store, end: float, config: AblateConfig) -> bool:
    """Return whether all trainings are expected to end in time."""
    base = config.train_config(epochs=1, head_epochs=0, warmup_epochs=0)
    speed = None if config.ray_address else machine_speed(base, len(store.class_names))
    if not speed:
        return True
    photos = len(store.labels("train")), len(store.labels("validation"))
    seconds = sum(expected_seconds(cell.training, *photos, speed) for cell in plan_trainings(config))
    return time.time() + seconds <= end


def _train(
    config: AblateConfig, cells: Sequence[Cell], known: Sequence[Measured], parent: str, end: float
) -> list[Measured]:
    """Return what came of every cell, or of those that ended in time; one whose process dies is given to another."""
    measured = {run.place: run for run in known}
    for _ in range(ROUNDS):
        jobs = [(config, parent, cell) for cell in cells if cell.place not in measured]
        for outcome in run_tasks(
            train_cell, jobs, config.workers, config.ray_address, config.devices, deadline=lambda: end
        ):
            if outcome.kind == tracking.StoreGone.__name__:
                raise tracking.StoreGone(outcome.error)
            if outcome.kind == "ProcessExpired":
                print(f"a training failed: {outcome.error}", flush=True)
            elif outcome.error:
                raise UserError(
                    f"a training failed: {outcome.error} (finished trainings are kept; run the same command again to "
                    "continue)"
                )
            else:
                measured[outcome.value.place] = outcome.value
                print(f"[{len(measured)}/{len(cells)}] {outcome.value.line(config.judged_by)}", flush=True)
        if len(measured) == len(cells):
            return [measured[cell.place] for cell in cells]
        if time.time() >= end:
            return _ended_in_time(config, cells, measured)
    raise UserError(f"every training must finish, got {len(cells) - len(measured)} that did not in {ROUNDS} tries")


def _ended_in_time(config: AblateConfig, cells: Sequence[Cell], measured: Mapping[Place, Measured]) -> list[Measured]:
    tracking.mark_dead_runs()  # a process that did not end in time could not close its run
    tracking.set_tags({tracking.STOPPED: "true"})
    counts = f"{len(measured)} of {len(cells)} trainings"
    if not any(run.settings for run in measured.values()):
        raise UserError(
            f"timeout_s must be enough for the base and one setting, got {config.timeout_s:g}: {counts} finished (run "
            "the same command again to continue)"
        )
    print(f"time is up: {counts} finished, and are compared (run the same command again to continue)", flush=True)
    return [measured[cell.place] for cell in cells if cell.place in measured]


def _log_comparison(measured: Sequence[Measured], objective: Objective, val_labels: np.ndarray) -> None:
    """Log and print what the outcomes say."""
    base = [run for run in measured if not run.settings and not math.isnan(run.outcome)]
    if not base:
        raise UserError("the base must train, got divergence with every seed (try a tenth of its learning_rate)")
    outcome, photos = fmean(run.outcome for run in base), f"{len(val_labels)} validation photos"
    result = (
        f"{100 * outcome:.1f} % of" if objective.name == "val_accuracy" else f"with {objective.sentence(outcome)} on"
    )
    title = f"Ablation: base {result} {photos}, seeds: {len(base)}"
    differences = effects.paired_differences(measured)
    table = effects.difference_table(differences, objective, step_of_one_photo(objective, val_labels))
    table = effects.ranked(table, objective)
    sentences = effects.effect_sentences(table, objective)
    notes = [effects.CAVEAT, power] if (power := effects.power_sentence(differences, objective)) else [effects.CAVEAT]
    runs = pd.DataFrame([run._asdict() | {"settings": run.name} for run in measured])
    for frame, file in (
        (runs, "ablation_runs.csv"), (differences, "ablation_differences.csv"), (table, "ablation.csv")
    ):  # fmt: skip
        tracking.log_table(frame.rename(columns={"outcome": objective.name}), file)
    figure = plots.draw_ablation(table, differences, title, objective)
    tracking.log_figure(figure, "ablation.png")
    tracking.log_text("\n".join([f"# {title}", "", *(f"- {line}" for line in sentences), "", *notes]), "ablation.md")
    tracking.log_metrics({f"base_{objective.name}": outcome})
    tracking.copy_artifacts(base[0].run_id, tracking.RUN_PICTURES)
    print("\n".join([title, *sentences, *notes]), flush=True)
    facts = tracking.run_facts()
    own = f"is right on {result}" if objective.name == "val_accuracy" else f"has {objective.sentence(outcome)} on"
    base_sentence = f"The base {own} {photos} (mean of {len(base)} seed{'s' if len(base) > 1 else ''})."
    report = AblationReport("Ablation", base_sentence, table, sentences, " ".join(notes), figure, objective, facts)
    print(f"  read the report:   {log_report(ablation_report(report), f'ablation-{tracking.open_run()[1][:12]}')}")


def finished_cells(config: AblateConfig, cells: Sequence[Cell], parent: str) -> list[Measured]:
    """Return what an earlier, unfinished run of the same ablation has measured; these runs go under ``parent``."""
    if config.resume == "never":
        return []
    known = tracking.adopt_children(ABLATION, training_key(config), parent)
    stores = {data: prepared_store(data) for data in {cell.training.data_config() for cell in cells} if known}
    return [
        _measured(
            cell, store, child.metrics[f"best_{config.objective}"], child.metrics["images_per_second"], child.run_id
        )
        for cell in cells
        if (child := known.get(training_key(cell.training)))
        if child.tags["data_digest"] == (store := stores[cell.training.data_config()]).digest
    ]


def _measured(cell: Cell, store: Store, outcome: float, speed: float, run_id: str) -> Measured:
    """Return what a cell came to, with the minutes that its epochs take at a ``speed`` in photos a second."""
    minutes = cell.training.epochs * len(store.labels("train")) / speed / 60
    return Measured(*cell.place, outcome, speed, minutes, run_id)


def train_cell(config: AblateConfig, parent: str, cell: Cell) -> Measured:
    """Train a cell in a run of its own under the run ``parent``; nothing of its model is kept."""
    wanted = cell.training
    tags = {ABLATION: training_key(config), SETTINGS: cell.name, SEED: str(wanted.seed)}
    tags |= {"factor": " ".join(setting.factor for setting in cell.settings) or "base"}
    tags |= {"value": " ".join(setting.label for setting in cell.settings)}
    name = f"{cell.name} seed={wanted.seed}"
    try:
        with tracking.run("ablate", name, wanted, tags, parent, training_key(wanted)) as run_id:
            store = prepared_store(wanted)
            log_store(store)
            epochs: list[Epoch] = []
            best = tracked_fit(wanted, store, epochs.append, wants_model=lambda _: False).best
            return _measured(cell, store, getattr(best, config.objective), epochs[-1].images_per_second, run_id)
    except Untrainable:  # which says something of the setting; its run says it, too
        return Measured(*cell.place, math.nan, math.nan, math.nan, run_id)
