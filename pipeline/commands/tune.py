"""``tune``: search, confirm the best few with fresh seeds, register the winner as challenger."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.config import TuneConfig as CONFIG
from pipeline.config import UserError, variables_of

if TYPE_CHECKING:
    from optuna.study import Study

    from pipeline.data.store import Store
    from pipeline.registry import Version
    from pipeline.space import Space
    from pipeline.trials import Confirmation, Winner

FAILURES_IN_A_ROW = 3  # then the fault is not the trial's
OTHERS_EVERY_S = 5


def run(config: CONFIG) -> None:
    """Run the search to its end and register the winner."""
    from pipeline import registry, search, tracking
    from pipeline.experiment import print_model, training_key
    from pipeline.photos import log_store, open_store
    from pipeline.space_file import space_of, with_space_read
    from pipeline.workers import warm_up

    config = _with_known_weights(with_space_read(config))
    space = space_of(config)
    if not config.ray_address:
        warm_up("pipeline.preload")
    tracking.connect(many_machines=config.many_machines)
    name = f"tune {config.data}, {config.n_trials} trials"
    with tracking.run("tune", name, config, training=training_key(config)) as parent:
        store = open_store(config)
        log_store(store, sample_splits=("train", "validation"))
        study = search.open_study(config, store.digest)
        tracking.set_tags({"study_name": study.study_name})
        tracking.log_text(yaml.safe_dump(space.as_data(), sort_keys=False), "space.yaml")
        _prepare(study, config, space)
        _run_trials(study, config, parent)
        winner, confirmations = _confirm(study, config, parent)
        tracking.end_below(parent)
        version = registry.register(winner.model_uri, config.model_name)
        _log_search(study, winner)
        _name_borders(study.trials[winner.trial].params, space)
        _log_report(study, winner, confirmations, store, version)
    judged_by = f" (mean of {winner.seeds} fresh seeds)" if winner.seeds else ""
    print(f"winner: trial {winner.trial}, val_accuracy {winner.val_accuracy:.4f}{judged_by}")
    print_model(version)


def _with_known_weights(config: CONFIG) -> CONFIG:
    """Leave out the variants that nobody has trained on ImageNet, where the search is to start from such weights."""
    from pipeline.models.variants import VARIANTS

    known = tuple(name for name in config.variants if config.weights != "imagenet" or VARIANTS[name].imagenet_preset)
    if not known:
        with_weights = ", ".join(name for name, variant in VARIANTS.items() if variant.imagenet_preset)
        raise UserError(
            f"weights=imagenet needs a variant that has them ({with_weights}), got variants={','.join(config.variants)}"
        )
    for name in set(config.variants).difference(known):
        print(f"variant {name} is not tried: it has no ImageNet weights", flush=True)
    return config.model_copy(update={"variants": known})


def _prepare(study: Study, config: CONFIG, space: Space) -> None:
    from pipeline import orphans, search
    from pipeline.space_file import unsearched

    with orphans.start_lock(study, config.storage):
        dead = orphans.fail_orphans(study)
    for orphan in dead:
        print(f"trial {orphan.number} was running in a process that is gone; another goes on with it", flush=True)
    for start in search.known_good(config):
        study.enqueue_trial(start, skip_if_exists=True)
    for flag, (value, searched) in unsearched(config, space).items():
        print(f"{flag}={value} is not tried: the search is over {', '.join(map(str, searched))}", flush=True)
    finished, _, _ = search.trial_counts(study)
    print(f"study {study.study_name}: {finished} of {config.n_trials} trials are finished", flush=True)


def _run_trials(study: Study, config: CONFIG, parent: str) -> None:
    """Run trials until the study has enough or time is up; one that fails or whose process dies is made up for."""
    from pipeline import orphans, search, tracking, trials
    from pipeline.workers import run_tasks

    deadline = time.time() + config.timeout_s if config.timeout_s else float("inf")
    errors: list[str] = []
    while (counts := search.trial_counts(study))[0] < config.n_trials and time.time() < deadline:
        missing = config.n_trials - counts[0] - counts[1]
        if missing <= 0:
            time.sleep(OTHERS_EVERY_S)  # another process runs what is missing, and may yet fail
        jobs = ((config, parent, deadline, number) for number in range(missing))
        for outcome in run_tasks(trials.run_trial, jobs, config.workers, config.ray_address, **_needs(config)):
            errors = [*errors, outcome.error] if outcome.error else []
            if outcome.error:
                print(f"a trial failed: {outcome.error}", flush=True)
            if outcome.kind == tracking.StoreGone.__name__:
                raise tracking.StoreGone(outcome.error)
            if len(errors) == FAILURES_IN_A_ROW:
                raise UserError(f"{len(errors)} trials in a row failed, the last with: {errors[-1]}")
        with orphans.start_lock(study, config.storage):
            orphans.fail_orphans(study)


def _needs(config: CONFIG) -> dict[str, Any]:
    """Return what `run_tasks` is to give to every task on another machine."""
    return {"gpus": config.devices, "variables": variables_of(config.storage)}


def _confirm(study: Study, config: CONFIG, parent: str) -> tuple[Winner, list[Confirmation]]:
    from pipeline import trials
    from pipeline.workers import run_tasks

    jobs = [(config, parent, trial, seed) for trial, seed in trials.to_confirm(config, study)]
    outcomes = list(run_tasks(trials.confirm_trial, jobs, config.workers, config.ray_address, **_needs(config)))
    if errors := [outcome.error for outcome in outcomes if outcome.error]:
        raise UserError(f"every confirmation must end, got {errors[0]} (run the same command again)")
    confirmations = [outcome.value for outcome in outcomes]
    return trials.pick_winner(study, confirmations), confirmations


def _log_search(study: Study, winner: Winner) -> None:
    from pipeline import plots, search, tracking
    from pipeline.model_card import search_card
    from pipeline.study_plots import draw_study, trial_table

    table = trial_table(study)
    tracking.log_table(table, "trials.csv")
    tracking.log_figure(plots.draw_trials(table, "Search"), "trials.png")
    for name, figure in draw_study(study).items():
        tracking.log_figure(figure, name)
    best = search.ranked(study)[0]
    tracking.log_metrics({"best_val_accuracy": best.value or 0.0, "confirmed_val_accuracy": winner.val_accuracy})
    tracking.copy_artifacts(winner.run_id, tracking.RUN_PICTURES)
    tracking.set_tags({"best_trial": str(winner.trial), "model_uri": winner.model_uri})
    states = table["state"].value_counts().to_dict()
    won = (winner.trial, winner.val_accuracy, winner.seeds, states, winner.run_id)
    tracking.set_note(search_card(*won, *tracking.open_run()))


def _name_borders(params: Mapping[str, object], space: Space) -> None:
    """Call out what of the winner lies on the border of its range, and say what to try next."""
    from pipeline import tracking
    from pipeline.space import at_border

    borders = at_border(space, params)
    for border in borders:
        wider = json.dumps({border.name: border.next.model_dump()})
        print(
            f"{border.name}={border.value:.2g} of the winner is on the border of {border.range.low:g} to "
            f"{border.range.high:g}; beyond it may be better:\n  --space='{wider}'",
            flush=True,
        )
    tracking.set_tags({"at_border": ", ".join(border.name for border in borders) or "nothing"})


def _log_report(
    study: Study, winner: Winner, confirmations: list[Confirmation], store: Store, version: Version
) -> None:
    import pandas as pd

    from pipeline import tracking
    from pipeline.report import SearchReport, interactive_page, search_report
    from pipeline.study_plots import curve_table, draw_study, study_figures, trial_table
    from pipeline.trials import Confirmation

    photos = store.rows("validation")
    report = SearchReport(
        title=f"Search for a classifier of {store.source.name}",
        trials=trial_table(study),
        curves=curve_table(study),
        confirmations=pd.DataFrame(confirmations, columns=Confirmation._fields),
        winner=winner.trial,
        val_accuracy=winner.val_accuracy,
        seeds=winner.seeds,
        model_uri=f"models:/{version.name}/{version.number}",
        class_names=store.class_names,
        images=store.images("validation"),
        groups=photos["group"].to_numpy(),
        predictions=tracking.read_table(winner.run_id, tracking.VAL_PREDICTIONS),
        figures=draw_study(study),
        facts={"Photos": f"{len(store.manifest):,}", "Classes": str(len(store.class_names)), **tracking.run_facts()},
    )
    tracking.log_text(search_report(report), "report.html")
    tracking.log_text(interactive_page(report.title, study_figures(study)), "search.html")
