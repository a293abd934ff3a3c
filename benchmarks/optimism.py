"""How lucky the winner of a search is, and whether what the search says to expect holds on other photos.

Simulated: photos that are easier or harder, epochs and trainings that agree on them more or less, so that what the
picked epoch is truly worth is known. And searched: small searches on a part of the photos of ``--data``, each with a
split of its own, whose winners are judged by twice as many photos that no training has seen.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from scipy.special import ndtri
from tqdm import tqdm

from benchmarks.measure import COLUMNS
from pipeline.evaluation import expected_accuracy

CASES = (  # validation photos, epochs, configs, seeds, how much epochs of all trainings agree, spread of the configs
    (100, 20, 2, 1, 0.5, 0.01), (350, 40, 2, 1, 0.5, 0.01), (350, 40, 2, 1, 0.9, 0.01), (350, 40, 2, 3, 0.9, 0.0),
    (60, 16, 12, 1, 0.9, 0.01), (1000, 40, 2, 1, 0.9, 0.01),
)  # fmt: skip
SIMULATED, SIMULATED_IF_QUICK = 200, 10
SEARCHES, SEARCHES_IF_QUICK = 30, 1
SEARCH = {
    "weights": "none", "image_size": 32, "width": 0.25, "n_trials": 4, "epochs": 8, "batch_size": 32,
    "val_fraction": 0.1, "test_fraction": 0.6, "augment": "light",
}  # fmt: skip


def run(data: str, quick: bool) -> pd.DataFrame:
    """Return the luck, what was estimated of it, and the share of intervals that hold, in percent."""
    rng = np.random.default_rng(0)
    rows = [row for case in CASES for row in _simulated(rng, case, SIMULATED_IF_QUICK if quick else SIMULATED)]
    rows += _searched(data, SEARCHES_IF_QUICK if quick else SEARCHES)
    table = pd.DataFrame(rows, columns=COLUMNS)
    print(table.to_string(index=False, float_format="{:.3g}".format), flush=True)
    return table


def _simulated(
    rng: np.random.Generator, case: tuple[int, int, int, int, float, float], count: int
) -> list[dict[str, object]]:
    photos, epochs, configs, seeds, agreement, spread = case
    found = []
    for _ in range(count):
        difficulty = rng.normal(size=photos)
        right, truth = [], []
        for _ in range(configs):
            level = 0.78 + spread * rng.normal()
            curves = level - 0.25 * np.exp(-5 * np.arange(epochs) / epochs) + 0.005 * rng.normal(size=(seeds, epochs))
            noise = 0.6**0.5 * rng.normal(size=(seeds, 1, photos)) + 0.4**0.5 * rng.normal(size=(seeds, epochs, photos))
            latent = agreement**0.5 * difficulty + (1 - agreement) ** 0.5 * noise
            right.append(list(latent < ndtri(curves)[..., None]))
            truth.append(curves)
        expected = expected_accuracy(right, np.arange(photos))
        assert expected is not None
        best = [[each.mean(axis=1).max() for each in trainings] for trainings in right]
        config = int(np.argmax(np.mean(best, axis=1)))
        training = int(np.argmax(best[config]))
        found.append((*expected, truth[config][training][right[config][training].mean(axis=1).argmax()]))
    name = f"{photos} photos, {configs} configs, {seeds} seeds, {epochs} epochs, agreement {agreement}"
    return _rows(f"simulated: {name}", pd.DataFrame(found, columns=["value", "low", "high", "picked", "truth"]))


def _searched(data: str, count: int) -> list[dict[str, object]]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in tqdm(range(count), unit="search"):
            found.append(_search(Path(folder), data, seed))
            tqdm.write(", ".join(f"{name} {value:.3f}" for name, value in found[-1].items()))
    return _rows(f"{count} searches", pd.DataFrame(found))


def _search(folder: Path, data: str, seed: int) -> dict[str, float]:
    """Search, test the winner, and return what was expected of it and what came."""
    source = str(Path(data).resolve()) if Path(data).exists() else data
    flags = [f"--{name}={value}" for name, value in (SEARCH | {"data": source, "split_seed": seed}).items()]
    for command in (["tune", *flags], ["evaluate", "--promotion=never"]):
        subprocess.run([sys.executable, "-m", "pipeline", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    search, test = (
        client.search_runs(ids, f"tags.stage = '{stage}'", order_by=["attributes.start_time DESC"])[0].data.metrics
        for stage in ("tune", "evaluate")
    )
    found = {"value": "expected_accuracy", "low": "expected_accuracy_ci_low", "high": "expected_accuracy_ci_high"}
    values = {name: search[metric] for name, metric in found.items()}
    return values | {"picked": search["confirmed_val_accuracy"], "truth": test["test_accuracy"]}


def _rows(case: str, found: pd.DataFrame) -> list[dict[str, object]]:
    """Return the luck, its estimate, and the share of the intervals that hold, with and without the correction."""
    holds = (found["low"] <= found["truth"]) & (found["truth"] <= found["high"])
    shift = found["picked"] - found["value"]
    naive = (found["low"] + shift <= found["truth"]) & (found["truth"] <= found["high"] + shift)
    return [
        {"case": f"{case}: {what}", "contender": who, "unit": unit, "median": middle, "low": low, "high": high}
        for what, who, unit, (middle, low, high) in (
            ("luck", "true", "points", _quartiles(100 * (found["picked"] - found["truth"]))),
            ("luck", "estimated", "points", _quartiles(100 * shift)),
            ("intervals that hold", "moved by the luck", "%", (100 * holds.mean(),) * 3),
            ("intervals that hold", "as it was picked", "%", (100 * naive.mean(),) * 3),
        )
    ]


def _quartiles(values: pd.Series[float]) -> tuple[float, float, float]:
    """Return the mean, the lower and the upper quartile."""
    return float(values.mean()), float(values.quantile(0.25)), float(values.quantile(0.75))
