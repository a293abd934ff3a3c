"""Many callers at once: photos per second and the slowest answers with 1, 4, 16 and 64 clients.

``serve`` is ``python -m pipeline serve`` and gets photos as they are; ``serve, JSON`` gets base64 text in JSON, as its
opponent ``mlflow models serve`` does, of the same model on the same machine in turns with ours. Clients are threads of
one process, each with a connection of its own, and ask for the next photo once they have an answer. The network is a
ResNet-18 from random weights; photos are the data set's own files.

``python -m benchmarks.serving_load`` is another command, the soak.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import requests

from benchmarks.measure import compared
from benchmarks.serving import SIZES, registered, untrained_network
from benchmarks.serving_clients import WARM_UP_S

CLIENTS = (1, 4, 16, 64)
PHOTOS = 64
ROUNDS, SECONDS = 5, 3.0  # short turns, so that a busy minute of the machine hits all


@dataclass(frozen=True)
class Load:
    """What clients saw: seconds of every request that was answered in the time, in order, and the number refused."""

    seconds: np.ndarray
    refused: int
    duration_s: float

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.duration_s

    @property
    def p99_ms(self) -> float:
        return 1e3 * float(np.quantile(self.seconds, 0.99)) if len(self.seconds) else math.inf


def run(data: str, quick: bool) -> pd.DataFrame:
    """Measure every size; ``quick`` the smallest, one round."""
    rounds, seconds = (1, SECONDS) if quick else (ROUNDS, SECONDS)
    tables = []
    for size in SIZES[: 1 if quick else None]:
        network, about, photos = untrained_network(data, size, PHOTOS)
        with registered(network, about), contextlib.ExitStack() as stack:
            ours = stack.enter_context(server([sys.executable, "-m", "pipeline", "serve"]))
            theirs = stack.enter_context(server([
                sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--model-uri",
                "models:/flower-classifier@champion",
            ]))  # fmt: skip
            bodies = [_json_of(photo) for photo in photos]
            contenders = {
                "serve": (ours, photos, "image/jpeg"),
                "serve, JSON": (ours, bodies, "application/json"),
                "mlflow models serve": (theirs, bodies, "application/json"),
            }
            for port, some, kind in contenders.values():
                load(port, some, kind, 4, WARM_UP_S)
            tables += _measured(f"{about.config['variant']}, {size} px", contenders, rounds, seconds)
    return pd.concat(tables, ignore_index=True)


def _measured(
    what: str, contenders: Mapping[str, tuple[int, Sequence[bytes], str]], rounds: int, seconds: float
) -> list[pd.DataFrame]:
    loads: dict[tuple[str, int], list[Load]] = {}
    for _ in range(rounds):
        for clients in CLIENTS:
            for name, (port, bodies, kind) in contenders.items():
                loads.setdefault((name, clients), []).append(load(port, bodies, kind, clients, seconds))
    tables = []
    for clients in CLIENTS:
        of = {name: loads[name, clients] for name in contenders}
        many = f"{what}, {clients} client{'s' if clients > 1 else ''}"
        tables.append(compared(many, "photos per second", {name: [each.rate for each in of[name]] for name in of}))
        tables.append(
            compared(f"{many}, p99", "milliseconds", {name: [each.p99_ms for each in of[name]] for name in of})
        )
        for name, each in of.items():
            gain = np.median([one.rate / single.rate for one, single in zip(each, loads[name, 1], strict=True)])
            tail = np.median([one.p99_ms * one.rate / clients / 1e3 for one in each])
            refused = sum(one.refused for one in each)
            print(f"{name}: {gain:.2f} times one client's rate, p99 {tail:.2f} times clients / rate, {refused} refused")
    return tables


def load(port: int, bodies: Sequence[bytes], kind: str, clients: int, seconds: float, rate: float = 0) -> Load:
    """Have clients ask a server, in a process of their own, for some seconds after `WARM_UP_S`.

    With ``rate``, that many requests per second are begun by a clock; else each client asks once it is answered.
    """
    work = json.dumps({"port": port, "kind": kind, "clients": clients, "seconds": seconds, "rate": rate})
    content = b"".join(len(body).to_bytes(8, "big") + body for body in [work.encode(), *bodies])
    command = [sys.executable, str(Path(__file__).with_name("serving_clients.py"))]
    done = subprocess.run(command, input=content, stdout=subprocess.PIPE, check=True)
    told = json.loads(done.stdout)
    return Load(np.array(told["seconds"]), told["refused"], told["duration"])


@contextlib.contextmanager
def server(command: list[str]) -> Iterator[int]:
    """Run a server until the block ends; yield its port once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = str(Path(__file__).parents[1])
    command, quiet = [*command, f"--port={port}"], subprocess.DEVNULL
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root}, stdout=quiet, stderr=quiet) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok:
                        break
                time.sleep(0.2)
            yield port
        finally:
            for child in psutil.Process(process.pid).children(recursive=True):  # of MLflow's shell
                child.terminate()
            process.terminate()


def _json_of(photo: bytes) -> bytes:
    return json.dumps({"inputs": [base64.b64encode(photo).decode()]}).encode()


def soak(data: str, size: int, minutes: float, share: float) -> None:
    """Find the highest rate, hold a share of it, and print rate, p99 and memory every tenth of the time."""
    network, about, photos = untrained_network(data, size, PHOTOS)
    with registered(network, about), server([sys.executable, "-m", "pipeline", "serve"]) as port:
        highest = load(port, photos, "image/jpeg", 64, 10).rate
        rate = share * highest
        print(f"highest rate with 64 clients: {highest:.0f} photos per second; held: {rate:.0f}", flush=True)
        for _ in range(10):
            seen = load(port, photos, "image/jpeg", 64, 6 * minutes, rate)
            print(
                f"{seen.rate:.1f} per second, median {1e3 * np.median(seen.seconds):.0f} ms, p99 {seen.p99_ms:.0f} ms, "
                f"{seen.refused} refused, {_memory_mb(port):.0f} MB",
                flush=True,
            )


def _memory_mb(port: int) -> float:
    """Return the proportional memory of the server that listens there, and of its processes, in MB."""
    (main,) = [each for each in psutil.Process().children() if f"--port={port}" in each.cmdline()]
    return sum(member.memory_full_info().pss for member in [main, *main.children(recursive=True)]) / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=soak.__doc__)
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--size", type=int, default=SIZES[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--share", type=float, default=0.8)
    arguments = parser.parse_args()
    soak(arguments.data, arguments.size, arguments.minutes, arguments.share)
