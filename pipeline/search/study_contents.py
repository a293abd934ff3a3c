"""What the trials of a study are of, kept in it: so that a search goes on with its own trials alone.

The default name of a study says all of this (`study.study_name`). Under a name that the user gives, photos, flags or
the space may be others than those of the trials that are there; what cannot be compared is refused before it is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.study import Study

from pipeline.config import TrainConfig, TuneConfig, UserError, values_as_before
from pipeline.search.space_file import space_of
from pipeline.search.study import direction_of, fixed_flags
from pipeline.search.trial_record import CONFIG

CONTENTS = "contents"  # attribute of a study: what its trials are of


def claim(study: Study, config: TuneConfig, data_digest: str, runs: str, report_line: Callable[[str], None]) -> None:
    """Record in a new study what its trials will be of; check that those of a known one are of the same.

    A range may become another one, which is said; all else must be as it was.

    Args:
        study: of the search.
        config: the search.
        data_digest: of the prepared photos.
        runs: identifies the MLflow store that has the trials' runs, without passwords.
        report_line: shows a line to the user.

    Raises:
        UserError: the study is of another search.
    """
    if not config.study_name:
        return
    wanted: dict[str, Any] = {
        "photos": data_digest, "runs": runs, "flags": fixed_flags(config), "space": space_of(config).to_dict(),
    }  # fmt: skip
    if CONTENTS not in study.user_attrs:
        _check_unclaimed(config, study)
        study.set_user_attr(CONTENTS, wanted)
        return
    known = study.user_attrs[CONTENTS]
    _check(config, known, wanted)
    for name, of in wanted["space"].items():
        if of != known["space"][name]:
            report_line(f"the range of {name} is {of} from now on; trials of {known['space'][name]} stay in the study")
    study.set_user_attr(CONTENTS, wanted)


def _check_unclaimed(config: TuneConfig, study: Study) -> None:
    """Check what can be known of a study that says nothing of itself: another program's, or an earlier version's."""
    trials = study.get_trials(deepcopy=False)
    ours = [trial.user_attrs[CONFIG] for trial in trials if CONFIG in trial.user_attrs]
    if trials and not ours:
        raise _other(config, "has trials of another program", "")
    of_earlier = values_as_before(TrainConfig)["objective"]
    for before in {flags.get("objective", of_earlier) for flags in ours} - {config.objective}:
        raise _other(config, f"has trials with objective={before}, now {config.objective}", f"objective={before}")
    if (direction := study.direction.name.lower()) != direction_of(config):
        found, wanted = (name.replace("ize", "ise") for name in (direction, direction_of(config)))
        raise _other(config, f"{found}s its values, where {config.objective} is to be {wanted}d", "")


def _check(config: TuneConfig, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if known["photos"] != wanted["photos"]:
        digests = f"digest {known['photos'][:12]}, now {wanted['photos'][:12]}"
        raise _other(config, f"has other photos or other data flags ({digests})", "")
    was_a_path = known["runs"].startswith("sqlite:") and "://" not in wanted["runs"]  # of a file that may have moved
    if known["runs"] != wanted["runs"] and not was_a_path:
        raise _other(config, f"has its runs in another MLflow store, {known['runs']}", "MLFLOW_TRACKING_URI as before")
    of_earlier = values_as_before(TrainConfig)
    for name in sorted(known["flags"].keys() | wanted["flags"].keys()):
        before, now = (flags["flags"].get(name, of_earlier.get(name, "its default")) for flags in (known, wanted))
        if before != now:
            raise _other(config, f"has trials with {name}={before}, now {now}", f"{name}={before}")
    for name in sorted(known["space"].keys() | wanted["space"].keys()):
        before, now = (of["space"].get(name, "nothing") for of in (known, wanted))
        if before != now and not (isinstance(before, dict) and isinstance(now, dict)):
            raise _other(config, f"searches {name} in {before}, now in {now}", f"{name} as before")


def _other(config: TuneConfig, what: str, remedy: str) -> UserError:
    return UserError(
        f"a study must belong to one search, got study_name={config.study_name}, which {what} "
        f"(use another study_name{remedy and f', or {remedy}'})"
    )
