"""The life of a model, by the commands: its photos grow and move, a class comes, and weights are handed on."""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.__main__ import main
from pipeline.models.saved import load_classifier
from pipeline.promotion import decision
from pipeline.tracking import registry

NAME = "flower-classifier"
CHANNELS = {"blue": (0,), "green": (1,), "red": (2,), "violet": (0, 2)}
TRAIN = (
    "--image_size=32", "--batch_size=8", "--precision=float32", "--warmup_epochs=0", "--augment=none",
    "--test_fraction=0.3", "--weights=none",
)  # fmt: skip
GOOD = ("--epochs=8", "--learning_rate=0.01", "--width=0.25")
POOR = ("--epochs=1", "--learning_rate=0.0000001", "--width=0.25")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.usefixtures("small_net")]


def _draw(folder: Path, name: str, numbers: range) -> None:
    """Add photos of a class: noise, brighter in some channels."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        photo = np.random.default_rng([list(CHANNELS).index(name), number]).integers(0, 90, (40, 40, 3), dtype=np.uint8)
        photo[..., CHANNELS[name]] += 100
        assert cv2.imwrite(str(folder / name / f"{number}.png"), photo)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("blue", "green", "red"):
        _draw(folder, name, range(30))
    return folder


@pytest.fixture(autouse=True)
def _no_fresh_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the process of the parity gate, which takes ten seconds and has tests of its own."""
    monkeypatch.setattr(decision, "check_parity", lambda *_: 0.0)


class Life:
    """Runs commands and reads what they left."""

    def __init__(self, client: MlflowClient, capsys: pytest.CaptureFixture[str]) -> None:
        self.client, self._capsys = client, capsys

    def run(self, *words: object, exit_code: int = 0) -> str:
        """Run a command; return what it printed, or its error."""
        self._capsys.readouterr()
        code = main([str(word) for word in words])
        printed = self._capsys.readouterr()
        assert code == exit_code, printed.err[-2000:]
        return printed.err.splitlines()[-1] if exit_code else printed.out

    def train(self, data: Path, *words: object) -> str:
        return self.run("train", f"--data={data}", *TRAIN, *words)

    def evaluate(self, *words: object) -> dict[str, Any]:
        """Evaluate; return what ``promotion.json`` holds."""
        self.run("evaluate", "--corruption_photos=0", *words)
        (run, *_) = self.client.search_runs(["0"], "tags.stage = 'evaluate'", order_by=["start_time DESC"])
        return dict(json.loads(Path(self.client.download_artifacts(run.info.run_id, "promotion.json")).read_text()))

    @property
    def champion(self) -> str:
        return str(self.client.get_registered_model(NAME).aliases["champion"])

    def card(self, version: int) -> str:
        """Return a version's description as people read it, on one line."""
        return unescape(" ".join(self.client.get_model_version(NAME, str(version)).description.split()))


@pytest.fixture
def life(tracking_store: MlflowClient, capsys: pytest.CaptureFixture[str]) -> Life:
    return Life(tracking_store, capsys)


def test_the_life_of_a_model(life: Life, data: Path, tmp_path: Path) -> None:
    life.train(data, *POOR)
    assert life.evaluate("--promotion=always")["promoted"]

    for name in ("blue", "green", "red"):
        _draw(data, name, range(30, 40))  # the first growth
    life.train(data, *GOOD)
    grown = life.evaluate()
    assert grown["promoted"], grown["reason"]
    assert life.champion == "2"
    assert re.search(
        r"new to it and to the champion, version 1; \d+ of them were added after the champion was trained",
        grown["notes"][0],
    )

    again = life.evaluate("--model_uri=models:/flower-classifier/1")  # an older version, on the photos of today
    assert not again["promoted"]
    assert "not better" in again["reason"]
    assert "The photos have changed since it was trained: " in life.card(1)

    for name in ("blue", "green", "red"):
        _draw(data, name, range(40, 46))  # the second one
    life.train(data, *GOOD, "--seed=1")
    equal = life.evaluate()
    assert not equal["promoted"]
    assert "not better" in equal["reason"]

    _draw(data, "violet", range(40))
    life.train(data, *GOOD, "--seed=2")
    cautious = life.evaluate()
    assert not cautious["promoted"]
    assert "not better" in cautious["reason"]
    assert "it also knows violet: " in cautious["notes"][-1]
    accepted = life.evaluate("--accept_class_changes=true")
    assert accepted["promoted"], accepted["reason"]
    assert life.champion == "4"

    old = life.run("evaluate", "--model_uri=models:/flower-classifier/2", "--corruption_photos=0")
    assert "left out: " in old
    assert "test photos of classes that it does not know (violet)" in old
    assert "it does not know violet (accept_class_changes=true allows that)" in old

    moved = Path(shutil.move(data, tmp_path / "elsewhere"))
    for file in sorted(moved.rglob("*.png")):
        file.rename(file.with_name(f"photo_{file.name}"))
    life.train(moved, *POOR, "--seed=3")
    poor = life.evaluate()
    assert not poor["promoted"]
    assert poor["comparison"]["photos"] > 40
    assert life.champion == "4"
    stands = life.run("evaluate", "--model_uri=models:/flower-classifier@champion", f"--data={moved}")
    assert "the photos have changed since it was trained: 0 of its" in stands
    assert "is the champion already" in stands


def _about(version: int) -> dict[str, Any]:
    folder = registry.fetch_model(f"models:/{NAME}/{version}").folder
    return dict(json.loads((folder / "classifier.json").read_text()))


def test_weights_that_have_seen_the_test_photos_are_told(life: Life, tmp_path: Path) -> None:
    """On pure noise, where a model that is right has learned the photos by heart."""
    data, rng = tmp_path / "noise", np.random.default_rng(0)
    for number in range(90):
        (data / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        noise = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (48, 48))
        assert cv2.imwrite(str(data / "ab"[number % 2] / f"{number}.png"), noise)
    life.train(data, "--epochs=3")
    life.evaluate("--promotion=always")
    assert "that were never used to train or select it. " in life.card(1)
    assert "what it started from, has seen" not in life.train(data, "--epochs=3", "--split_seed=1")
    warm = [f"--weights=models:/{NAME}@challenger", "--epochs=1"]
    printed = life.train(data, *warm)
    warning = rf"WARNING: models:/{NAME}/2, or what it started from, has seen (\d+) of the (\d+) test photos: "
    found = re.search(warning + r".*\(split_seed=1, as in its training,", printed)
    assert found
    seen, total = map(int, found.groups())
    assert 0 < seen < total
    assert _about(3)["start"]["lineage"] == [f"models:/{NAME}/2"]
    judged = life.evaluate()
    assert judged["promoted"] is False
    assert judged["comparison"]["photos"] == total - seen
    assert f"never used to train or select it, or models:/{NAME}/2" in life.card(3)
    assert f"Left out: {seen} test photos that the model, or what it started from" in life.card(3)

    copied = Path(shutil.copy(registry.fetch_model(f"models:/{NAME}/3").folder / "model.keras", tmp_path / "my.keras"))
    assert "what it started from, has seen" in life.train(data, f"--weights={copied}", "--epochs=1")
    assert _about(4)["start"]["lineage"] == [f"models:/{NAME}/3", f"models:/{NAME}/2"]

    load_classifier(copied).save(tmp_path / "foreign.keras")  # other bytes: nobody knows it
    printed = life.train(data, f"--weights={tmp_path / 'foreign.keras'}", "--epochs=1")
    assert "WARNING: it is unknown which photos" in printed
    foreign = life.evaluate()
    assert not foreign["promoted"]
    assert "it is unknown which photos that was trained on" in foreign["reason"]
    assert "that were never used to train or select it" not in life.card(5)
    life.train(data, *warm)
    assert _about(6)["start"]["unknown"] == str(tmp_path / "foreign.keras")

    recipe = tmp_path / "mine.yaml"
    recipe.write_text("unseen_test: true\nflags: {epochs: 1}")
    by_recipe = ["train", f"--data={data}", *TRAIN[:-1], f"--recipe={recipe}"]
    refused = life.run(*by_recipe, f"--weights=models:/{NAME}/2", exit_code=2)
    assert "needs weights that have seen no test photo" in refused
    assert "what it started from, has seen" not in life.run(*by_recipe, f"--weights=models:/{NAME}/1")
