"""``ablate``: change one factor at a time and say what the change does to validation accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from pipeline.config import AblateConfig as CONFIG
from pipeline.config import UserError

if TYPE_CHECKING:
    from pipeline.ablation.plan import Cell
    from pipeline.data.store.store import Store
    from pipeline.ablation.effects import Measured

ROUNDS = 3  # a training whose process is killed is given to another so often
SHOWN_FACTORS = 4  # in the run's name


def run(config: CONFIG) -> None:
    """Train the base and every setting with every seed; log the table, the plot, and a sentence per factor."""
    from pipeline.ablation import plan as ablation
    from pipeline import tracking
    from pipeline.experiment.training_run import training_key
    from pipeline.processes.pool import warm_up

    cells = ablation.planned(config)
    if not config.ray_address:
        warm_up("pipeline.search.preload")
    tracking.connect(many_machines=config.many_machines)
    with tracking.run("ablate", _name(cells), config, training=training_key(config)) as parent:
        store = _opened_stores(cells)
        known = ablation.finished_cells(config, cells, parent)
        print(f"{len(known)} of {len(cells)} trainings are finished", flush=True)
        measured = _train(config, cells, known, parent)
        _log_comparison(measured, len(store.labels("validation")))


def _name(cells: Sequence[Cell]) -> str:
    factors = list(dict.fromkeys(setting.factor for cell in cells for setting in cell.settings))
    more = len(factors) - SHOWN_FACTORS
    return f"ablate {', '.join(factors[:SHOWN_FACTORS])}" + (f" and {more} more" if more > 0 else "")


def _opened_stores(cells: Sequence[Cell]) -> Store:
    """Prepare all photos here, where it shows its progress, and not in every worker; return those of the base."""
    from pipeline.experiment.photos import log_store, open_store

    base, *_ = [open_store(data) for data in dict.fromkeys(cell.training.data_config() for cell in cells)]
    log_store(base, sample_splits=("train", "validation"))
    return base


def _train(config: CONFIG, cells: Sequence[Cell], known: Sequence[Measured], parent: str) -> list[Measured]:
    """Return what came of every cell; one whose process dies is given to another."""
    from pipeline.ablation import plan as ablation
    from pipeline import tracking
    from pipeline.processes.pool import run_tasks

    measured = {run.place: run for run in known}
    for _ in range(ROUNDS):
        jobs = [(config, parent, cell) for cell in cells if cell.place not in measured]
        for outcome in run_tasks(ablation.train_cell, jobs, config.workers, config.ray_address, config.devices):
            if outcome.kind == tracking.StoreGone.__name__:
                raise tracking.StoreGone(outcome.error)
            if outcome.kind == "ProcessExpired":
                print(f"a training failed: {outcome.error}", flush=True)
            elif outcome.error:
                raise UserError(f"a training failed: {outcome.error} (what is finished is kept for the same command)")
            else:
                measured[outcome.value.place] = outcome.value
                print(f"[{len(measured)}/{len(cells)}] {outcome.value}", flush=True)
        if len(measured) == len(cells):
            return [measured[cell.place] for cell in cells]
    raise UserError(f"every training must end, got {len(cells) - len(measured)} that did not in {ROUNDS} tries")


def _log_comparison(measured: Sequence[Measured], val_photos: int) -> None:
    """Log and print what the accuracies say."""
    import pandas as pd

    from pipeline.ablation import effects
    from pipeline import plots, tracking

    base = [run for run in measured if not run.settings and not math.isnan(run.val_accuracy)]
    if not base:
        raise UserError("the base must train, got that it diverged with every seed (try a tenth of its learning_rate)")
    accuracy = fmean(run.val_accuracy for run in base)
    title = f"Ablation: base {100 * accuracy:.1f} % of {val_photos} validation photos, seeds: {len(base)}"
    differences = effects.paired_differences(measured)
    table = effects.difference_table(differences, val_photos)
    said = effects.sentences(table)
    runs = pd.DataFrame([run._asdict() | {"settings": run.name} for run in measured])
    tracking.log_table(runs, "ablation_runs.csv")
    tracking.log_table(differences, "ablation_differences.csv")
    tracking.log_table(table, "ablation.csv")
    tracking.log_figure(plots.draw_ablation(table, differences, title), "ablation.png")
    tracking.log_text("\n".join([f"# {title}", "", *(f"- {line}" for line in said), "", effects.CAVEAT]), "ablation.md")
    tracking.log_metrics({"base_val_accuracy": accuracy})
    tracking.copy_artifacts(base[0].run_id, tracking.RUN_PICTURES)
    print("\n".join([title, *said, effects.CAVEAT]), flush=True)
