"""A real server with a small model: what it answers to hostile requests, that it lives on, and what it costs."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from pipeline import tracking
from pipeline.models.backend import load_backend
from pipeline.serving.classifier import About, save_classifier
from pipeline.serving.inputs import MAX_PHOTOS
from pipeline.tracking import registry
from tests.conftest import ROOT
from tests.servers import free_port, running_server

CLASSES = ("blue", "green", "red")
MAX_BODY_MB = 8
MiB = 2**20


class Server(NamedTuple):
    """A server in a process of its own."""

    port: int
    process: subprocess.Popen[str]
    log: Path

    def ask(self, body: object, **how: Any) -> requests.Response:
        content = {"data": body} if isinstance(body, bytes | Iterator) else {"json": body}
        return requests.post(f"http://127.0.0.1:{self.port}/invocations", timeout=60, **content, **how)

    @property
    def model_process(self) -> psutil.Process:
        children = psutil.Process(self.process.pid).children()
        return max(children, key=lambda child: child.memory_info().rss)

    def peak_bytes(self) -> int:
        """Of what answers and of what holds the model."""
        peak = 0
        for process_id in (self.process.pid, self.model_process.pid):
            status = Path(f"/proc/{process_id}/status")
            if not status.exists():
                pytest.skip("no /proc to read a process's peak memory from")
            (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
            peak += int(line.split()[1]) * 1024
        return peak

    def metric(self, name: str) -> float:
        text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=10).text
        (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])


def _register_small_model(folder: Path, empty_store: Path) -> str:
    """Register a net of one layer whose answers differ from photo to photo; return the store's address."""
    load_backend()
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), keras.layers.Dense(3, dtype="float32")]
    model = keras.Sequential([keras.Input((32, 32, 3), dtype="uint8"), *layers])
    sureness = tuple(np.linspace(0.99, 1, 101).tolist())
    about = About(CLASSES, 32, "crop", (), "digest", "photos", {}, sureness=sureness)
    save_classifier(folder / "classifier", model, about)
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.chdir(folder)
        experiment = mlflow.create_experiment("served", artifact_location=str(folder / "mlruns"))
        with mlflow.start_run(experiment_id=experiment):
            address = tracking.log_classifier(folder / "classifier", CLASSES, _photo())
        registry.promote(registry.register(address, "flower-classifier"), compared_with=None)
    return uri


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, _empty_store: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    with _serving(folder, _register_small_model(folder, _empty_store)) as server:
        yield server


@contextlib.contextmanager
def _serving(folder: Path, uri: str) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "pipeline", "serve", f"--port={port}", f"--max_body_mb={MAX_BODY_MB}"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    environment |= {"PYTHONPATH": str(ROOT)}
    with running_server(command, folder, environment, f"http://127.0.0.1:{port}/ping") as process:
        yield Server(port, process, folder / f"server-{port}.log")


@pytest.fixture(autouse=True)
def _lives_on(server: Server) -> Iterator[None]:
    """After every test the server still answers, from the same process, in bounded memory."""
    before = server.peak_bytes()
    yield
    (row,) = server.ask({"inputs": [_text(_photo())]}).json()["predictions"]
    assert row["error"] is None
    assert psutil.pid_exists(server.process.pid)
    assert server.peak_bytes() - before < 150 * MiB


def _photo(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_a_photo_gets_its_label(server: Server) -> None:
    (row,) = server.ask({"inputs": [_text(_photo())]}).json()["predictions"]
    assert row["label"] in CLASSES
    assert sum(row[name] for name in CLASSES) == pytest.approx(1)


def test_the_likeliest_classes_alone(server: Server) -> None:
    photos = [_text(_photo(1)), "no photo", _text(_photo(2))]
    (whole, _, _) = server.ask({"inputs": photos}).json()["predictions"]
    first, bad, _ = server.ask({"inputs": photos, "params": {"top_k": 2}}).json()["predictions"]
    assert first.keys() == {"label", "probability", "top_k", "error"}
    best, second = first["top_k"]
    assert (best["label"], best["probability"]) == (whole["label"], whole["probability"])
    assert second["probability"] == sorted(whole[name] for name in CLASSES)[1]
    assert bad["top_k"] == []
    assert bad["error"]


@pytest.mark.parametrize("top_k", [0, -1, "many", 1.5, True])
def test_a_number_of_classes_that_is_none_is_refused(server: Server, top_k: object) -> None:
    answer = server.ask({"inputs": [_text(_photo())], "params": {"top_k": top_k}})
    assert answer.status_code == 400
    assert "top_k" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"params": {"topk": 2}}, "topk"),
        ({"params": {"top_k": 2, "": 1}}, "''"),
        ({"params": [2]}, "params"),
        ({"params": 0}, "params"),
        ({"params": {"top_k": "2"}}, "top_k"),
        ({"top_k": 2}, "top_k"),
    ],
    ids=range(6),
)
def test_a_parameter_that_is_unknown_is_refused(server: Server, body: dict[str, object], named: str) -> None:
    for photos in ({"inputs": [_text(_photo())]}, {"dataframe_split": {"columns": ["image"], "data": [["x"]]}}):
        answer = server.ask(photos | body)
        assert answer.status_code == 400
        assert named in answer.json()["message"]


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(_photo())).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "photo"), [("image/jpeg", _photo()), ("image/png", _png())])
def test_a_photo_as_it_is_gets_the_answer_of_its_text(server: Server, kind: str, photo: bytes) -> None:
    expected = server.ask({"inputs": [_text(photo)], "params": {"top_k": 2, "keep": 0.5}}).json()
    assert server.ask(photo, headers={"Content-Type": kind}, params={"top_k": 2, "keep": 0.5}).json() == expected
    assert server.ask(photo, headers={"Content-Type": kind}).json() == server.ask({"inputs": [_text(photo)]}).json()
    for asked in ({"top_k": 0}, {"topk": 1}, {"keep": "much"}):
        assert server.ask(photo, headers={"Content-Type": kind}, params=asked).status_code == 400


def test_a_form_with_files_as_of_curl(server: Server, tmp_path: Path) -> None:
    if not (curl := shutil.which("curl")):
        pytest.skip("needs curl")
    (tmp_path / "photo.jpg").write_bytes(_photo(1))
    (tmp_path / "other.png").write_bytes(_png())
    address = f"http://127.0.0.1:{server.port}/invocations"
    one = (curl, "-sF", "file=@photo.jpg", address)
    two = (curl, "-s", "-F", "file=@photo.jpg", "-F", "file=@other.png", "-F", "top_k=1", address)
    answers = [json.loads(subprocess.check_output(command, cwd=tmp_path, timeout=60)) for command in (one, two)]
    texts = [_text(_photo(1)), _text(_png())]
    assert answers[0] == server.ask({"inputs": texts[:1]}).json()
    assert answers[1] == server.ask({"inputs": texts, "params": {"top_k": 1}}).json()


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="top_k"\r\n\r\n3\r\n--x--\r\n', b"\0" * 99]
)
def test_a_form_without_files_is_the_callers_fault(server: Server, body: bytes) -> None:
    answer = server.ask(body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("a form must")


def test_idle_connections_shut_nobody_out(server: Server) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    assert requests.get(f"http://127.0.0.1:{server.port}/ping", timeout=10).status_code == 200
    assert server.ask({"inputs": [_text(_photo())]}).status_code == 200
    for connection in idle:
        connection.close()


def test_requests_that_wait_are_answered_in_batches_each_its_own(server: Server) -> None:
    photos = [_photo(seed) for seed in range(64)]
    expected = server.ask({"inputs": [_text(photo) for photo in photos]}).json()["predictions"]
    # TensorFlow computes one photo by other kernels than two or more: up to 1e-5 apart.
    alone = [server.ask({"inputs": [_text(photo)]}).json()["predictions"][0] for photo in photos]
    before = server.metric("batch_photos_sum")

    def ask(number: int) -> requests.Response:
        params = {"top_k": 1 + number % 2} if number % 4 > 1 else {}
        return server.ask(photos[number], headers={"Content-Type": "image/jpeg"}, params=params)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(64)))
    assert [answer.status_code for answer in answers] == [200] * 64
    for number, answer in enumerate(answers):
        (row,) = answer.json()["predictions"]
        assert row["label"] == expected[number]["label"]
        computed = (expected[number]["probability"], alone[number]["probability"])
        assert min(abs(row["probability"] - one) for one in computed) < 1e-6
        assert len(row.get("top_k", ())) == (1 + number % 2 if number % 4 > 1 else 0)
    assert server.metric("batch_photos_sum") - before == 64


def test_the_answer_does_not_depend_on_who_else_asks(server: Server) -> None:
    """A bad photo, a refused parameter and a large request beside good ones."""
    asks = [
        ({"inputs": [_text(_photo())]}, 200),
        ({"inputs": ["no photo"]}, 200),
        ({"inputs": [_text(_photo())], "params": {"top_k": 1.5}}, 400),
        ({"inputs": [_text(_photo())] * 100}, 200),
        ({"dataframe_records": [{"image": _text(_photo())}]}, 200),
    ]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda number: server.ask(asks[number % 5][0]), range(40)))
    assert [answer.status_code for answer in answers] == [status for _, status in asks] * 8
    rows = [answer.json()["predictions"] for answer in answers if answer.ok]
    assert [len(each) for each in rows] == [1, 1, 100, 1] * 8
    assert [each[0]["error"] is None for each in rows] == [True, False, True, True] * 8


@pytest.mark.slow
def test_a_process_that_is_killed_is_replaced_and_its_requests_are_answered(server: Server) -> None:
    for busy in (False, True):
        with ThreadPoolExecutor(8) as pool:
            photos = [_text(_photo(seed)) for seed in range(500)]
            waiting = [pool.submit(server.ask, {"inputs": photos}) for _ in range(8)] if busy else []
            if busy:
                time.sleep(0.3)
            killed = server.model_process
            killed.kill()
            waiting += [pool.submit(server.ask, {"inputs": photos[:1]})]
            assert requests.get(f"http://127.0.0.1:{server.port}/ping", timeout=10).status_code == 200
            assert [answer.result().status_code for answer in waiting] == [200] * len(waiting)
        assert server.model_process != killed


def test_what_the_server_says_of_itself(server: Server) -> None:
    address = f"http://127.0.0.1:{server.port}"
    described = requests.get(f"{address}/openapi.json", timeout=10).json()
    assert described["info"]["title"] == "flower-classifier version 1"
    asked = described["paths"]["/invocations"]["post"]["requestBody"]["content"]
    assert {"application/json", "image/jpeg", "image/png", "multipart/form-data"} == asked.keys()
    (row,) = server.ask(asked["application/json"]["example"]).json()["predictions"]
    assert row["error"] is None
    page = requests.get(f"{address}/docs", timeout=10).text
    assert "https://" not in page  # what it needs comes from here, also without a network
    (script,) = re.findall(r'script src="(\S+?)"', page)
    assert requests.get(address + script, timeout=10).ok
    assert server.metric('http_requests_total{path="/docs",status="200"}') >= 1
    assert server.metric("process_resident_memory_bytes") > MiB
    log = server.log.read_text()
    assert re.search(r"^\S+\+00:00 127.0.0.1 GET /docs 200 \d+\.\d ms$", log, re.MULTILINE)
    assert "/ping" not in log


@pytest.mark.slow
def test_its_page_has_an_example_to_try(server: Server) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not chromium:
        pytest.skip("needs chromium")
    address, asked = f"http://127.0.0.1:{server.port}", []
    with sync_api.sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/docs")
        page.locator(".opblock-summary", has_text="Classify photos").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator(".live-responses-table tbody").first
        answer.get_by_text('"predictions"').first.wait_for()
        assert answer.locator(".response-col_status").first.inner_text().startswith("200")
    assert all(url.startswith((address, "data:")) for url in asked)


def test_an_unsure_photo_is_none_of_these_if_that_is_asked_for(server: Server) -> None:
    photos = [_text(_photo(seed)) for seed in range(40)]
    plain = server.ask({"inputs": photos}).json()["predictions"]
    asked = server.ask({"inputs": photos, "params": {"keep": 0.5}}).json()["predictions"]
    expected = [row["label"] if row["probability"] >= 0.995 else "none of these" for row in plain]
    assert [row["label"] for row in asked] == expected
    assert 0 < expected.count("none of these") < 40
    assert [row["probability"] for row in asked] == [row["probability"] for row in plain]


@pytest.mark.parametrize("keep", [0.0, 1.5, "many"])
def test_a_share_to_keep_that_is_none_is_refused(server: Server, keep: object) -> None:
    answer = server.ask({"inputs": [_text(_photo())], "params": {"keep": keep}})
    assert answer.status_code == 400
    assert "keep" in answer.json()["message"]


def test_a_body_that_says_it_is_large_is_refused_before_it_is_read(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest("POST", "/invocations")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(200 * MiB))
    connection.endheaders()
    answer = connection.getresponse()  # though not a byte of the body was sent
    assert answer.status == 413
    assert f"at most {MAX_BODY_MB * MiB} bytes" in json.loads(answer.read())["message"]


@pytest.mark.parametrize("kind", ["application/json", "image/jpeg", "multipart/form-data; boundary=x", "text/csv"])
def test_a_large_body_that_does_not_say_so_is_too_large(server: Server, kind: str) -> None:
    chunks = iter([b"x" * MiB] * 20)
    answer = server.ask(chunks, headers={"Content-Type": kind})
    assert answer.status_code == 413
    assert f"at most {MAX_BODY_MB * MiB} bytes" in answer.json()["message"]


def test_a_body_without_an_end_is_cut_off(server: Server) -> None:
    endless = itertools.repeat(b"x" * MiB)
    with contextlib.suppress(requests.ConnectionError):  # where it has hung up before the answer was read
        assert server.ask(endless, headers={"Content-Type": "application/json"}).status_code == 413


def test_a_huge_picture_in_a_small_file_is_an_error_of_its_own(server: Server) -> None:
    buffer = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < MiB
    good, huge = server.ask({"inputs": [_text(_photo()), _text(buffer.getvalue())]}).json()["predictions"]
    assert good["error"] is None
    assert "pixels" in huge["error"]


def test_ten_thousand_items_are_refused(server: Server) -> None:
    for body in ({"inputs": ["x"] * 10_000}, {"dataframe_records": [{"image": "x"}] * 10_000}):
        answer = server.ask(body)
        assert answer.status_code == 400
        assert f"at most {MAX_PHOTOS} photos" in answer.json()["message"]


def test_what_is_no_photo_is_an_error_of_its_own(server: Server) -> None:
    bad = ["", "no base64!", _text(b"<html>"), _text(_photo()[:300]), "/etc/passwd", None]
    rows = server.ask({"dataframe_split": {"columns": ["image"], "data": [[item] for item in bad]}}).json()
    assert all(row["error"] and row["label"] is None for row in rows["predictions"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b"null",
        b"[1, 2]",
        b'{"inputs": [[1, 2], [3]]}',
        b'{"inputs": 5}',
        b'{"inputs": null}',
        b'{"inputs": {"a": ["x"], "b": ["y"]}}',
        b'{"images": ["x"]}',
        b'{"inputs": ["x"], "instances": ["x"]}',
        b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}',
        b'{"dataframe_split": 3}',
        b'{"dataframe_records": "x"}',
        b'{"inputs": ["x"], "params": 3}',
    ],
    ids=range(16),
)
def test_wrong_json_is_the_callers_fault(server: Server, body: bytes) -> None:
    answer = server.ask(body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["message"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("text/plain", 415),
        ("application/json; charset=latin-1", 415),
        ("application/vnd.apache.parquet", 400),
        (None, 415),
    ],
)
def test_a_body_of_another_kind_is_refused(server: Server, kind: str | None, status: int) -> None:
    assert server.ask(b"x", headers={"Content-Type": kind} if kind else {}).status_code == status


def test_a_port_that_is_taken_is_named(server: Server, run_in: Any, tmp_path: Path) -> None:
    uri = psutil.Process(server.process.pid).environ()["MLFLOW_TRACKING_URI"]
    command = (sys.executable, "-m", "pipeline", "serve", f"--port={server.port}")
    done = run_in(tmp_path, *command, exit_code=2, MLFLOW_TRACKING_URI=uri, PYTHONPATH=str(ROOT))
    assert f"must be an address to listen on, got 127.0.0.1:{server.port}: " in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_stop_answers_what_was_taken(server: Server, tmp_path: Path, whole_group: bool) -> None:
    uri = psutil.Process(server.process.pid).environ()["MLFLOW_TRACKING_URI"]
    photos = [_text(_photo(seed)) for seed in range(500)]
    with _serving(tmp_path, uri) as stopped, ThreadPoolExecutor(8) as pool:
        family = psutil.Process(stopped.process.pid).children()
        waiting = [pool.submit(stopped.ask, {"inputs": photos}) for _ in range(8)]
        time.sleep(0.5)
        (os.killpg if whole_group else os.kill)(stopped.process.pid, signal.SIGTERM)
        assert [answer.result().status_code for answer in waiting] == [200] * 8
        assert stopped.process.wait(30) == 0
        assert not psutil.wait_procs(family, 10)[1]
        with pytest.raises(requests.ConnectionError):
            stopped.ask({"inputs": photos[:1]})
