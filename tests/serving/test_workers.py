"""The processes that hold a model, with one that sleeps, fails and dies at photos that say so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import wait
from pathlib import Path

import mlflow
import pytest

from pipeline.config import DamagedModel
from pipeline.serving.workers import BATCH, ModelWorkers, Refused

CODE = """
import os, time
import mlflow, numpy, pandas
from mlflow.pyfunc import PythonModel

class Odd(PythonModel):
    def predict(self, context, model_input, params=None):
        if not isinstance(model_input, pandas.DataFrame):
            return pandas.DataFrame({"size": [0.0] * len(model_input), "calls": len(model_input)})
        photos = list(model_input["image"])
        for photo in photos:
            word, _, number = bytes(photo).partition(b" ")
            if word == b"sleep":
                time.sleep(float(number))
            if word == b"die":
                os._exit(9)
            if word == b"fail":
                raise RuntimeError("as it was told")
        sizes = [len(photo) if photo else float("nan") for photo in photos]
        return pandas.DataFrame({"size": sizes, "calls": len(photos)})

mlflow.models.set_model(Odd())
"""


class Running:
    def __init__(self, workers: ModelWorkers, batches: list[int]) -> None:
        self.workers, self.batches = workers, batches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.py").write_text(CODE)
    mlflow.pyfunc.save_model(folder / "model", python_model=str(folder / "odd.py"), pip_requirements=["mlflow"])
    return folder / "model"


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    batches: list[int] = []
    workers = ModelWorkers(folder, 1, 4.0, lambda photos, seconds: batches.append(photos))
    workers.start()
    yield Running(workers, batches)
    workers.close()


def test_what_waits_is_one_call_and_each_gets_its_own(running: Running) -> None:
    running.batches.clear()
    first = running.workers.submit_photos([b"sleep 0.5"], {})
    others = [running.workers.submit_photos([b"x" * size] * (1 + size % 3), {}) for size in range(1, 30)]
    assert running.workers.waiting == 29
    assert first.result(20)[0]["calls"] == 1
    for size, other in enumerate(others, 1):
        assert [row["size"] for row in other.result(20)] == [size] * (1 + size % 3)
    assert running.batches == [1, *_filled([1 + size % 3 for size in range(1, 30)])]
    assert running.workers.wait_s() == 0


def _filled(sizes: list[int]) -> list[int]:
    """Return the sizes of batches that take what fits, in order of arrival."""
    batches = []
    while sizes:
        batch, rest = 0, []
        for size in sizes:
            if batch < BATCH and batch + size <= BATCH:
                batch += size
            else:
                rest.append(size)
        batches.append(batch)
        sizes = rest
    return batches


def test_a_large_request_and_other_parameters_are_calls_of_their_own(running: Running) -> None:
    blocking = running.workers.submit_photos([b"sleep 0.5"], {})
    large = running.workers.submit_photos([b"x"] * 200, {})
    few = [running.workers.submit_photos([b"x"], params) for params in ({}, {"a": 1}, {"a": 1.0}, {}, {"a": 1})]
    wait([blocking, large, *few], 20)
    assert large.result()[0]["calls"] == 200
    assert [each.result()[0]["calls"] for each in few] == [2, 2, 1, 2, 2]


def test_what_is_cancelled_while_it_waits_costs_nothing(running: Running) -> None:
    running.batches.clear()
    blocking = running.workers.submit_photos([b"sleep 0.5"], {})
    left = [running.workers.submit_photos([b"x"], {}) for _ in range(5)]
    assert all(each.cancel() for each in left)
    kept = running.workers.submit_photos([b"x"], {})
    assert kept.result(20)
    assert blocking.done()
    assert running.batches == [1, 1]


def test_a_failure_is_told_and_the_process_lives(running: Running) -> None:
    with pytest.raises(Refused, match="as it was told") as failed:
        running.workers.submit_photos([b"fail"], {}).result(20)
    assert failed.value.status == 500
    assert running.workers.submit_photos([b""], {}).result(20) == [{"size": None, "calls": 1}]


@pytest.mark.slow
def test_a_photo_that_ends_the_process_costs_its_own_request_alone(running: Running) -> None:
    blocking = running.workers.submit_photos([b"sleep 0.5"], {})
    good = [running.workers.submit_photos([b"xx"], {}) for _ in range(3)]
    bad = running.workers.submit_photos([b"die"], {})
    good += [running.workers.submit_photos([b"xx"], {}) for _ in range(3)]
    assert [each.result(120)[0]["size"] for each in (blocking, *good)] == [9] + [2] * 6
    with pytest.raises(Refused, match="ended the process"):
        bad.result(120)


@pytest.mark.slow
def test_a_call_that_takes_too_long_ends(running: Running) -> None:
    slow = running.workers.submit_photos([b"sleep 600"], {})
    after = running.workers.submit_photos([b"xx"], {"other": 1})
    with pytest.raises(Refused, match="took too long"):
        slow.result(60)
    assert after.result(120)[0]["size"] == 2


@pytest.mark.slow
def test_two_processes_work_side_by_side(folder: Path) -> None:
    workers = ModelWorkers(folder, 2, 60.0, lambda photos, seconds: None)
    workers.start()
    try:
        start = time.monotonic()
        both = [workers.submit_photos([b"sleep 2"], {}) for _ in range(2)]
        assert [len(each.result(30)) for each in both] == [1, 1]
        assert time.monotonic() - start < 3.5
    finally:
        workers.close()


@pytest.mark.slow
def test_a_model_that_does_not_load_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ZeroDivisionError('in its code')")
    (tmp_path / "MLmodel").write_text(
        "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    model_code_path: broken.py\n"
        "    python_version: 3.11.7\n    streamable: false\n"
    )
    workers = ModelWorkers(tmp_path, 1, 60.0, lambda photos, seconds: None)
    with pytest.raises(DamagedModel, match="a model must load and answer"):
        workers.start()
    workers.close()
