"""The whole search: trials, confirmations of the best few with fresh seeds, and the winner registered as challenger."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from optuna.study import Study

from pipeline import tracking
from pipeline.config import Objective, TuneConfig, UserError, weights_by_variant
from pipeline.data.store import Store
from pipeline.evaluation import ExpectedAccuracy, expected_accuracy
from pipeline.experiment import (
    SUSPECTS_TABLE,
    MachineSpeed,
    begun_tags,
    can_find_suspects,
    check_start,
    estimated_speed,
    go_on_with,
    log_report,
    log_store,
    machine_speed,
    missing_extra,
    open_store,
    print_imbalance,
    print_model,
    resolve_start,
    training_key,
    unusual_structure,
    with_epochs,
)
from pipeline.models.variants import VARIANTS
from pipeline.processes import preload
from pipeline.report import Result, SearchReport, interactive_page, search_report, searched_flags
from pipeline.search import confirmations, trials
from pipeline.search import study as studies
from pipeline.search.confirmations import Confirmation, Retraining, Winner
from pipeline.search.dispatch import run_missing
from pipeline.search.progress import ReportLine, format_duration, show_progress, summary_line, trial_line
from pipeline.search.recovery import settle_trials, start_lock
from pipeline.search.search_card import search_card
from pipeline.search.space import Space, params_at_border
from pipeline.search.space_file import flags_not_searched, inline_space_file, mode_of, space_of
from pipeline.search.study_contents import claim
from pipeline.search.study_plots import curve_table, draw_study, study_figures, trial_table
from pipeline.search.time_plan import TimePlan, describe_plan, expected_parts, fits_in_time, seconds_for_trainings
from pipeline.tracking import registry
from pipeline.tracking.registry import Version
from pipeline.training import score_of_one_answer

LONG_S = 2 * 3600  # of a search, from which on it is said how it can be made shorter


def preload_trials(config: TuneConfig) -> None:
    """Begin to import what trials need, before anything else starts processes, which trials would then fork from."""
    if not config.ray_address:
        preload("pipeline.search.preload")


def resolve_search(config: TuneConfig) -> TuneConfig:
    """Return the search with the weights and the size that it comes to; what depends on the photos is still open."""
    typed = inline_space_file(config)
    return _with_known_weights(resolve_start(typed, "tune", typed.variants, unusual_structure(typed)))


@dataclass(frozen=True, repr=False)
class SearchResult(Result):
    """The result of ``tune``.

    Attributes:
        winner: the config that won: its trial, and its objective over fresh seeds.
        params: what of the space it is.
        trials: one row per trial.
        confirmations: one row per training of the best with a fresh seed.
        study_name: of the Optuna study.
    """

    winner: Winner
    params: Mapping[str, object]
    trials: pd.DataFrame
    confirmations: pd.DataFrame
    study_name: str

    @property
    def summary(self) -> str:
        """Which trial won, and how good it is."""
        return f"trial {self.winner.trial} of {len(self.trials)} won, {self.winner.description}: {self.model_uri}"

    @property
    def table(self) -> pd.DataFrame:
        """The trials, by what they differ in."""
        return self.trials[["number", "value", "state", "epochs_run", "seconds", *searched_flags(self.trials)]]


def run_search(config: TuneConfig, resolved: TuneConfig | None = None) -> SearchResult:
    """Run the search to its end and register the winner.

    Args:
        config: the search.
        resolved: what `resolve_search` has made of it, if it was asked before.
    """
    began = time.time()
    typed = inline_space_file(config)
    space_of(typed)  # reads it, before anything is asked or fetched
    preload_trials(typed)
    tracking.connect(many_machines=typed.many_machines)
    config = resolved or resolve_search(typed)
    trials_or_time = f"{config.most_trials:g} trials" if math.isfinite(config.most_trials) else _time(config)
    name = f"tune {config.data_name}, {trials_or_time}"
    key, tags = training_key(config), begun_tags(typed, config)
    as_typed = config.model_copy(update={"weights": typed.weights})
    with tracking.run("tune", name, as_typed, tags, training=key) as parent:
        store = open_store(config)
        check_start(config, store)
        log_store(store, with_pictures=True)
        photos = len(store.labels("train")), len(store.labels("validation"))
        config, epochs = _as_begun(typed, config, store.digest)
        speed = _speed(config, len(store.class_names))
        config = with_epochs(config, store, lambda chosen: fits_in_time(chosen, *photos, speed), begun_with=epochs)
        space = space_of(config)
        print_imbalance(config, store, varied=space.to_dict())
        study = studies.open_study(config, store.digest)
        studies.record_start(study, typed, config, store.digest)
        tracking.set_tags({tracking.STUDY: study.study_name})
        tracking.log_text(yaml.safe_dump(space.to_dict(), sort_keys=False), "space.yaml")
        plan = TimePlan(config, study, began, confirmations.ended_retrainings(config, study))
        with show_progress(study, config, plan) as report_line:
            claim(study, config, store.digest, tracking.store_identity(), report_line)
            _prepare(study, config, space, report_line)
            report_line(_plan_line(study, config, photos, speed))
            try:
                _run_trials(study, config, plan, parent, report_line)
                retrained = _retrain(study, config, plan, parent, report_line)
            except KeyboardInterrupt:
                report_line(
                    f"interrupted: {summary_line(study, config, plan)} (run the same command again to continue)"
                )
                raise
            tracking.connect()  # marks the runs of processes that died meanwhile
            tracking.end_children(parent)
            winner = _log_winner(study, retrained, config.judged_by, report_line)
            _report_baseline(winner, store, config.judged_by, report_line)
            confirmed = confirmations.confirmations_of(retrained)
            expected = _log_expected(winner, confirmed, store, config.judged_by, report_line)
        version = registry.register(winner.model_uri, config.model_name)
        figures = _log_search(study, winner, config.judged_by)
        _report_borders(study.trials[winner.trial].params, space)
        unconfirmed = "" if confirmed else _why_unconfirmed(config, study)
        place = _log_report(study, winner, confirmed, unconfirmed, config.judged_by, store, version, figures, expected)
    print_model(version, place)
    tables = (trial_table(study), pd.DataFrame(confirmed, columns=Confirmation._fields), study.study_name)
    params = study.trials[winner.trial].params
    return SearchResult(version.uri, parent, winner, params, *tables, report=place, figures=figures)


def _as_begun(typed: TuneConfig, config: TuneConfig, data_digest: str) -> tuple[TuneConfig, int]:
    """Return the config with the weights that its study was begun with, and the epochs that its time came to.

    The weights are those of ``config``, and the epochs 0, where there is no such study.
    """
    begun = studies.recorded_start(typed, data_digest)
    if begun.weights and begun.weights != config.weights:
        config = _with_known_weights(go_on_with(typed, begun.weights))
        tracking.set_tags({tracking.TRAINING: training_key(config), **begun_tags(typed, config)})
    return config, begun.epochs


def _time(config: TuneConfig) -> str:
    return format_duration(config.timeout_s)


def _with_known_weights(config: TuneConfig) -> TuneConfig:
    """Leave out the variants without ImageNet weights, where the search is to start from such weights."""
    table = weights_by_variant(config.weights)
    imagenet = {name for name, variant in VARIANTS.items() if variant.imagenet_preset}
    with_weights = set(table) or (imagenet if config.weights == "imagenet" else set(config.variants))
    known = tuple(name for name in config.variants if name in with_weights)
    if not known:
        raise UserError(
            f"weights={config.weights} needs a variant that has them ({', '.join(sorted(with_weights))}), got "
            f"variants={','.join(config.variants)}"
        )
    for name in sorted(set(config.variants).difference(known)):
        print(f"variant {name} is not tried: it has no ImageNet weights", flush=True)
    return config.model_copy(update={"variants": known})


def _speed(config: TuneConfig, classes: int) -> MachineSpeed | None:
    """Return the speed of trainings, measured where time is the budget; None where it is not known."""
    if config.ray_address:
        return None
    if not config.timeout_s:
        return estimated_speed()
    training = config.train_config(variant=config.variants[0], epochs=1, head_epochs=0, warmup_epochs=0)
    return machine_speed(training, classes)


def _prepare(study: Study, config: TuneConfig, space: Space, report_line: ReportLine) -> None:
    with start_lock(study, config.storage):
        for trial in settle_trials(study, tracking.close_run):
            report_line(
                f"trial {trial.number} was running in a process that no longer exists; it is closed, or another trial "
                "continues it"
            )
    for flag, (value, searched) in flags_not_searched(config, space).items():
        report_line(f"{flag}={value} is not tried: the search covers {', '.join(map(str, searched))}")
    goal = studies.trial_goal(config)
    if goal < config.n_trials:
        report_line(f"the space has {goal} points, each is tried once: n_trials={config.n_trials} is too many")
    finished, _, _ = studies.trial_counts(study)
    of_goal = f" of {goal:.0f}" if math.isfinite(goal) else ""
    report_line(f"study {study.study_name}: {finished}{of_goal} trials are finished")
    if config.head_trials > 0 and mode_of(config) == "from scratch":
        report_line(f"head_trials={config.head_trials} is ignored: random weights have no features to compare")


def _plan_line(study: Study, config: TuneConfig, photos: tuple[int, int], speed: MachineSpeed | None) -> str:
    finished, _, _ = studies.trial_counts(study)
    expected = None if finished else expected_parts(config, *photos, speed)
    fitting = expected.trials_in(config, seconds_for_trainings(config)) if expected else None
    line = describe_plan(config, fitting)
    seconds = expected.total(config) if expected else math.nan
    if math.isfinite(seconds):
        line += f"; about {format_duration(seconds)} on this machine if nothing is pruned"
    if config.timeout_s:
        line += f"; at most {_time(config)} for everything"
    elif seconds > LONG_S:
        line += " (timeout_s limits it, a smaller image_size makes the trials shorter)"
    return line


def _run_trials(study: Study, config: TuneConfig, plan: TimePlan, parent: str, report_line: ReportLine) -> None:
    """Run trials until the study has enough or time is up; one that fails or whose process dies is made up for."""

    def missing() -> Iterable[tuple[object, ...]] | None:
        finished, running, _ = studies.trial_counts(study)
        goal = studies.trial_goal(config)
        if finished >= goal or not plan.is_worth_beginning():
            return None
        numbers = range(int(goal) - finished - running) if math.isfinite(goal) else count()
        return (
            (config, parent, plan.trials_end(), number)
            for number in takewhile(lambda number: not number or plan.is_worth_beginning(), numbers)
        )

    def on_ended(ended: trials.EndedTrial) -> None:
        report_line(trial_line(ended, study, config, plan))

    run_missing(trials.run_trial, missing, on_ended, study, config, report_line, plan.trials_end)
    finished, running, _ = studies.trial_counts(study)
    if finished < studies.trial_goal(config):
        tracking.mark_dead_runs()  # a process that did not end in time could not close its run
        where = summary_line(study, config, plan)
        kept = "; running trials are kept" if running else ""
        report_line(f"the time for trials is up: {where}{kept} (run the same command again to continue)")
        tracking.set_tags({tracking.STOPPED: "true"})


def _retrain(
    study: Study, config: TuneConfig, plan: TimePlan, parent: str, report_line: ReportLine
) -> dict[Retraining, Confirmation]:
    """Confirm the best trials and finish a sample of the pruned ones; what was done before is not done again.

    Where a confirmation diverges, the next best trial is confirmed in its place. Where time is short, fewer are
    confirmed, and what has not ended in time is kept.
    """
    confirmed = plan.confirmed()
    if confirmed < config.confirm_top_k:
        report_line(
            f"there is time to confirm only {confirmed} of the best {config.confirm_top_k} (raise timeout_s or lower "
            "epochs)"
        )
        config = config.model_copy(update={"confirm_top_k": confirmed})

    def wanted(lost: Collection[Retraining]) -> list[Retraining]:
        selected = (confirmations.select_confirmations, confirmations.select_audits)
        return [again for select in selected for again in select(config, study, lost)]

    def ended_and_missing() -> tuple[dict[Retraining, Confirmation], list[Retraining]]:
        now = wanted(confirmations.lost_retrainings(config, study))
        ended = confirmations.ended_retrainings(config, study)
        return {again: ended[again] for again in now if again in ended}, [again for again in now if again not in ended]

    def missing() -> list[tuple[object, ...]] | None:
        return [(config, parent, again) for again in ended_and_missing()[1]] or None

    def on_ended(ended: trials.EndedTrial) -> None:
        lost = "diverged; the next best, if there is one, takes its place"
        of = config.objective
        report_line(f"{ended.name}: {f'{of} {getattr(ended.best, of):.4f}' if ended.best else lost}")

    if not wanted(lost=()):
        return {}
    second = studies.open_second_study(config, study)
    run_missing(confirmations.retrain, missing, on_ended, second, config, report_line, lambda: plan.end)
    ended, left = ended_and_missing()
    if left:
        tracking.mark_dead_runs()
        report_line(
            f"time is up: {len(left)} of the confirmations did not finish (run the same command again to continue)"
        )
        tracking.set_tags({tracking.STOPPED: "true"})
    return ended


def _log_winner(
    study: Study, retrained: dict[Retraining, Confirmation], objective: Objective, report_line: ReportLine
) -> Winner:
    """Log and print who won, by how much that is to be trusted, and what pruning has cost."""
    confirmed = confirmations.confirmations_of(retrained)
    audited = [done for wanted, done in retrained.items() if wanted.stage == confirmations.AUDIT]
    winner = confirmations.pick_winner(study, confirmed)
    of = objective.name
    model = tracking.metrics_of(winner.run_id)
    metrics = {
        **{
            name: model[name] for name in ("best_val_accuracy", f"best_{of}") if name in model
        },  # to compare with others
        f"searched_{of}": studies.ranked(study)[0].value or 0.0,
        f"confirmed_{of}": winner.value,
        f"confirmed_{of}_sd": winner.spread,
        "confirmed_seeds": float(winner.seeds),
    }
    if audited:
        metrics["prune_regret"] = confirmations.prune_regret(study, audited)
        report_line(confirmations.describe_audit(study, audited, of))
    tracking.log_metrics(metrics)
    tracking.log_table(confirmations.retraining_table(study, retrained, of), "confirmations.csv")
    tracking.set_tags({"best_trial": str(winner.trial), "model_uri": winner.model_uri})
    report_line(f"winner: trial {winner.trial}, {of} {winner.description}")
    return winner


def _report_baseline(winner: Winner, store: Store, objective: Objective, report_line: ReportLine) -> None:
    """Say so if the winner is no better than one answer for all validation photos."""
    labels = store.labels("validation")
    baseline = score_of_one_answer(objective, labels, len(store.class_names))
    if objective.score(winner.value) <= objective.score(baseline):
        largest = store.class_names[np.bincount(labels).argmax()]
        constant = f"always answering {largest}, the largest class"
        answer = "giving each class its share of the photos" if objective.is_loss else constant
        report_line(
            f"WARNING: no trial is better than {answer}: {objective.name} {baseline:.4f} "
            "(look at the labels, at augmented.jpg of a run, and at the learning rates)"
        )


def _log_expected(
    winner: Winner, confirmed: Sequence[Confirmation], store: Store, objective: Objective, report_line: ReportLine
) -> ExpectedAccuracy | None:
    """Log and print the accuracy to expect on photos that have not picked the winner; None where it is not known."""
    if objective.name != "val_accuracy":
        return None
    runs: dict[int, list[str]] = {}
    for done in confirmed:
        runs.setdefault(done.trial, []).append(done.run_id)
    labels, right = store.labels("validation"), []
    for of_config in runs.values() or [[winner.run_id]]:
        answers = [given for run_id in of_config if (given := tracking.read_val_answers(run_id)) is not None]
        if len(answers) < len(of_config):
            return None  # a training was begun by an earlier version
        right.append([given == labels for given in answers])
    expected = expected_accuracy(right, store.rows("validation")["group"].to_numpy())
    if not expected:
        return None
    tracking.log_metrics(
        {
            "expected_accuracy": expected.value,
            "expected_accuracy_ci_low": expected.low,
            "expected_accuracy_ci_high": expected.high,
        }
    )
    report_line(expected.sentence)
    return expected


def _log_search(study: Study, winner: Winner, objective: Objective) -> dict[str, Figure]:
    table = trial_table(study)
    tracking.log_table(table, "trials.csv")
    figures = draw_study(study, objective)
    for name, figure in figures.items():
        tracking.log_figure(figure, name, with_preview=name == "optuna_history.png")
    copied = tracking.copy_artifacts(winner.run_id, tracking.RUN_PICTURES)
    print(_suspects_line(copied), flush=True)
    states = table["state"].value_counts().to_dict()
    won = (winner.trial, objective.sentence(winner.value), winner.seeds, states, winner.run_id)
    tracking.set_note(search_card(*won, *tracking.open_run()))
    return figures


def _suspects_line(copied: Collection[str]) -> str:
    """Return where the winner's list of doubtful labels is, if its run had one to copy, or why it had none."""
    if not can_find_suspects():
        return missing_extra()
    if SUSPECTS_TABLE in copied:
        return f"doubtful labels, by the winner: {tracking.artifact_place(SUSPECTS_TABLE)}"
    return "no label suspects: the winner is not proven better than always giving the same answer"


def _report_borders(params: Mapping[str, object], space: Space) -> None:
    """Call out what of the winner lies on the border of its range, and say what to try next."""
    borders = params_at_border(space, params)
    for border in borders:
        wider = json.dumps({border.name: border.next.model_dump()})
        print(
            f"{border.name}={border.value:.2g} of the winner is at the edge of its range, {border.range.low:g} to "
            f"{border.range.high:g}; values beyond it may be better:\n  --space='{wider}'",
            flush=True,
        )
    tracking.set_tags({"at_border": ", ".join(border.name for border in borders) or "nothing"})


def _why_unconfirmed(config: TuneConfig, study: Study) -> str:
    lost = confirmations.lost_retrainings(config, study) if config.confirm_top_k else ()
    return confirmations.why_unconfirmed(config, study, lost)


def _log_report(
    study: Study,
    winner: Winner,
    confirmed: list[Confirmation],
    unconfirmed: str,
    objective: Objective,
    store: Store,
    version: Version,
    figures: dict[str, Figure],
    expected: ExpectedAccuracy | None,
) -> str:
    """Log the report and return where to open it."""
    photos = store.rows("validation")
    report = SearchReport(
        title=f"Search for a classifier of {store.source.resolve().name}",
        trials=trial_table(study),
        curves=curve_table(study),
        confirmations=pd.DataFrame(confirmed, columns=Confirmation._fields),
        unconfirmed=unconfirmed,
        winner=winner.trial,
        value=winner.value,
        objective=objective,
        seeds=winner.seeds,
        model_uri=f"models:/{version.name}/{version.number}",
        class_names=store.class_names,
        images=store.images("validation"),
        groups=photos["group"].to_numpy(),
        predictions=tracking.read_val_predictions(winner.run_id),
        expected=expected,
        figures=figures,
        facts={"Photos": f"{len(store.manifest):,}", "Classes": str(len(store.class_names)), **tracking.run_facts()},
    )
    tracking.log_text(interactive_page(report.title, study_figures(study, objective.name)), "search.html")
    return log_report(search_report(report), study.study_name)
