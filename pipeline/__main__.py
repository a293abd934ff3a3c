"""The command line: ``python -m pipeline COMMAND --flag=value``. Imports the one command that was asked for."""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import pkgutil
import shutil
import sqlite3
import sys
from collections.abc import Sequence

import pipeline.commands
from pipeline.config import Config, UserError, first_line
from pipeline.config.command_line import PROGRAM, completion_script, parse_flags
from pipeline.config.recipes import Recipe

USAGE_ERROR, KILLED = UserError.exit_code, 130
HELP = {"help", "-h", "--help"}
CONTINUE = "interrupted: all progress is saved; run the same command again to continue"
START_OVER = "interrupted: the command did not finish; run again, it starts from the beginning"
WHEN_INTERRUPTED = {
    **dict.fromkeys(("main", "preprocess", "train", "tune", "ablate"), CONTINUE),
    **dict.fromkeys(("serve", "demo"), "stopped"),  # they run until they are
    "predict": "interrupted: the table has only the photos so far; run again, the command starts with the first photo",
    "weights": "interrupted: what was fetched completely is kept; run the same command again for the rest",
    "rollback": "interrupted: see in the MLflow UI which version is champion before you run the command again",
}
ORDER_OF_WORK = (
    "main", "preprocess", "train", "tune", "evaluate", "ablate", "suspects", "predict", "serve", "demo", "export",
    "rollback", "weights", "doctor",
)  # fmt: skip
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
NOWHERE_TO_WRITE = ("usable temporary directory", "writable cache directory")  # Python's and matplotlib's words
DISK_ERRORS_OF_SQLITE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code: 0, 2 after a user's mistake, 3 for a damaged model, 130 if stopped."""
    try:
        return _run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except ImportError as error:
        if "libGL" not in str(error) and "libgthread" not in str(error):
            raise
        print(
            f"error: OpenCV needs a system library that is missing, got {error} "
            "(Debian, Ubuntu: apt-get install libgl1 libglib2.0-0; Fedora: dnf install mesa-libGL)",
            file=sys.stderr,
        )
        return USAGE_ERROR
    except (KeyboardInterrupt, Exception) as error:
        from pipeline.processes import is_interrupt

        if is_interrupt(error):
            print(_what_is_kept(arguments), file=sys.stderr)
            return KILLED
        if not _is_of_the_disk(error):
            raise
        print(
            f"error: the disk must have free space, and be readable and writable, got {first_line(error)} "
            "(free up space or fix permissions, also of /tmp and /dev/shm, and run the same command again)",
            file=sys.stderr,
        )
        return USAGE_ERROR


def _run(arguments: Sequence[str]) -> int:
    names = sorted((module.name for module in pkgutil.iter_modules(pipeline.commands.__path__)), key=_place)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    if not arguments or arguments[0] in HELP:
        print(_usage(names))
        return 0
    if arguments[0] == "--version":
        print(f"{PROGRAM} {pipeline.__version__}")
        return 0
    if arguments[0] == "--completion":
        print(completion_script({name: _config_of(name) for name in names}, arguments[1] if arguments[1:] else ""))
        return 0
    name, *flags = arguments
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(f"the command must be one of {', '.join(names)}, got {name!r}{meant}")
    if sys.platform == "win32":  # which has neither the timers nor the locks that keep what is promised
        raise UserError("the system must be Linux or macOS, got Windows (run the command in WSL 2)")
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's other programs need
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # or MLflow warns three times where there is no git program
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one bar at a time: the training's
    from pipeline.processes import SIGNALS, raise_interrupts

    with raise_interrupts(*SIGNALS):
        command = importlib.import_module(f"pipeline.commands.{name}")
        command.run(parse_flags(command.CONFIG, name, flags, _read_recipe))
    return 0


def _what_is_kept(arguments: Sequence[str]) -> str:
    """Return what is left of an interrupted command, and what the same command does then."""
    name = next(iter(arguments), "")
    never_resumes = name == "train" and {"--resume=never", "never"} & {*arguments}
    return START_OVER if never_resumes else WHEN_INTERRUPTED.get(name, START_OVER)


def _read_recipe(name: str) -> Recipe:
    from pipeline.tracking import read_recipe_or_run

    return read_recipe_or_run(name)


def _place(name: str) -> tuple[int, str]:
    return (ORDER_OF_WORK.index(name) if name in ORDER_OF_WORK else len(ORDER_OF_WORK), name)


def _is_of_the_disk(error: BaseException | None) -> bool:
    """Return whether the system refused to write, or read, as a library may have wrapped it in errors of its own."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what is more particular
        return code in DISK_ERRORS_OF_SQLITE
    if isinstance(error, shutil.Error):  # of many files, each with its reason as text
        return any(os.strerror(number) in str(error) for number in DISK_ERRORS)
    if isinstance(error, OSError):
        return error.errno in DISK_ERRORS or any(words in str(error) for words in NOWHERE_TO_WRITE)
    return error is not None and _is_of_the_disk(error.__cause__)


def _usage(names: Sequence[str]) -> str:
    lines = ["usage: python -m pipeline COMMAND [--flag=value ...]", "", "commands:"]
    for name in names:
        lines.append(f"  {name:<12} {_config_of(name).__doc__}")
    lines += ["", "python -m pipeline COMMAND --help lists a command's flags."]
    return "\n".join([*lines, f"{PROGRAM} --completion SHELL prints the completion script for bash, zsh or tcsh."])


def _config_of(name: str) -> type[Config]:
    config: type[Config] = importlib.import_module(f"pipeline.commands.{name}").CONFIG
    return config


def run_from_shell() -> int:
    """Run the command that the shell was given."""
    from pipeline.processes.streams import secure_streams

    secure_streams()
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run_from_shell())
