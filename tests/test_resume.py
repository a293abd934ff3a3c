"""Trainings that are killed for real, at random moments, and end as if nothing had happened, to the last bit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store

ROOT = Path(__file__).parents[1]
KILLS = 30

# Imports once, then forks a process per life, because importing TensorFlow takes longer than training a tiny network.
LIVES = """
import hashlib, json, os, random, signal, sys, time
from pathlib import Path
from types import SimpleNamespace

from pipeline.checkpoint import Checkpoints
from pipeline.config import TrainConfig
from pipeline.data.store import prepared_store
from pipeline.models.variants import VARIANTS
from pipeline.training import fit
import keras_hub

config = TrainConfig.model_validate_json(sys.argv[1])
root, kills, signals, small = Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]), sys.argv[5] == "small"
if small:
    arguments = VARIANTS["resnet18"].backbone_arguments()
    one_block = {name: value[:1] if isinstance(value, list) else value for name, value in arguments.items()}
    one_block["stackwise_num_blocks"] = [1]
    VARIANTS["resnet18"] = SimpleNamespace(imagenet_preset="", backbone_arguments=lambda: one_block)


def live(folder):
    checkpoints = Checkpoints(root / folder, {"photos": "the same"}, at_least_s=0) if folder else None
    result = fit(config, prepared_store(config, root), checkpoints=checkpoints)
    digest = hashlib.sha256(result.history.drop(columns="images_per_second").to_csv().encode())
    for array in [*result.model.get_weights(), result.val_probabilities]:
        digest.update(array.tobytes())
    (root / f"{folder or 'uninterrupted'}.txt").write_text(digest.hexdigest())


def start(folder):
    child = os.fork()
    if child:
        return child
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout = open(os.devnull, "w")
    try:
        live(folder)
    except KeyboardInterrupt:
        os._exit(3)
    os._exit(0)


began = time.monotonic()
assert os.waitpid(start(""), 0)[1] == 0
usual = time.monotonic() - began
random.seed(0)
done, number, died = 0, 0, []
while done < kills:
    number += 1
    while not (root / f"life{number}.txt").exists():
        child = start(f"life{number}")
        end = time.monotonic() + random.uniform(0, 1.3 * usual)
        while time.monotonic() < end and not (found := os.waitpid(child, os.WNOHANG))[0]:
            time.sleep(0.002)
        if not found[0]:
            os.kill(child, getattr(signal, random.choice(signals)))
            found = os.waitpid(child, 0)
            done += 1
        died.append(found[1])
texts = {path.stem: path.read_text() for path in root.glob("*.txt")}
print(json.dumps({"digests": texts, "kills": done, "lives": number, "statuses": died}))
"""


def _lives(config: TrainConfig, root: Path, kills: int, signals: list[str], net: str) -> dict[str, object]:
    prepared_store(config, root)
    arguments = [config.model_dump_json(), str(root), str(kills), json.dumps(signals), net]
    done = subprocess.run(
        [sys.executable, "-c", LIVES, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture
def config(photo_folder: Path) -> TrainConfig:
    """Everything random and everything that remembers is switched on."""
    return TrainConfig(
        data=str(photo_folder), image_size=32, val_fraction=0.3, epochs=3, batch_size=4, augment="strong", mixup=0.2,
        dropout=0.3, ema=0.9, patience=2, label_smoothing=0.1, head_units=8,
    )  # fmt: skip


@pytest.mark.slow
def test_killed_at_random_moments_a_training_ends_the_same(config: TrainConfig, tmp_path: Path) -> None:
    found = _lives(config, tmp_path, KILLS, ["SIGKILL"], "small")
    digests = found["digests"]
    assert isinstance(digests, dict)
    assert found["kills"] >= KILLS
    assert len(digests) >= 2
    assert len(set(digests.values())) == 1, digests


@pytest.mark.slow
def test_interrupted_again_and_again_it_ends_the_same(config: TrainConfig, tmp_path: Path) -> None:
    found = _lives(config, tmp_path, 6, ["SIGINT", "SIGTERM", "SIGKILL"], "small")
    digests = found["digests"]
    assert isinstance(digests, dict)
    assert len(set(digests.values())) == 1, digests


@pytest.mark.slow
@pytest.mark.photos
def test_a_real_training_ends_the_same(real_photos: Path, tmp_path: Path) -> None:
    config = TrainConfig(data=str(real_photos), classes="daisy,roses", epochs=2, dropout=0.2, ema=0.99)
    found = _lives(config, tmp_path, 6, ["SIGKILL"], "real")
    digests = found["digests"]
    assert isinstance(digests, dict)
    assert len(set(digests.values())) == 1, digests
