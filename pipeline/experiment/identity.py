"""What identifies a training, or a command of many: a digest of the flags that its result depends on."""

from __future__ import annotations

import hashlib
import json

from pipeline.config import Config, identifying_flags, without_passwords

UNIMPORTANT_FLAGS = {"recipe", "resume", "model_name", "workers", "ray_address", "strict"}  # no result depends on them


def training_key(config: Config) -> str:
    """Return what identifies a training or a search: a digest of the flags that its result depends on."""
    flags = identifying_flags(config, exclude=UNIMPORTANT_FLAGS)
    return hashlib.sha256(without_passwords(json.dumps(flags, sort_keys=True)).encode()).hexdigest()[:16]
