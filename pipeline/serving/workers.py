"""The model in processes of its own, which answer in batches what waits for them.

A free process takes all that waits with the same parameters, up to `BATCH` photos, as one call of the model; nothing
waits for others to come. A process that dies, or does not answer in time, is replaced, and what it was at is tried once
more, each request by itself. Does not own how requests come in (`server`), nor how many may wait (`limits`).

The processes are Pebble pools of one each. Rejected: `concurrent.futures`, where a killed process breaks the pool, and
serving frameworks such as BentoML and Ray Serve, which batch likewise but bring a model format or a cluster.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel
from pebble import ProcessPool

from pipeline.config import DamagedModel, first_line
from pipeline.processes import secure_streams
from pipeline.processes.ray_pool import THREAD_VARIABLES
from pipeline.serving.classifier import CHUNK
from pipeline.serving.inputs import SERVED

BATCH = CHUNK  # photos of several requests in one call: more would only make the first wait longer
WARM_UP = (1, 2, 4, 8, 16, 32, BATCH)  # photos in a call: the first of its size is slower
MOST_TRIES = 2  # of a request whose process died
RESTART_PAUSE_S = 5

Rows = list[dict[str, Any]]


@dataclass
class Refused(Exception):
    """What a caller is told instead of an answer."""

    status: int
    message: str
    error_code: str = "INVALID_REQUEST"

    def __post_init__(self) -> None:
        super().__init__(self.status, self.message, self.error_code)  # with which it is unpickled

    def __str__(self) -> str:
        return self.message


class Observer(Protocol):
    """Is told of every batch: its photos, and the seconds that it took."""

    def __call__(self, photos: int, seconds: float) -> None: ...  # noqa: D102


@dataclass(eq=False)
class _Request:
    model_input: Any
    params: Mapping[str, Any]
    photos: int
    mergeable: bool  # the input is a list of bytes and base64 text, which can be in one call with others
    future: Future[Rows] = field(default_factory=Future)
    tries: int = 0

    def joins(self, other: _Request) -> bool:
        """Return whether both can be one call."""
        new = self.mergeable and other.mergeable and not self.tries and not other.tries
        return new and repr(self.params) == repr(other.params)  # as text: 1 and 1.0 are equal, and not the same


class ModelWorkers:
    """A logged model in ``count`` processes, between `start` and `close`."""

    def __init__(self, folder: Path, count: int, timeout_s: float, observe: Observer) -> None:
        """Start nothing yet.

        Args:
            folder: of the logged model.
            count: of processes; the processor's threads are divided among them.
            timeout_s: a call that takes longer costs its process the life.
            observe: is told of every batch.
        """
        self._folder, self._timeout_s, self._observe = folder, timeout_s, observe
        self._threads = max(1, (os.cpu_count() or 1) // count) if count > 1 else 0
        self._pools: list[ProcessPool | None] = [None] * count
        self._idle: list[int] = []
        self._waiting: deque[_Request] = deque()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._seconds_per_photo = 0.0

    def start(self) -> None:
        """Load the model in every process, and let it answer once.

        Raises:
            DamagedModel: the model, which runs code of its own, does not load.
        """
        for loaded in [self._load(number) for number in range(len(self._pools))]:
            loaded.result()
        self._idle += range(len(self._pools))

    def close(self) -> None:
        """End the processes, once what they are at is done."""
        self._closing.set()
        for pool in filter(None, self._pools):
            pool.close()  # type: ignore[no-untyped-call]
            pool.join()

    def submit_photos(self, photos: Sequence[bytes | str], params: Mapping[str, Any]) -> Future[Rows]:
        """Have encoded photos, as bytes or base64 text, classified; see `PhotoClassifier.predict` for ``params``.

        The future raises `Refused`; one that is cancelled while it waits costs nothing.
        """
        return self._submit(_Request(list(photos), params, len(photos), True))

    def submit_input(self, model_input: object, params: Mapping[str, Any]) -> Future[Rows]:
        """Have any other input of the model classified, in a call of its own."""
        return self._submit(_Request(model_input, params, 1, False))

    @property
    def waiting(self) -> int:
        """Requests that no process is at yet."""
        return len(self._waiting)

    @property
    def ready(self) -> int:
        """Processes that have the model and nothing to do."""
        return len(self._idle)

    def wait_s(self) -> float:
        """Return about how long a request that comes now would wait, in seconds."""
        with self._lock:
            photos = sum(request.photos for request in self._waiting)
        return photos * self._seconds_per_photo / len(self._pools)

    def _submit(self, request: _Request) -> Future[Rows]:
        with self._lock:
            self._waiting.append(request)
        self._dispatch()
        return request.future

    def _dispatch(self) -> None:
        """Give what waits to idle processes."""
        while True:
            with self._lock:
                batch = self._next_batch() if self._idle else []
                if not batch:
                    return
                number = self._idle.pop(0)
            self._send(number, batch)

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        others: list[_Request] = []
        photos = 0
        while self._waiting and photos < BATCH:
            request = self._waiting.popleft()
            if request.future.cancelled():
                continue
            if not batch or (batch[0].joins(request) and photos + request.photos <= BATCH):
                batch.append(request)
                photos += request.photos
            else:
                others.append(request)
        self._waiting.extendleft(reversed(others))
        return batch

    def _send(self, number: int, batch: list[_Request]) -> None:
        start = time.perf_counter()
        for request in batch:
            request.tries += 1
        if len(batch) == 1:
            model_input = batch[0].model_input
        else:
            model_input = [photo for request in batch for photo in request.model_input]
        pool = self._pools[number]
        assert pool is not None
        try:
            answer: Future[Rows | Refused] = pool.schedule(
                _answer, args=(model_input, batch[0].params), timeout=self._timeout_s
            )
        except RuntimeError as error:  # its process died while it had nothing to do
            answer = Future()
            answer.set_exception(error)

        def receive(_: Future[Rows | Refused]) -> None:
            error = answer.exception()
            if error is None:
                self._give(batch, answer.result(), time.perf_counter() - start)
                with self._lock:
                    self._idle.append(number)
                self._dispatch()
            else:  # in a thread: this one may be the pool's own
                threading.Thread(target=self._replace, args=(number, batch, error), daemon=True).start()

        answer.add_done_callback(receive)

    def _give(self, batch: list[_Request], answer: Rows | Refused, seconds: float) -> None:
        start = 0
        for request in batch:
            if not request.future.set_running_or_notify_cancel():
                start += request.photos
            elif isinstance(answer, Refused):
                request.future.set_exception(replace(answer))  # a traceback of its own
            else:
                count = request.photos if len(batch) > 1 else len(answer)
                request.future.set_result(answer[start : start + count])
                start += count
        if not isinstance(answer, Refused) and answer:
            self._observe(len(answer), seconds)
            self._seconds_per_photo = 0.8 * self._seconds_per_photo + 0.2 * seconds / len(answer)

    def _replace(self, number: int, batch: list[_Request], error: BaseException) -> None:
        """Start a process in place of one that died or was killed, and line up again what it was at."""
        if self._closing.is_set():
            return
        too_slow = isinstance(error, TimeoutError)
        logging.getLogger(__name__).warning("replacing a process of the model: %s", first_line(error))
        again = [] if too_slow else [request for request in batch if request.tries < MOST_TRIES]
        for request in batch:
            if request not in again and request.future.set_running_or_notify_cancel():
                reason = "took too long" if too_slow else "ended the process that decoded it"
                request.future.set_exception(Refused(500, f"the request {reason}", "INTERNAL_ERROR"))
        with self._lock:
            self._waiting.extendleft(reversed(again))
        pool = self._pools[number]
        while not self._closing.is_set():
            assert pool is not None
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()
            loaded = self._load(number)
            try:
                loaded.result()
                break
            except Exception as failure:  # of the model's code, of the system: as at the start
                logging.getLogger(__name__).warning("the model does not load: %s", first_line(failure))
                pool = self._pools[number]
                self._closing.wait(RESTART_PAUSE_S)
        with self._lock:
            self._idle.append(number)
        self._dispatch()

    def _load(self, number: int) -> Future[None]:
        pool = ProcessPool(
            max_workers=1,
            initializer=_start_process,
            initargs=(self._threads,),
            context=multiprocessing.get_context("spawn"),
        )
        self._pools[number] = pool
        loaded: Future[None] = pool.schedule(_load_model, args=(str(self._folder),))
        return loaded


_model: PyFuncModel | None = None  # of a process


def _start_process(threads: int) -> None:
    """Limit threads before TensorFlow reads the limit; end with the parent, and not at a signal that it gets, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # what was taken is answered before the parent ends
    secure_streams()
    os.environ[SERVED] = "true"  # or the model would open files that callers name
    if threads:
        os.environ.update({name: str(threads) for name in THREAD_VARIABLES if name not in os.environ})
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _load_model(folder: str) -> None:
    """Load a model, and its network, so that no caller waits for that."""
    global _model
    try:
        model = mlflow.pyfunc.load_model(folder)
        for count in WARM_UP:
            model.predict(np.zeros((count, 8, 8, 3), np.uint8))
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # of the model's own code, whose exceptions are not those of this package
        raise DamagedModel(f"a model must load and answer, got {first_line(error)} from {folder}") from None
    _model = model
    gc.collect()
    gc.freeze()  # or every full collection goes through all that was imported, while callers wait


def _answer(model_input: object, params: Mapping[str, Any]) -> Rows | Refused:
    """Return the model's rows, or what it refuses; no exception, because the parent may not know its class."""
    assert _model is not None
    given = pd.DataFrame({"image": model_input}) if isinstance(model_input, list) else model_input
    try:
        table: Any = _model.predict(given, params=dict(params) or None)
        rows: Rows = table.to_dict("records")
    except MlflowException as error:
        return Refused(error.get_http_status_code(), error.message, error.error_code)  # type: ignore[no-untyped-call]
    except Exception as error:  # of the model's own code
        return Refused(500, f"the model failed: {first_line(error)}", "INTERNAL_ERROR")
    return [{name: None if value != value else value for name, value in row.items()} for row in rows]  # JSON has no NaN
