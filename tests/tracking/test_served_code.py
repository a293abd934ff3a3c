"""The code that a model carries: complete, under a name of its own, and what answers, whatever else is loaded."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import cv2
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline.serving import About, save_classifier
from pipeline.tracking import served_code
from pipeline.tracking.model import PACKAGES, log_model
from pipeline.tracking.served_code import _needed_modules, copy_served_code

LOAD_ALONE = """
import importlib, json, shutil, sys
sys.modules["pipeline"] = None  # importing it fails
sys.path.insert(0, sys.argv[1])
importlib.import_module(sys.argv[2] + ".serving.served_model")
print(json.dumps(sorted(name for name in sys.modules if name.startswith(sys.argv[2]))))
"""
CONSUMER = """
import json, sys
import mlflow, pipeline

assert pipeline.MINE
first, second = (mlflow.pyfunc.load_model(uri) for uri in sys.argv[2:4])
labels = [model.predict([sys.argv[1]])["label"][0] for model in (first, second, first)]
print(json.dumps([labels, sorted(name for name in sys.modules if name.startswith("pipeline."))]))
"""


def test_the_same_code_has_the_same_name_and_other_code_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = copy_served_code(tmp_path / "one").package.name
    assert copy_served_code(tmp_path / "two").package.name == name
    monkeypatch.setattr(served_code, "PACKAGE", _changed_package(tmp_path / "changed"))
    assert copy_served_code(tmp_path / "three").package.name != name


def test_the_copy_is_complete_and_loads_at_once_all_that_it_has(tmp_path: Path) -> None:
    package = copy_served_code(tmp_path).package
    command = [sys.executable, "-c", LOAD_ALONE, str(tmp_path), package.name]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    files = {path.relative_to(tmp_path).with_suffix("") for path in package.rglob("*.py")}
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert set(json.loads(done.stdout)) == modules


def test_the_copy_has_what_serving_needs_and_nothing_of_training_or_tracking(tmp_path: Path) -> None:
    package = copy_served_code(tmp_path).package
    assert {path.name for path in package.iterdir()} - {"__init__.py"} == {
        "config",
        "data",
        "files",
        "models",
        "serving",
    }


@pytest.mark.slow
def test_two_versions_answer_side_by_side_each_by_its_own_code_beside_a_stranger_s_pipeline(
    tracking_store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _saved_classifier(tmp_path / "classifier")
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.full((40, 40, 3), 200, np.uint8))
    uris = [_logged(folder, photo)]
    monkeypatch.setattr(served_code, "PACKAGE", _changed_package(tmp_path / "changed"))
    uris.append(_logged(folder, photo))
    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (consumer / "pipeline.py").write_text("MINE = True\n")
    (consumer / "consume.py").write_text(CONSUMER)
    command = [sys.executable, "consume.py", str(photo), *uris]
    done = subprocess.run(command, capture_output=True, text=True, cwd=consumer)
    assert done.returncode == 0, done.stderr
    labels, modules_of_ours = json.loads(done.stdout.splitlines()[-1])
    assert labels == ["bright", "bright, says the second version", "bright"]
    assert modules_of_ours == []


def _changed_package(folder: Path) -> Path:
    """Return a copy of the package whose classifier answers otherwise."""
    shutil.copytree(served_code.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "serving" / "classifier.py"
    text = file.read_text()
    changed = text.replace(
        "labels = [self._names[index] if ok", 'labels = [self._names[index] + ", says the second version" if ok'
    )
    assert changed != text
    file.write_text(changed)
    return folder


def _saved_classifier(folder: Path) -> Path:
    """Save a classifier that tells bright photos from dark ones."""
    from pipeline.models.backend import load_backend

    load_backend()
    import keras

    inputs = keras.Input((32, 32, 3), dtype="uint8", name="image")
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs))
    logits = keras.layers.Dense(2, name="logits")(pooled)
    model = keras.Model(inputs, logits)
    model.get_layer("logits").set_weights([np.array([[1, -1]] * 3, np.float32), np.zeros(2, np.float32)])
    save_classifier(folder, model, About(("bright", "dark"), 32, "crop", (), "digest", "photos", {}))
    return folder


def _logged(folder: Path, photo: Path) -> str:
    with mlflow.start_run() as run:
        return log_model(run.info.run_id, folder, ("bright", "dark"), photo.read_bytes())


def test_a_models_requirements_have_all_that_its_code_imports() -> None:
    imported = set()
    for path in _needed_modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).partition(".")[0])
    packages = packages_distributions()
    third_party = {name for name in imported if name in packages} - {"pipeline"}
    assert "pi_heif" in third_party
    for name in third_party:
        assert {package.lower().replace("_", "-") for package in packages[name]} & set(PACKAGES), name
