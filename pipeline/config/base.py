"""The base class of configs, the named choices, and the error that tells a user what to fix."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import BaseModel, BeforeValidator, ConfigDict


class UserError(Exception):
    """A mistake that the user can fix: one line with rule, value received, place and remedy."""

    exit_code: ClassVar[int] = 2


class DamagedModel(UserError):
    """A model whose files have changed since they were recorded, or that does not answer as it should."""

    exit_code = 3


def first_line(error: BaseException) -> str:
    """Return an error's message, its first line but for a `UserError`, without preamble; or its type."""
    if isinstance(error, UserError):
        return str(error)
    told = (line for line in str(error).strip().splitlines() if not line.startswith(SQLALCHEMY_PREAMBLE))
    return without_passwords(next(told, type(error).__name__))[:200]


# SQLAlchemy writes it before the line that says what is wrong.
SQLALCHEMY_PREAMBLE = "(raised as a result of Query-invoked autoflush"

# Between the user and the last @ of an address, or named in its query. ${NAME} is no secret.
_PASSWORD = re.compile(r"(?<=://)([^\s:/@]*):(?!\$\{\w+\}@)\S*@|([?&](?:password|sslpassword)=)[^\s&'\"]*")


def without_passwords(text: str) -> str:
    """Replace the passwords of all URLs in a text by ``***``."""
    return _PASSWORD.sub(lambda found: found[2] + "***" if found[2] else f"{found[1]}:***@", text)


def variables_of(address: str) -> list[str]:
    """Return the names of the environment variables in a URL, written ``${NAME}``."""
    return re.findall(r"\$\{(\w+)\}", address)


def with_variables(address: str) -> str:
    """Replace every ``${NAME}`` in a URL by that variable's value, quoted unless it is the whole URL.

    Raises:
        UserError: one of them is not set.
    """
    names = variables_of(address)
    if missing := [name for name in names if name not in os.environ]:
        raise UserError(
            f"environment variables in an address must be set, got no {missing[0]} (export {missing[0]}=...)"
        )
    if names and address == f"${{{names[0]}}}":
        return os.environ[names[0]]
    return re.sub(r"\$\{(\w+)\}", lambda found: quote(os.environ[found[1]], safe=""), address)


def split_commas(value: Any) -> Any:
    """Turn a comma list, quoted as in CSV, into a tuple; leave anything else as it is.

    A name with a comma in it, or one that begins with a quotation mark, is quoted: ``"salt, fine",sugar``.
    """
    if not isinstance(value, str):
        return value
    rows = csv.reader(io.StringIO(value, newline=""), skipinitialspace=True)
    parts = [part.strip() for row in rows for part in row]
    if value.count('"') % 2 and not any('"' in part for part in parts):
        raise ValueError(f"a comma list must close its quotation marks, got {value!r}")
    return tuple(filter(None, parts))


def join_commas(values: Iterable[object]) -> str:
    """Return the comma list of which `split_commas` makes these values."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(values)  # ends in \r\n, so that names with either are quoted
    return text.getvalue().removesuffix("\r\n")


def empty_is_none(value: Any) -> Any:
    """Turn empty text into None; leave anything else as it is."""
    return None if value == "" else value


EMPTY_IS_NONE = BeforeValidator(empty_is_none)
Names = Annotated[tuple[str, ...], BeforeValidator(split_commas)]  # a comma list as in CSV; empty is the empty list

MAX_PIXELS = 16_384 * 12_288  # of a photo, unless max_pixels says otherwise: those of today's largest phones
FIRST_MAX_PIXELS = 89_478_485  # the default of version 0.1, which still names what was made by it
MOST_PIXELS = 1 << 30  # that max_pixels may allow: OpenCV decodes no more
IMAGE_SIZE_STEP = 32  # a ResNet halves its input five times


def check_image_size(flag: str, size: int) -> int:
    """Return an image size if a ResNet can take it; raise ValueError naming the flag if not."""
    if size < IMAGE_SIZE_STEP or size % IMAGE_SIZE_STEP:
        below = max(IMAGE_SIZE_STEP, size // IMAGE_SIZE_STEP * IMAGE_SIZE_STEP)
        raise ValueError(f"{flag} must be a multiple of 32, got {size} (try {below} or {below + IMAGE_SIZE_STEP})")
    return size


Variant = Literal[
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "resnet18_v2", "resnet34_v2", "resnet50_v2", "resnet101_v2", "resnet152_v2",
    "resnet18_vd", "resnet34_vd", "resnet50_vd", "resnet101_vd", "resnet152_vd",
]  # fmt: skip
Stage = Literal["stem", "stage1", "stage2", "stage3", "stage4"]
Resize = Literal["stretch", "pad", "crop"]
Augment = Literal["none", "light", "medium", "strong"]
OptimizerName = Literal["sgd", "adam", "adamw", "rmsprop", "lion"]
Schedule = Literal["constant", "cosine", "exponential", "step"]


class Config(BaseModel):
    """Base of all configs: frozen, no unknown fields, no infinite numbers, and defaults are validated, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
