"""How far a ResNet comes in `MINUTES` from random weights on many photos of many classes, and its learning curve.

``--data`` names an archive or a folder of class folders, or Tiny ImageNet as Stanford publishes it
(``tiny-imagenet-200.zip``, or its folder). Then Stanford's validation photos are the test photos, because its own test
photos have no labels. What is measured are the real commands, ``train``, limited by its time alone, and ``evaluate``.
They work in the folder that the variable ``PRETRAINED`` names, if it names one: there, ``weights=models:/pretrained/1``
starts from these weights.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
from mlflow import MlflowClient

from benchmarks.measure import COLUMNS

MINUTES, MINUTES_IF_QUICK = 45.0, 0.5
ANNOTATIONS = "val_annotations.txt"
NETWORK = {
    "variant": "resnet18_vd", "image_size": 64, "start_size": 32, "resize": "stretch", "weights": "none", "width": 1.0,
}  # fmt: skip
NETWORK_IF_QUICK = {"variant": "resnet18", "image_size": 32, "width": 0.25}
TRAINING = {"batch_size": 128, "learning_rate": 0.003, "augment": "light", "epochs": 0, "model_name": "pretrained"}
SPLITS = {"val_fraction": 0.05, "test_fraction": 0.05}


def run(data: str, quick: bool) -> pd.DataFrame:
    """Return top-1 and top-5 accuracy of the test photos, and of every epoch the validation accuracy, in percent."""
    flags = NETWORK | (NETWORK_IF_QUICK if quick else {}) | TRAINING | SPLITS
    minutes = MINUTES_IF_QUICK if quick else MINUTES
    flags["timeout_s"] = 60 * minutes
    with _working_folder() as folder:
        flags["data"] = _source(Path(data), folder) if Path(data).exists() else data
        _command(folder, "train", flags)
        _command(folder, "evaluate", {"promotion": "never", "model_uri": "models:/pretrained@challenger"})
        client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        training, test = (_newest_run(client, stage) for stage in ("train", "evaluate"))
        curve = client.get_metric_history(training, "val_accuracy")
        metrics = client.get_run(test).data.metrics
    case = f"{flags['variant']}, {flags['image_size']} px, {minutes:g} minutes"
    rows = [(f"{case}: validation after epoch", f"{point.step}", "%", *[100 * point.value] * 3) for point in curve]
    top1 = [100 * metrics[name] for name in ("test_accuracy", "test_accuracy_ci_low", "test_accuracy_ci_high")]
    rows.append((f"{case}: test", "top-1", "%", *top1))
    if "test_top_5_accuracy" in metrics:
        rows.append((f"{case}: test", "top-5", "%", *[100 * metrics["test_top_5_accuracy"]] * 3))
    table = pd.DataFrame(rows, columns=COLUMNS[:6]).reindex(columns=COLUMNS)
    print(table.to_string(index=False, float_format="{:.3g}".format), flush=True)
    return table


@contextmanager
def _working_folder() -> Iterator[Path]:
    if kept := os.environ.get("PRETRAINED"):
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _source(data: Path, folder: Path) -> Path:
    """Return what ``--data`` shall be: the data itself, or a table of Stanford's photos with their splits."""
    if data.suffix == ".zip":
        with ZipFile(data) as archive:
            if not any(name.endswith(ANNOTATIONS) for name in archive.namelist()):
                return data.resolve()
            archive.extractall(folder / "photos")
        data = folder / "photos"
    annotations = next(data.rglob(ANNOTATIONS), None) if data.is_dir() else None
    if annotations is None:
        return data.resolve()
    photos = annotations.parents[1]
    learned = [(path, path.parents[1].name, "") for path in sorted((photos / "train").glob("*/images/*"))]
    named = pd.read_csv(annotations, sep="\t", header=None, usecols=[0, 1], names=["file", "label"])
    judged = [(annotations.parent / "images" / row.file, row.label, "test") for row in named.itertuples()]
    table = pd.DataFrame([*learned, *judged], columns=["path", "label", "split"])
    table["path"] = [os.path.relpath(path, folder) for path in table["path"]]
    file = folder / "photos.csv"
    table.to_csv(file, index=False)
    return file


def _command(folder: Path, name: str, flags: dict[str, object]) -> None:
    given = [f"--{flag}={value}" for flag, value in flags.items()]
    subprocess.run([sys.executable, "-m", "pipeline", name, *given], cwd=folder, check=True)


def _newest_run(client: MlflowClient, stage: str) -> str:
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(ids, f"tags.stage = '{stage}'", order_by=["attributes.start_time DESC"], max_results=1)
    return str(found[0].info.run_id)
