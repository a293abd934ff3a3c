"""Which number format a training computes in: ``precision=auto`` takes the faster one, found out on the very network.

What was measured once is remembered in `MEASURED`, so that every training on a machine takes the same format.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from pipeline.config import RUNS_FOLDER, TrainConfig
from pipeline.files import atomic_file
from pipeline.models.structure import architecture_name

MEASURED = RUNS_FOLDER / "precision.json"
FEWEST_STEPS = 200  # a shorter training goes by the processor: measuring would take longer than it could save
WORTHWHILE = 1.1  # times as fast as float32; less is not worth the coarser numbers


def choose_precision(config: TrainConfig, steps: int, on_gpu: bool, images_per_second: Callable[[str], float]) -> str:
    """Resolve ``precision=auto``, and say what was chosen when it had to be measured.

    Args:
        config: the training.
        steps: of the whole training.
        on_gpu: whether a GPU computes.
        images_per_second: measures the training step in a precision.
    """
    if config.precision != "auto":
        return config.precision
    of_a_gpu = ("bfloat16", "float16") if config.devices == 1 else ("bfloat16",)  # Keras scales the loss on one alone
    others = of_a_gpu if on_gpu else _of_the_cpu()
    if not others:
        return "float32"
    if steps < FEWEST_STEPS:
        return "bfloat16" if on_gpu or _guess_bfloat16(config) else "float32"
    case = f"{architecture_name(config)}, {config.image_size} px, batch {config.batch_size // config.devices}"
    key = f"{case}, {platform.node()}, tensorflow {version('tensorflow')}"
    MEASURED.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(MEASURED.with_suffix(".lock")):
        known: dict[str, str] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
        if key not in known:
            speeds = {name: images_per_second(name) for name in ("float32", *others)}
            known[key] = _fastest(speeds)
            measured = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
            print(f"precision {known[key]} for {case} (images per second: {measured})", flush=True)
            with atomic_file(MEASURED) as draft:
                draft.write_text(json.dumps(known, indent=2))
    return known[key]


def _fastest(speeds: dict[str, float]) -> str:
    best = max(speeds, key=lambda name: speeds[name])
    return best if speeds[best] >= WORTHWHILE * speeds["float32"] else "float32"


def _guess_bfloat16(config: TrainConfig) -> bool:
    """Measured with ResNet-18: AMX wins at every size, AVX-512 alone at 128 px (1.3 times) but not at 64 px (0.7)."""
    return "amx_bf16" in cpu_features() or config.image_size >= 96


def _of_the_cpu() -> tuple[str, ...]:
    return ("bfloat16",) if {"avx512_bf16", "amx_bf16"} & cpu_features() else ()  # elsewhere it is emulated


def cpu_features() -> frozenset[str]:
    """Return what the processor can do, in Linux' words; empty on other systems."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux: take the safe format
        return frozenset()
