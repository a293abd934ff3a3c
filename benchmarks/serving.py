"""What serving costs beyond the network: one photo and batches, against the network's own forward pass.

``ours`` is ``mlflow.pyfunc.load_model(...).predict`` on encoded photos. Its opponents get the same bytes:

- ``decode + forward pass``: decoding and the network as one compiled graph, and nothing else: the least there is.
- ``decode + model.predict``: what Keras' documentation does.
- ``ours over HTTP``: ``python -m pipeline serve`` in a process of its own, with base64 and JSON on the way.

The network is a ResNet-18 from random weights; photos are the data set's own files.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import requests

from benchmarks.measure import compared, in_turns
from pipeline import tracking
from pipeline.config import TrainConfig
from pipeline.data.pixels import decode, prepare
from pipeline.data.store import prepared_store
from pipeline.models.backend import load_backend
from pipeline.models.builder import build_classifier
from pipeline.models.predict import compiled_forward
from pipeline.serving import About, Classifier, save_classifier
from pipeline.tracking import registry

SIZES, BATCH, PHOTOS = (64, 224), 64, 256
ROUNDS, CALLS = 5, 60

Answer = Callable[[Sequence[bytes]], object]


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every size; ``quick`` the smallest with few calls."""
    tables = []
    for size in SIZES[: 1 if quick else None]:
        network, about, photos = untrained_network(data, size, PHOTOS)
        with _served(network, about) as (ours, over_http, classifier):
            contenders = {"ours": ours, **_opponents(classifier), "ours over HTTP": over_http}
            tables += _cases(f"{about.config['variant']}, {size} px", contenders, photos, quick)
    return pd.concat(tables, ignore_index=True)


def untrained_network(data: str, size: int, count: int) -> tuple[object, About, list[bytes]]:
    """Return a network from random weights for a data set, what describes it, and photos of the data set."""
    load_backend()
    import keras

    config = TrainConfig(weights="none", data=data, image_size=size)
    store = prepared_store(config)
    photos = [(store.source / path).read_bytes() for path in store.rows("train")["path"][:count]]
    keras.utils.set_random_seed(0)
    network = build_classifier(config, len(store.class_names))
    about = About(
        store.class_names, size, config.resize, (), store.digest, str(store.source), config.model_dump(mode="json")
    )
    return network, about, photos


def _cases(what: str, contenders: dict[str, Answer], photos: list[bytes], quick: bool) -> list[pd.DataFrame]:
    calls, rounds = (40, 2) if quick else (CALLS, ROUNDS)
    batches = [photos[start : start + BATCH] for start in range(0, 2 * BATCH, BATCH)]
    slowest: dict[str, list[float]] = {name: [] for name in contenders}

    def median(name: str, answer: Answer) -> float:
        times = [1e3 * _seconds(answer, [photos[number % len(photos)]]) for number in range(calls)]
        slowest[name].append(float(np.quantile(times, 0.99)))
        return float(np.median(times))

    def rate(_: str, answer: Answer) -> float:
        return BATCH / float(np.mean([_seconds(answer, batch) for batch in batches]))

    def bound(measure: Callable[[str, Answer], float]) -> dict[str, Callable[[], float]]:
        return {name: partial(measure, name, answer) for name, answer in contenders.items()}

    middle = in_turns(f"{what}, one photo, median", "milliseconds", bound(median), rounds)
    counted = {name: values[1:] for name, values in slowest.items()}  # `in_turns` leaves its first round out, too
    tail = compared(f"{what}, one photo, 99th percentile", "milliseconds", counted)
    return [middle, tail, in_turns(f"{what}, batches of {BATCH}", "photos per second", bound(rate), rounds)]


def _seconds(answer: Answer, photos: Sequence[bytes]) -> float:
    start = time.perf_counter()
    answer(photos)
    return time.perf_counter() - start


def _opponents(classifier: Classifier) -> dict[str, Answer]:
    about, forward = classifier.about, compiled_forward(classifier.model)

    def pixels(photos: Sequence[bytes]) -> np.ndarray:
        return np.stack([prepare(decode(photo), about.image_size, about.resize) for photo in photos])

    return {
        "decode + forward pass": lambda photos: forward(pixels(photos)),
        "decode + model.predict": lambda photos: classifier.model.predict(pixels(photos), verbose=0),
    }


@contextlib.contextmanager
def _served(network: object, about: About) -> Iterator[tuple[Answer, Answer, Classifier]]:
    """Lend a network as a registered model: through MLflow in this process, over HTTP, and as a classifier."""
    import mlflow

    with registered(network, about):
        model = mlflow.pyfunc.load_model("models:/flower-classifier@champion")
        with _server() as ask:
            yield model.predict, ask, Classifier(Path("classifier"))


@contextlib.contextmanager
def registered(network: object, about: About) -> Iterator[None]:
    """Make a network the champion of a store of its own, in a working folder of its own, until the block ends."""
    import keras
    import mlflow

    assert isinstance(network, keras.Model)
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        before = os.environ.get("MLFLOW_TRACKING_URI")
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{scratch}/mlflow.db"
        save_classifier(Path("classifier"), network, about)
        with mlflow.start_run():
            address = tracking.log_classifier(Path("classifier"), about.class_names, example=b"")
        registry.promote(registry.register(address, "flower-classifier"), compared_with=None)
        try:
            yield
        finally:
            os.environ.pop("MLFLOW_TRACKING_URI")
            if before is not None:
                os.environ["MLFLOW_TRACKING_URI"] = before


@contextlib.contextmanager
def _server() -> Iterator[Answer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = str(Path(__file__).parents[1])
    command = [sys.executable, "-m", "pipeline", "serve", f"--port={port}"]
    session = requests.Session()
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root}) as process:
        address = f"http://127.0.0.1:{port}"
        while process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                if session.get(f"{address}/ping").ok:
                    break
            time.sleep(0.2)

        def ask(photos: Sequence[bytes]) -> object:
            body = {"inputs": [base64.b64encode(photo).decode() for photo in photos]}
            answer = session.post(f"{address}/invocations", json=body)
            answer.raise_for_status()
            return answer.json()

        try:
            yield ask
        finally:
            process.terminate()
