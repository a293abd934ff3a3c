"""``tune``: search, confirm the best few with fresh seeds, register the winner as challenger."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import yaml

from pipeline.config import TuneConfig as CONFIG
from pipeline.config import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.study import Study

    from pipeline.search.confirmations import Again, Confirmation, Winner
    from pipeline.data.store.store import Store
    from pipeline.search.progress import Say
    from pipeline.tracking.registry import Version
    from pipeline.search.space import Space


def run(config: CONFIG) -> None:
    """Run the search to its end and register the winner."""
    from pipeline.search import confirmations, progress, study as search
    from pipeline.tracking import registry
    from pipeline import tracking
    from pipeline.experiment.training_run import print_model, training_key
    from pipeline.experiment.photos import log_store, open_store
    from pipeline.search.space_file import space_of, with_space_read
    from pipeline.processes.pool import warm_up

    config = _with_known_weights(with_space_read(config))
    space = space_of(config)
    if not config.ray_address:
        warm_up("pipeline.search.preload")
    tracking.connect(many_machines=config.many_machines)
    name = f"tune {config.data}, {config.n_trials} trials"
    with tracking.run("tune", name, config, training=training_key(config)) as parent:
        store = open_store(config)
        log_store(store, sample_splits=("train", "validation"))
        study = search.open_study(config, store.digest)
        tracking.set_tags({tracking.STUDY: study.study_name})
        tracking.log_text(yaml.safe_dump(space.as_data(), sort_keys=False), "space.yaml")
        with progress.shown(study, config) as say:
            _prepare(study, config, space, say)
            try:
                _run_trials(study, config, parent, say)
                again = _train_again(study, config, parent, say)
            except KeyboardInterrupt:
                say(f"interrupted: {progress.summary(study, config)} (the same command goes on)")
                raise
            tracking.connect()  # marks the runs of processes that died meanwhile
            tracking.end_below(parent)
            winner = _log_winner(study, again, say)
        version = registry.register(winner.model_uri, config.model_name)
        figures = _log_search(study, winner)
        _name_borders(study.trials[winner.trial].params, space)
        _log_report(study, winner, confirmations.confirmed(again), store, version, figures)
    print(_on_suspects())
    print_model(version)


def _on_suspects() -> str:
    from pipeline.experiment import label_suspects

    found = "doubtful labels, by the winner: label_suspects.csv of the run"
    return found if label_suspects.can_look() else label_suspects.MISSING


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


def _prepare(study: Study, config: CONFIG, space: Space, say: Say) -> None:
    from pipeline.search import recovery as orphans, study as search
    from pipeline import tracking
    from pipeline.search.space_file import unsearched

    with orphans.start_lock(study, config.storage):
        for orphan in orphans.settle(study, tracking.close):
            say(f"trial {orphan.number} was running in a process that is gone; it is settled, or another goes on")
    for flag, (value, searched) in unsearched(config, space).items():
        say(f"{flag}={value} is not tried: the search is over {', '.join(map(str, searched))}")
    if search.goal(config) < config.n_trials:
        say(f"the space has {search.goal(config)} points, each is tried once: n_trials={config.n_trials} is too many")
    finished, _, _ = search.trial_counts(study)
    say(f"study {study.study_name}: {finished} of {search.goal(config)} trials are finished")


def _run_trials(study: Study, config: CONFIG, parent: str, say: Say) -> None:
    """Run trials until the study has enough or time is up; one that fails or whose process dies is made up for."""
    from pipeline.search import progress, study as search, trials
    from pipeline import tracking
    from pipeline.search.dispatch import run_missing

    deadline = time.time() + config.timeout_s if config.timeout_s else math.inf

    def missing() -> list[tuple[object, ...]] | None:
        finished, running, _ = search.trial_counts(study)
        if finished >= search.goal(config):
            return None
        return [(config, parent, deadline, number) for number in range(search.goal(config) - finished - running)]

    def tell(done: trials.Done) -> None:
        say(progress.line_of(done, study, config))

    if not run_missing(trials.run_trial, missing, tell, study, config, say, deadline):
        tracking.heal()  # a process that did not end in time could not close its run
        where = progress.summary(study, config)
        say(f"time is up after {config.timeout_s:g} s: {where}; what was running is kept (the same command goes on)")
        tracking.set_tags({tracking.STOPPED: "true"})


def _train_again(study: Study, config: CONFIG, parent: str, say: Say) -> dict[Again, Confirmation]:
    """Confirm the best trials and finish a sample of the pruned ones; what was done before is not done again."""
    from pipeline.search import confirmations, study as search, trials
    from pipeline.search.dispatch import run_missing

    wanted = [*confirmations.to_confirm(config, study), *confirmations.to_audit(config, study)]
    if not wanted:
        return {}

    def missing() -> list[tuple[object, ...]] | None:
        done = confirmations.done(config, study, wanted)
        return [(config, parent, again) for again in wanted if again not in done] or None

    def tell(done: trials.Done) -> None:
        say(f"{done.name}: val_accuracy {done.best.val_accuracy:.4f}")

    second = search.open_second_study(config, study)
    run_missing(confirmations.train_again, missing, tell, second, config, say)
    return confirmations.done(config, study, wanted)


def _log_winner(study: Study, again: dict[Again, Confirmation], say: Say) -> Winner:
    """Log and print who won, by how much that is to be trusted, and what pruning has cost."""
    from pipeline.search import confirmations, study as search
    from pipeline import tracking

    confirmed = confirmations.confirmed(again)
    audited = [done for wanted, done in again.items() if wanted.stage == confirmations.AUDIT]
    winner = confirmations.pick_winner(study, confirmed)
    metrics = {
        "best_val_accuracy": search.ranked(study)[0].value or 0.0,
        "confirmed_val_accuracy": winner.val_accuracy,
        "confirmed_val_accuracy_sd": winner.spread,
        "confirmed_seeds": float(winner.seeds),
    }
    if audited:
        metrics["prune_regret"] = confirmations.prune_regret(study, audited)
        say(confirmations.audit_in_words(study, audited))
    tracking.log_metrics(metrics)
    tracking.log_table(confirmations.table(study, again), "confirmations.csv")
    tracking.set_tags({"best_trial": str(winner.trial), "model_uri": winner.model_uri})
    say(f"winner: trial {winner.trial}, val_accuracy {winner.in_words()}")
    return winner


def _log_search(study: Study, winner: Winner) -> dict[str, Figure]:
    from pipeline import tracking
    from pipeline.experiment.model_card import search_card
    from pipeline.search.study_plots import draw_study, trial_table

    table = trial_table(study)
    tracking.log_table(table, "trials.csv")
    figures = draw_study(study)
    for name, figure in figures.items():
        tracking.log_figure(figure, name)
    tracking.copy_artifacts(winner.run_id, tracking.RUN_PICTURES)
    states = table["state"].value_counts().to_dict()
    won = (winner.trial, winner.val_accuracy, winner.seeds, states, winner.run_id)
    tracking.set_note(search_card(*won, *tracking.open_run()))
    return figures


def _name_borders(params: Mapping[str, object], space: Space) -> None:
    """Call out what of the winner lies on the border of its range, and say what to try next."""
    from pipeline import tracking
    from pipeline.search.space import at_border

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
    study: Study,
    winner: Winner,
    confirmed: list[Confirmation],
    store: Store,
    version: Version,
    figures: dict[str, Figure],
) -> None:
    import pandas as pd

    from pipeline import tracking
    from pipeline.search.confirmations import Confirmation
    from pipeline.report import SearchReport, interactive_page, search_report
    from pipeline.search.study_plots import curve_table, study_figures, trial_table

    photos = store.rows("validation")
    report = SearchReport(
        title=f"Search for a classifier of {store.source.name}",
        trials=trial_table(study),
        curves=curve_table(study),
        confirmations=pd.DataFrame(confirmed, columns=Confirmation._fields),
        winner=winner.trial,
        val_accuracy=winner.val_accuracy,
        seeds=winner.seeds,
        model_uri=f"models:/{version.name}/{version.number}",
        class_names=store.class_names,
        images=store.images("validation"),
        groups=photos["group"].to_numpy(),
        predictions=tracking.read_table(winner.run_id, tracking.VAL_PREDICTIONS),
        figures=figures,
        facts={"Photos": f"{len(store.manifest):,}", "Classes": str(len(store.class_names)), **tracking.run_facts()},
    )
    tracking.log_text(search_report(report), "report.html")
    tracking.log_text(interactive_page(report.title, study_figures(study)), "search.html")
