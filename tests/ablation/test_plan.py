"""What factors mean, which trainings an ablation has, and that its command survives whatever stops it."""

from __future__ import annotations

import contextlib
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline import tracking
from pipeline.ablation.plan import plan_trainings, settings_of, settings_that_change_nothing, trainings_from_auto
from pipeline.commands import ablate
from pipeline.config import AblateConfig, UserError
from pipeline.data.store.store import Store
from pipeline.experiment import unusual_structure
from pipeline.processes.pool import Outcome
from tests.conftest import TINY, RunIn, wait_while_running
from tests.forks import Forks
from tests.small_net import SMALL

FACTORS = "skip_connections=false;image_ops=grey+opening:3;learning_rate=1e30"


# ---- the plan


def _names(**flags: object) -> list[str]:
    return [f"{cell.name} {cell.training.seed}" for cell in plan_trainings(AblateConfig(**flags))]


def test_each_seed_has_the_base_and_every_setting() -> None:
    names = _names(factors="augment=none,light;mixup=0.2", seeds=2, seed=5)
    wanted = ["base", "augment=none", "augment=light", "mixup=0.2"]
    assert names == [f"{name} {seed}" for seed in (5, 6) for name in wanted]


def test_a_grid_has_every_combination() -> None:
    names = _names(factors="augment=none,light;mixup=0.2", seeds=1, design="grid")
    assert set(names) == {
        *("base 0", "augment=none 0", "augment=light 0", "mixup=0.2 0"),
        *("augment=none mixup=0.2 0", "augment=light mixup=0.2 0"),
    }
    *_, cell = plan_trainings(AblateConfig(factors="augment=none;mixup=0.2", seeds=1, design="grid"))
    assert (cell.training.augment, cell.training.mixup) == ("none", 0.2)


def test_a_setting_changes_its_flags_and_nothing_else() -> None:
    factors = "optimizer=sgd&learning_rate=0.1&weight_decay=5e-4;image_ops=grey+opening:5,,clahe:3;depth=34;block=v2"
    config = AblateConfig(factors=factors, seeds=1, variant="resnet18_vd", image_ops=("grey",), epochs=7)
    base, *others = plan_trainings(config)
    assert base.training == config.train_config()
    changes = [
        {name: value for name, value in cell.training if value != getattr(base.training, name)} for cell in others
    ]
    assert changes == [
        {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 5e-4},
        {"image_ops": ("grey", "opening:5")},
        {"image_ops": ()},
        {"image_ops": ("clahe:3",)},
        {"variant": "resnet34_vd"},
        {"variant": "resnet18_v2"},
    ]
    assert others[0].settings[0].label == "sgd (learning_rate=0.1, weight_decay=5e-4)"
    assert others[2].settings[0].label == "none"


def test_depth_and_block_combine() -> None:
    cells = plan_trainings(AblateConfig(factors="depth=34,50;block=v2", seeds=1, design="grid"))
    variants = {cell.training.variant for cell in cells}
    assert variants == {f"resnet{depth}{block}" for depth, block in itertools.product((18, 34, 50), ("", "_v2"))}


def test_what_equals_the_base_is_left_out() -> None:
    assert _names(factors="augment=none,medium", seeds=1) == ["base 0", "augment=none 0"]
    (left_out,) = settings_that_change_nothing(AblateConfig(factors="augment=none,medium"))
    assert str(left_out) == "augment=medium"


def test_the_default_factors_are_the_promised_ones() -> None:
    cells = plan_trainings(AblateConfig())
    factors = {setting.factor for cell in cells for setting in cell.settings}
    assert factors >= {"depth", "block", "skip_connections", "stem", "width", "augment", "mixup", "cutmix"}
    assert factors >= {
        "label_smoothing",
        "ema",
        "image_ops",
        "image_size",
        "start_size",
        "optimizer",
        "lr_schedule",
        "head_units",
    }
    assert {cell.training.seed for cell in cells} == {0, 1, 2}
    assert {cell.training.weights for cell in cells} == {"auto"}
    assert {unusual_structure(training) for training in trainings_from_auto(AblateConfig())} > {
        ""
    }  # nothing is fetched
    assert len(settings_of(AblateConfig().factors)) * 3 + 3 == len(cells)


@pytest.mark.parametrize(
    ("factors", "named"),
    [
        ("augmented=none", ["'augmented'", "augmented=none"]),
        ("augment=none;seed=3", ["'seed'"]),
        ("model_name=x", ["'model_name'"]),
        ("augment", ["augment", "''"]),
        ("augment=huge", ["augment=huge", "'huge'", "'none', 'light'"]),
        ("depth=19", ["depth=19", "resnet19"]),
        ("epochs=3&warmup_epochs=4", ["epochs=3&warmup_epochs=4", "below epochs"]),
        ("augment=medium", ["must change something"]),
        ("variant=resnet18_vd;block=vd", ["must differ", "variant=resnet18_vd", "block=vd"]),
        (";", ["must change something"]),
    ],
)
def test_factors_that_mean_nothing_are_the_users_mistake(factors: str, named: list[str]) -> None:
    with pytest.raises(UserError, match="factors") as error:
        plan_trainings(AblateConfig(factors=factors))
    assert len(str(error.value).splitlines()) == 1
    assert [words for words in named if words not in str(error.value)] == []


# ---- the command


@pytest.fixture
def flags(photo_folder: Path) -> list[str]:
    brief = [*TINY, "--epochs=1", "--warmup_epochs=0", "--seeds=1"]
    return [f"--data={photo_folder}", *brief, f"--factors={FACTORS}"]


def _runs(project: Path) -> tuple[Run, dict[tuple[str, str], Run]]:
    """Return the ablation and its trainings by settings and seed."""
    runs = MlflowClient(f"sqlite:///{project / 'mlflow.db'}").search_runs(["0"])
    ablations = [run for run in runs if run.data.tags["stage"] == "ablate"]
    (parent,) = [run for run in ablations if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in ablations if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) + 1 == len(ablations)
    return parent, {(run.data.tags["settings"], run.data.tags["seed"]): run for run in children}


def _finished(project: Path) -> int:
    """Count the finished trainings without MLflow, which would create the tables while the command does."""
    database = project / "mlflow.db"
    if not database.exists():
        return 0
    query = "SELECT COUNT(*) FROM runs JOIN tags USING (run_uuid) WHERE status = 'FINISHED' AND key = 'settings'"
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(database)) as opened:
        return int(opened.execute(query).fetchone()[0])
    return 0  # there are no tables yet, or the command is writing


def _artifact(project: Path, run: Run, name: str) -> Path:
    client = MlflowClient(f"sqlite:///{project / 'mlflow.db'}")
    return Path(client.download_artifacts(run.info.run_id, name, str(project)))


@pytest.mark.slow
def test_an_ablation_that_is_killed_goes_on(
    project: Path, environment: dict[str, str], forks: Forks, fork_in: RunIn, flags: list[str]
) -> None:
    killed = forks.start(project, environment | SMALL, "ablate", *flags)
    wait_while_running(lambda: _finished(project) >= 1, killed)
    killed.kill()
    killed.communicate(timeout=60)
    before = _finished(project)
    done = fork_in(project, "ablate", *flags, **SMALL)
    said = re.search(r"(\d) of 4 trainings are finished", done.stdout)
    assert said
    assert 1 <= before <= int(said[1]) < 4
    parent, children = _runs(project)
    assert parent.info.status == "FINISHED"
    settings = ("base", *FACTORS.split(";"))
    assert children.keys() == {(name, "0") for name in settings}
    diverged = [run for (name, _), run in children.items() if name.startswith("learning_rate")]
    assert {run.info.status for run in diverged} == {"FAILED"}
    assert {run.info.status for run in children.values() if run not in diverged} == {"FINISHED"}

    table = pd.read_csv(_artifact(project, parent, "ablation.csv")).set_index("factor")
    accuracies = {place: run.data.metrics.get("best_val_accuracy") for place, run in children.items()}
    for factor, name in [("skip_connections", "skip_connections=false"), ("image_ops", "image_ops=grey+opening:3")]:
        difference = accuracies[name, "0"] - accuracies["base", "0"]
        assert table.loc[factor, "difference"] == pytest.approx(difference)
        assert table.loc[factor, "seeds"] == 1
    assert table.loc["learning_rate", "diverged"] == 1
    page = _artifact(project, parent, "ablation.md").read_text()
    assert all(line.removeprefix("- ") in done.stdout for line in page.splitlines() if line.startswith("- "))
    assert "learning_rate=1e30 diverged with every seed." in page
    assert "The base is right on" in _artifact(project, parent, "report.html").read_text()
    assert _artifact(project, parent, "ablation.png").stat().st_size > 10_000


def test_an_ablation_never_reads_the_test_split(
    tracking_store: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    photo_folder: Path,
    small_net: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where its pixels cannot be had at all, nothing is missing."""

    def images(store: Store, split: str) -> np.ndarray:
        assert split != "test"
        return readable(store, split)

    def run_here(
        task: Callable[..., object], jobs: Iterable[tuple[object, ...]], *_: object, **__: object
    ) -> Iterator[Outcome]:
        return (Outcome(task(*job)) for job in jobs)

    readable = Store.images
    monkeypatch.setattr(Store, "images", images)
    monkeypatch.setattr("pipeline.ablation.ablate.run_tasks", run_here)
    monkeypatch.setattr("pipeline.ablation.ablate.preload", lambda *_: None)
    flags = {
        "data": str(photo_folder),
        "image_size": 32,
        "epochs": 1,
        "warmup_epochs": 0,
        "batch_size": 8,
        "precision": "float32",
    }
    config = AblateConfig(**flags, factors="augment=none;learning_rate=1e30", seeds=1, design="grid")
    ablate.run(config)
    printed = capsys.readouterr().out
    assert "[4/4]" in printed
    assert "augment=none cannot be judged with one seed" in printed
    (parent,) = [run for run in tracking_store.search_runs(["0"]) if "mlflow.parentRunId" not in run.data.tags]
    table = pd.read_csv(tracking_store.download_artifacts(parent.info.run_id, "ablation.csv")).set_index("factor")
    assert table["seeds"].to_dict() == {"augment": 1, "learning_rate": 0}
    assert table["diverged"].to_dict() == {"augment": 0, "learning_rate": 1}


def test_what_an_ablation_has_measured_is_found_again(tracking_store: MlflowClient) -> None:
    """Below a parent that failed or was stopped; what a finished ablation has stays with it."""
    config = AblateConfig()

    def measure(parent: str) -> str:
        with tracking.run("ablate", "child", config, {"ablation": "key"}, parent, training=f"of {parent}") as run_id:
            tracking.log_metrics({"best_val_accuracy": 0.5})
        return run_id

    def fail_after_measuring() -> str:
        measured = []
        with contextlib.suppress(ValueError), tracking.run("ablate", "failed", config) as parent:
            measured.append(measure(parent))
            raise ValueError("disk")
        return measured[0]

    with tracking.run("ablate", "finished", config) as finished:
        measure(finished)
    kept = fail_after_measuring()
    failed = tracking_store.get_run(kept).data.tags["mlflow.parentRunId"]
    with tracking.run("ablate", "again", config) as again:
        found = tracking.adopt_children("ablation", "key", again)
        assert tracking.adopt_children("ablation", "other", again) == {}
    assert {name: child.run_id for name, child in found.items()} == {f"of {failed}": kept}
    assert found[f"of {failed}"].metrics["best_val_accuracy"] == 0.5
    assert tracking_store.get_run(kept).data.tags["mlflow.parentRunId"] == again


def test_a_head_alone_and_random_weights_have_no_epochs_of_the_head_unless_these_are_named() -> None:
    base = {"weights": "imagenet", "image_size": 64, "epochs": 8, "head_epochs": 2, "seeds": 1}
    factors = "freeze_backbone=true,true&learning_rate=0.01;weights=none;augment=none"
    cells = plan_trainings(AblateConfig(**base, factors=factors))
    assert [cell.training.head_epochs for cell in cells] == [2, 0, 0, 0, 2]
    with pytest.raises(UserError, match="head_epochs=3"):
        plan_trainings(AblateConfig(**base, factors="freeze_backbone=true&head_epochs=3"))
