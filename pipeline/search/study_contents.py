"""What the trials of a study are of, kept in it: so that a search goes on with its own trials alone.

The default name of a study says all of this (`study.study_name`). Under a name that the user gives, photos, flags or
the space may be others than those of the trials that are there; what cannot be compared is refused before it is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from optuna.study import Study, StudyDirection

from pipeline.config import TuneConfig, UserError
from pipeline.search.space_file import space_of
from pipeline.search.study import fixed_flags
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
    if study.direction != StudyDirection.MAXIMIZE:
        raise _other(config, "minimises its values, where val_accuracy is to be maximised", "")
    if not config.study_name:
        return
    wanted: dict[str, Any] = {
        "photos": data_digest, "runs": runs, "flags": fixed_flags(config), "space": space_of(config).to_dict(),
    }  # fmt: skip
    if CONTENTS not in study.user_attrs:
        trials = study.get_trials(deepcopy=False)
        if trials and not any(CONFIG in trial.user_attrs for trial in trials):
            raise _other(config, "has trials of another program", "")
        study.set_user_attr(CONTENTS, wanted)
        return
    known = study.user_attrs[CONTENTS]
    _check(config, known, wanted)
    for name, of in wanted["space"].items():
        if of != known["space"][name]:
            report_line(f"the range of {name} is {of} from now on; trials of {known['space'][name]} stay in the study")
    study.set_user_attr(CONTENTS, wanted)


def _check(config: TuneConfig, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if known["photos"] != wanted["photos"]:
        digests = f"digest {known['photos'][:12]}, now {wanted['photos'][:12]}"
        raise _other(config, f"is of other photos, or of other data flags ({digests})", "")
    was_a_path = known["runs"].startswith("sqlite:") and "://" not in wanted["runs"]  # of a file that may have moved
    if known["runs"] != wanted["runs"] and not was_a_path:
        raise _other(config, f"has its runs in another MLflow store, {known['runs']}", "MLFLOW_TRACKING_URI as before")
    for name in sorted(known["flags"].keys() | wanted["flags"].keys()):
        before, now = (flags["flags"].get(name, "its default") for flags in (known, wanted))
        if before != now:
            raise _other(config, f"is of trials with {name}={before}, now {now}", f"{name}={before}")
    for name in sorted(known["space"].keys() | wanted["space"].keys()):
        before, now = (of["space"].get(name, "nothing") for of in (known, wanted))
        if before != now and not (isinstance(before, dict) and isinstance(now, dict)):
            raise _other(config, f"searches {name} in {before}, now in {now}", f"{name} as before")


def _other(config: TuneConfig, what: str, remedy: str) -> UserError:
    return UserError(
        f"a study must be of one search, got study_name={config.study_name}, which {what} "
        f"(take another study_name{remedy and f', or {remedy}'})"
    )
