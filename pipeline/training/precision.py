"""Chooses the number format of a training: ``precision=auto`` takes the fastest, measured on the network itself.

A choice is stored in `MEASUREMENTS_FILE`, so that every such training on a machine takes the same format.
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

MEASUREMENTS_FILE = RUNS_FOLDER / "precision.json"
MIN_STEPS_TO_MEASURE = 200  # for shorter trainings the CPU's features decide: measuring would cost more than it saves
MIN_SPEEDUP = 1.1  # relative to float32; a smaller speedup is not worth the lower precision


def choose_precision(config: TrainConfig, steps: int, on_gpu: bool, images_per_second: Callable[[str], float]) -> str:
    """Resolve ``precision=auto``, and print the choice if it was measured.

    Args:
        config: the training.
        steps: number of steps of the whole training.
        on_gpu: whether training runs on a GPU.
        images_per_second: measures the speed of the training step in a precision.
    """
    if config.precision != "auto":
        return config.precision
    # float16 needs loss scaling, which Keras does on one device only.
    gpu_formats = ("bfloat16", "float16") if config.devices == 1 else ("bfloat16",)
    candidates = gpu_formats if on_gpu else _cpu_formats()
    if not candidates:
        return "float32"
    if steps < MIN_STEPS_TO_MEASURE:
        return "bfloat16" if on_gpu or _guess_bfloat16(config) else "float32"
    setup = f"{architecture_name(config)}, {config.image_size} px, batch {config.batch_size // config.devices}"
    key = f"{setup}, {platform.node()}, tensorflow {version('tensorflow')}"
    MEASUREMENTS_FILE.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(MEASUREMENTS_FILE.with_suffix(".lock")):
        chosen: dict[str, str] = json.loads(MEASUREMENTS_FILE.read_text()) if MEASUREMENTS_FILE.exists() else {}
        if key not in chosen:
            speeds = {name: images_per_second(name) for name in ("float32", *candidates)}
            chosen[key] = _fastest(speeds)
            measured = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
            print(f"precision {chosen[key]} for {setup} (images per second: {measured})", flush=True)
            with atomic_file(MEASUREMENTS_FILE) as draft:
                draft.write_text(json.dumps(chosen, indent=2))
    return chosen[key]


def _fastest(speeds: dict[str, float]) -> str:
    best = max(speeds, key=lambda name: speeds[name])
    return best if speeds[best] >= MIN_SPEEDUP * speeds["float32"] else "float32"


def _guess_bfloat16(config: TrainConfig) -> bool:
    """Measured with ResNet-18: AMX is faster at every size, AVX-512 alone at 128 px (1.3x) but not at 64 px (0.7x)."""
    return "amx_bf16" in cpu_features() or config.image_size >= 96


def _cpu_formats() -> tuple[str, ...]:
    return ("bfloat16",) if {"avx512_bf16", "amx_bf16"} & cpu_features() else ()  # other CPUs emulate it


def cpu_features() -> frozenset[str]:
    """Return the CPU's features as Linux names them; empty on other systems."""
    try:
        return frozenset(Path("/proc/cpuinfo").read_text().split())
    except OSError:  # not Linux: take the safe format
        return frozenset()
