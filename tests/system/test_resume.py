"""Trainings that are killed for real, at random moments, and end as if nothing had happened, to the last bit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import TrainConfig
from pipeline.data.store.store import prepared_store

ROOT = Path(__file__).parents[2]
KILLS, KILLS_IN_PHASES = 30, 10

# Imports once, then forks a process per life, because importing TensorFlow takes longer than training a tiny network.
# For every line that comes in, the moments and signals of a sequence of kills, it answers with how the training ended.
LIVES = """
import hashlib, json, os, signal, sys, time
from pathlib import Path

from pipeline.training.checkpoint import Checkpoints
from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store
from pipeline.models.variants import VARIANTS
from pipeline.training import step
from pipeline.training import fit
from tests.small_net import small_variant
import keras_hub

step.WORTH_COMPILING_STEPS = 1  # as in any longer training
config = TrainConfig.model_validate_json(sys.argv[1])
root, small = Path(sys.argv[2]), sys.argv[3] == "small"
if small:
    VARIANTS["resnet18"] = small_variant()


def live(name):
    checkpoints = Checkpoints(root / name, {"photos": "the same"}, min_interval_s=0) if name else None
    result = fit(config, prepared_store(config, root), checkpoints=checkpoints)
    digest = hashlib.sha256(result.history.drop(columns="images_per_second").to_csv().encode())
    for array in [*result.model.get_weights(), result.val_probabilities]:
        digest.update(array.tobytes())
    (root / f"{name or 'uninterrupted'}.txt").write_text(digest.hexdigest())


def start(name):
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout = open(os.devnull, "w")
    try:
        live(name)
    except KeyboardInterrupt:
        os._exit(3)
    os._exit(0)


def killed(child, moment, name):
    end = time.monotonic() + moment * usual
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.002)
    os.kill(child, getattr(signal, name))
    os.waitpid(child, 0)
    return True


began = time.monotonic()
assert os.waitpid(start(""), 0)[1] == 0
usual = time.monotonic() - began
print((root / "uninterrupted.txt").read_text(), flush=True)
for number, line in enumerate(sys.stdin):
    name = f"life{number}"
    kills = sum(killed(start(name), moment, signal_name) for moment, signal_name in json.loads(line))
    while not (root / f"{name}.txt").exists():
        os.waitpid(start(name), 0)
    print(json.dumps([kills, (root / f"{name}.txt").read_text()]), flush=True)
"""

Kills = Sequence[tuple[float, str]]  # each after a share of the time that an uninterrupted training takes, by a signal
Live = Callable[[Kills], tuple[int, str]]


@contextmanager
def _lives(config: TrainConfig, root: Path, net: str) -> Iterator[tuple[str, Live]]:
    """Lend the digest of an uninterrupted training, and a function from kills to their number and another's digest."""
    prepared_store(config, root)
    command = [sys.executable, "-c", LIVES, config.model_dump_json(), str(root), net]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        ask, answers = process.stdin, process.stdout

        def live(kills: Kills) -> tuple[int, str]:
            ask.write(json.dumps(kills) + "\n")
            ask.flush()
            count, digest = json.loads(answers.readline())
            return count, digest

        yield answers.readline().strip(), live
        ask.close()


def _random_kills(rng: random.Random, signals: Sequence[str]) -> Kills:
    return [(rng.uniform(0, 1.3), rng.choice(signals)) for _ in range(rng.randint(1, 8))]


@pytest.fixture(scope="module")
def config(photo_folder: Path) -> TrainConfig:
    """Everything random and everything that remembers is switched on."""
    return TrainConfig(
        weights="none",
        data=str(photo_folder), image_size=32, val_fraction=0.3, epochs=3, batch_size=4, augment="strong", mixup=0.2,
        dropout=0.3, ema=0.9, patience=2, label_smoothing=0.1, head_units=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lives(config: TrainConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Live]]:
    """What `_lives` lends for the config as it is, to all tests that kill such trainings."""
    with _lives(config, tmp_path_factory.mktemp("lives"), "small") as lent:
        yield lent


def _kill_at_random_moments(lives: tuple[str, Live], least: int) -> None:
    """Kill trainings until so many kills have hit one; each must end as the uninterrupted training did."""
    (uninterrupted, live), rng, killed = lives, random.Random(0), 0
    while killed < least:
        kills = _random_kills(rng, ["SIGKILL"])
        count, digest = live(kills)
        assert digest == uninterrupted, kills
        killed += count


@pytest.mark.slow
def test_killed_at_random_moments_a_training_ends_the_same(lives: tuple[str, Live]) -> None:
    _kill_at_random_moments(lives, KILLS)


@pytest.mark.slow
def test_killed_at_random_moments_a_training_in_phases_ends_the_same(config: TrainConfig, tmp_path: Path) -> None:
    changes = {"head_epochs": 1, "mixup": 0.0, "epochs": 4, "start_size": 32, "image_size": 64}
    with _lives(TrainConfig(**config.model_dump() | changes), tmp_path, "small") as lives:
        _kill_at_random_moments(lives, KILLS_IN_PHASES)


@pytest.mark.slow
def test_interrupted_again_and_again_it_ends_the_same(lives: tuple[str, Live]) -> None:
    (uninterrupted, live), rng = lives, random.Random(0)
    for _ in range(3):
        kills = _random_kills(rng, ["SIGINT", "SIGTERM", "SIGKILL"])
        assert live(kills)[1] == uninterrupted, kills


@pytest.mark.slow
def test_any_sequence_of_kills_gives_the_same_end(lives: tuple[str, Live]) -> None:
    uninterrupted, live = lives
    moments = st.tuples(st.floats(0, 1.2), st.sampled_from(["SIGKILL", "SIGTERM"]))

    @given(st.lists(moments, max_size=4))
    @settings(max_examples=8, deadline=None, database=None)
    def check(kills: Kills) -> None:
        assert live(kills)[1] == uninterrupted

    check()


@pytest.mark.slow
@pytest.mark.photos
def test_a_real_training_ends_the_same(real_photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        weights="none", data=str(real_photos), classes="daisy,roses", epochs=2, dropout=0.2, ema=0.99, width=0.25
    )
    with _lives(config, tmp_path, "real") as lives:
        _kill_at_random_moments(lives, 6)
