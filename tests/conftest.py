"""What the tests share: drawn photos, copies of the project in which its commands run, and one finished search."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.models.variants import VARIANTS
from tests.forks import Forked, Forks, forks_in
from tests.small_net import small_variant

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.data.store import Store
    from tests.servers import Postgres

ROOT = Path(__file__).parents[1]
FIXTURES = ROOT / "tests" / "fixtures"
COPIED = ("MLproject", "conda.yaml", "requirements.txt", "pipeline")
CLASSES = ("blue", "green", "red")  # in the order of OpenCV's channels
PHOTOS_PER_CLASS = 10
TIMEOUT_S = 500
DEFAULT_EXPERIMENT = "Default"  # of MLflow, with the id 0; without a choice, runs go to one of our own
os.environ["MLFLOW_EXPERIMENT_NAME"] = DEFAULT_EXPERIMENT
SHARED = dict.fromkeys(("test_main_job.py", "test_web_pages.py"), "tuned_project")  # file -> with what it runs
ALONE = ("test_outages.py", "test_stopped_runs.py", "test_benchmarks.py")  # files whose tests share nothing
LONGEST_FIRST = (
    ("tests/system/test_main_job.py", "tests/system/test_web_pages.py"),
    ("tests/system", "tests/test_benchmarks.py", "tests/processes/test_ray_pool.py"),
    ("tests/models", "tests/training", "tests/serving", "tests/commands", "tests/promotion"),
)

SLOW_FIXTURES = {"evaluated_project"}
TINY = ("--image_size=32", "--batch_size=8", "--width=0.01", "--precision=float32")  # trains in a moment

EVERY_VARIANT = [  # the deeper ones are made of the same blocks and take most of the time
    pytest.param(name, marks=() if name.startswith(("resnet18", "resnet50")) else pytest.mark.slow) for name in VARIANTS
]
PIPELINE = (sys.executable, "-m", "pipeline")
RunIn = Callable[..., subprocess.CompletedProcess[str]]
Process = subprocess.Popen[str] | Forked


class Tuned(NamedTuple):
    """A project after one search: where it is, its tracking store, and the runs that the search left."""

    folder: Path
    uri: str
    runs: list[Run]
    printed: str

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs slow fixtures. Begin with what takes longest, so that no process waits long for the last one."""
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)

    def place(item: pytest.Item) -> int:
        return next((place for place, names in enumerate(LONGEST_FIRST) if item.nodeid.startswith(names)), 9)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together in one process what shares fixtures that take long: a file, or files of `SHARED`; not `ALONE`."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if file.endswith(ALONE) else SHARED.get(Path(file).name, file)

    return Scheduler(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_weights_of_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let ``weights=auto`` find nothing but what a test has put somewhere: no caches of this machine, no network."""
    variables = {"HF_HUB_OFFLINE": "1"}
    for name in ("HF_HOME", "HF_HUB_CACHE", "KAGGLEHUB_CACHE"):
        variables[name] = str(tmp_path_factory.mktemp(name.lower()))
    with pytest.MonkeyPatch.context() as patched:
        for name, value in variables.items():
            patched.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of ten photos, noise in one channel brighter than in the others."""
    folder = tmp_path_factory.mktemp("photos") / "colours"
    rng = np.random.default_rng(0)
    for channel, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(PHOTOS_PER_CLASS):
            height, width = rng.integers(40, 81, 2)
            photo = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
            photo[..., channel] += 130
            suffix = ".png" if number % 3 == 0 else ".jpg"
            assert cv2.imwrite(str(folder / name / f"{name}{number}{suffix}"), photo)
    return folder


def images_of(store: Store, split: str) -> np.ndarray:
    """Return the pixels of any split, the test split included, which is not open to commands."""
    return store.held_out_photos().images if split == "test" else store.images(split)


def rows_of(store: Store, split: str) -> pd.DataFrame:
    """Return the manifest's rows of any split, the test split included."""
    return store.held_out_photos().rows if split == "test" else store.rows(split)


@pytest.fixture(scope="session")
def real_photos() -> Path:
    folder = Path(os.environ.get("FLOWER_PHOTOS", ROOT.parent / "shared" / "data" / "flower_photos"))
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder} (set FLOWER_PHOTOS)")
    return folder


@pytest.fixture(scope="session")
def run_in() -> RunIn:
    """Return a function that runs a command in a folder and checks how it ends."""
    return _run_in


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """A process that starts commands as forks of itself; with `SMALL` in their environment they train a small net."""
    with forks_in(tmp_path_factory.mktemp("forks")) as lent:
        yield lent


@pytest.fixture(scope="session")
def fork_in(forks: Forks) -> RunIn:
    """Return a function that runs a command of the project in a folder, like `run_in`, but as a fork."""

    def run(
        folder: Path, *words: object, exit_code: int | None = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        process = forks.start(folder, _environment() | variables, *words)
        done = subprocess.CompletedProcess(list(words), 0, *process.communicate(TIMEOUT_S))
        done.returncode = process.poll()
        return _checked(done, exit_code)

    return run


def start_under(
    program: tuple[str, ...], command: list[str], folder: Path, environment: dict[str, str]
) -> subprocess.Popen[str]:
    """Start a command of the project under another program, such as one that makes a container."""
    return subprocess.Popen(
        [*program, *PIPELINE, *command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def paused(process: Process, database: Path) -> Iterator[None]:
    """Hold a process still, alive, at a moment at which it is not using the database."""

    def is_free() -> bool:
        with contextlib.closing(sqlite3.connect(database, timeout=0)) as opened:
            try:
                opened.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError:
                return False
            return True

    process.send_signal(signal.SIGSTOP)
    while not is_free():
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)
        process.send_signal(signal.SIGSTOP)
    assert process.poll() is None, process.communicate()
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def wait_while_running(condition: Callable[[], object], process: Process, seconds: float = 300) -> None:
    """Wait for the condition, which must come true while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def environment() -> dict[str, str]:
    """The variables of a user's shell: this interpreter first, nothing of this process's tracking."""
    return _environment()


def _run_in(
    folder: Path, *command: object, exit_code: int | None = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=_environment() | variables,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    return _checked(done, exit_code)


def _checked(done: subprocess.CompletedProcess[str], exit_code: int | None) -> subprocess.CompletedProcess[str]:
    if exit_code is not None and done.returncode != exit_code:
        command = " ".join(map(str, done.args))
        print(f"$ {command}\n{done.stdout}\n--- stderr ---\n{done.stderr}")
        pytest.fail(f"exit code must be {exit_code}, got {done.returncode} from {command[:200]}")
    return done


def _environment() -> dict[str, str]:
    dropped = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}  # without compiled files each start takes twice the time
    tracking = ("MLFLOW_", "_MLFLOW_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(tracking) and name not in dropped}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    chosen = {"MLFLOW_EXPERIMENT_NAME": DEFAULT_EXPERIMENT, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return kept | chosen | {"PATH": path}


def _project_copy(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)  # with what Python has compiled of it
        else:
            shutil.copy(ROOT / name, folder / name)
    for name in ("data", "mlruns"):
        (folder / name).mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path, _empty_store: Path) -> Path:
    """A copy of the project in which nothing has been run yet; its tracking database is there, and empty."""
    folder = _project_copy(tmp_path / "project")
    _copy_store(_empty_store, folder)
    return folder


@pytest.fixture(scope="session")
def tune_flags(photo_folder: Path) -> dict[str, object]:
    """Flags of the smallest search that has everything: two trials and a confirmation."""
    return {
        "data": str(photo_folder),
        "n_trials": 2,
        "epochs": 2,
        "image_size": 32,
        "variants": "resnet18",
        "width": 0.25,
        "confirm_top_k": 1,
        "batch_size": 8,
    }


@pytest.fixture(scope="session")
def tuned_project(tmp_path_factory: pytest.TempPathFactory, run_in: RunIn, tune_flags: dict[str, object]) -> Tuned:
    """A project in which one search has run, started as a user starts it."""
    folder = _project_copy(tmp_path_factory.mktemp("tuned") / "project")
    parameters = [word for name, value in tune_flags.items() for word in ("-P", f"{name}={value}")]
    done = run_in(folder, "mlflow", "run", ".", "-e", "tune", "--env-manager", "local", *parameters)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    return Tuned(folder, uri, list(MlflowClient(tracking_uri=uri).search_runs(["0"])), done.stdout)


@pytest.fixture(scope="session")
def evaluated_project(tuned_project: Tuned, run_in: RunIn) -> Tuned:
    """The same project after its challenger has become champion; ``printed`` is by the evaluation."""
    evaluate = ("mlflow", "run", ".", "-e", "evaluate", "--env-manager", "local", "-P", "promotion=better")
    done = run_in(tuned_project.folder, *evaluate)  # five test photos prove nothing beyond chance
    return tuned_project._replace(runs=list(tuned_project.client.search_runs(["0"])), printed=done.stdout)


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs, made once because its migrations take seconds."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


def _copy_store(store: Path, folder: Path) -> Path:
    """Copy a tracking database into the folder, where its runs are to keep their files, too."""
    file = Path(shutil.copy(store, folder / "mlflow.db"))
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE experiments SET artifact_location = ?", (str(folder / "mlruns" / "0"),))
    return file


@pytest.fixture
def tracking_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _empty_store: Path) -> Iterator[MlflowClient]:
    """A tracking store of the test's own in its own working directory; no run stays open after it."""
    file = _copy_store(_empty_store, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{file}")
    yield MlflowClient()
    while mlflow.active_run():
        mlflow.end_run("KILLED")


@pytest.fixture
def small_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``resnet18`` a net of one block in one stage, which goes the same way in a tenth of the time."""
    monkeypatch.setitem(VARIANTS, "resnet18", small_variant())


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server that listens on a socket of the test session's own."""
    from tests.servers import postgres_server

    with postgres_server(tmp_path_factory.mktemp("postgres") / "data") as server:
        yield server
