"""How the packages are installed, for messages that miss one."""

from __future__ import annotations

import shlex
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def install_command(extra: str = "") -> str:
    """Return the command that installs the packages, or adds those of an extra, whatever the working folder is.

    Where the package is installed without its project, as in a container's image, it says what to install again.
    """
    extra = f"[{extra}]" if extra else ""
    if not (PROJECT / "pyproject.toml").is_file():
        return f"install the project again, in its folder: pip install -c constraints.txt '.{extra}'"
    here = Path.cwd() == PROJECT
    constraints, project = ("constraints.txt", ".") if here else (f"{PROJECT / 'constraints.txt'}", f"{PROJECT}")
    return shlex.join(["pip", "install", "-c", constraints, "-e", f"{project}{extra}"])
