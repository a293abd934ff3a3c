"""The table and the pictures of a recipe in `results.md`, from its runs in MLflow.

``python docs/_results.py RECIPE``, in the folder in which every seed of the recipe was trained and then evaluated,
prints the rows and writes ``docs/images/results_RECIPE.png`` and ``results_RECIPE_confusion.png``.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipeline import plots
from pipeline.config import TrainConfig
from pipeline.config.command_line import parse_flags
from pipeline.config.text import config_text
from pipeline.plots.style import BLUE, GREEN, NORMAL, VERMILLION, new_figure, percent_ticks, style_axes

IMAGES = ROOT / "docs" / "images"
COLUMNS = {
    "best_val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "test_accuracy_tta": "with mirror images",
    "test_macro_f1": "test macro F1",
}


class Seed(NamedTuple):
    """A training of the recipe and the evaluation of its model."""

    seed: int
    training: Run
    evaluation: Run

    @property
    def minutes(self) -> float:
        """From the start of its run to the end."""
        return (self.training.info.end_time - self.training.info.start_time) / 60_000


def seeds_of(recipe: str) -> list[Seed]:
    """Return the newest evaluated training of every seed, by seed, whether the recipe or its flags were given.

    Where a recipe starts from a model of the registry, every seed may have started from another version.
    """
    client = MlflowClient()
    free = {"recipe", "seed", "model_name", "resume"}
    wanted = config_text(parse_flags(TrainConfig, "train", [f"--recipe={recipe}"])).items()
    fixed = {flag: text for flag, text in wanted if flag not in free and not text.startswith("models:/")}
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found: dict[int, Seed] = {}
    for evaluation in client.search_runs(experiments, "tags.stage = 'evaluate' and attributes.status = 'FINISHED'"):
        tags = evaluation.data.tags
        training = client.get_run(str(client.get_model_version(tags["model_name"], tags["model_version"]).run_id))
        if fixed.items() <= training.data.params.items():  # the newest comes first
            seed = int(training.data.params["seed"])
            found.setdefault(seed, Seed(seed, training, evaluation))
    if not found:
        sys.exit(f"trainings of recipe={recipe} must have been evaluated, got none in {mlflow.get_tracking_uri()}")
    return [found[seed] for seed in sorted(found)]


def rows(seeds: list[Seed]) -> str:
    """Return a table in Markdown: a row per seed and, of several, their mean and standard deviation."""
    table = pd.DataFrame(
        [
            [100 * {**seed.training.data.metrics, **seed.evaluation.data.metrics}[name] for name in COLUMNS]
            + [seed.minutes]
            for seed in seeds
        ],
        index=[str(seed.seed) for seed in seeds],
    )
    lines = ["| seed | " + " | ".join([*COLUMNS.values(), "minutes"]) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for seed, values in table.iterrows():
        texts = [f"{value:.1f} %" for value in values[:-1]]
        lines.append(f"| {seed} | " + " | ".join([*texts, f"{values.iloc[-1]:.0f}"]) + " |")
    if len(table) == 1:
        return "\n".join(lines)
    means = [f"**{mean:.1f} ± {spread:.1f} %**" for mean, spread in zip(table.mean(), table.std(), strict=True)][:-1]
    lines.append("| mean ± standard deviation | " + " | ".join([*means, f"{table.iloc[:, -1].mean():.0f}"]) + " |")
    return "\n".join(lines)


def draw_curves(seeds: list[Seed], recipe: str) -> None:
    """Draw val_accuracy against the minutes of every seed's training."""
    figure = new_figure(9, 4.6, f"{recipe}: val_accuracy against time")
    axes = figure.subplots()
    for seed, colour in zip(seeds, itertools.cycle((BLUE, VERMILLION, GREEN))):
        history = MlflowClient().get_metric_history(seed.training.info.run_id, "val_accuracy")
        minutes = [(point.timestamp - seed.training.info.start_time) / 60_000 for point in history]
        axes.plot(minutes, [point.value for point in history], color=colour, label=f"seed {seed.seed}")
    style_axes(axes, "Minutes since the command was given", "val_accuracy")
    axes.yaxis.set_major_formatter(percent_ticks())
    axes.legend(fontsize=NORMAL, edgecolor="none", loc="lower right")
    figure.savefig(IMAGES / f"results_{recipe}.png")


def draw_confusion(seeds: list[Seed], recipe: str) -> None:
    """Draw the confusion matrix of the test photos, summed over the seeds."""
    tables = [
        mlflow.artifacts.load_dict(f"runs:/{seed.evaluation.info.run_id}/confusion_matrix.json") for seed in seeds
    ]
    frames = [pd.DataFrame(table["data"], table["index"], table["columns"]) for table in tables]
    title = (
        f"{recipe}: test photos, {len(seeds)} seeds together"
        if len(seeds) > 1
        else f"{recipe}: test photos, seed {seeds[0].seed}"
    )
    plots.draw_confusion(sum(frames[1:], frames[0]), title).savefig(IMAGES / f"results_{recipe}_confusion.png")


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    evaluated = seeds_of(name)
    print(rows(evaluated))
    draw_curves(evaluated, name)
    draw_confusion(evaluated, name)
