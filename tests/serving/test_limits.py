"""What requests may cost, with a real uvicorn on a real socket before an app that takes as long as a test says."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import requests
import uvicorn
from prometheus_client import CollectorRegistry

from pipeline.serving import limits
from pipeline.serving.limits import PromptConnection, RequestLimits
from tests.servers import free_port

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SMALL = {"max_body_bytes": 1000, "max_requests": 2, "timeout_s": 30.0, "wait_s": lambda: 6.3}


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@dataclass
class Slow:
    """An app that says at once how large a body is, but if that is ``wait``: then when it is let go."""

    go: threading.Event = field(default_factory=threading.Event)
    begun: int = 0
    cancelled: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive()).get("body", b"")
        if body == b"wait":
            self.begun += 1
            try:
                while not self.go.is_set():
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % len(body)})


@dataclass
class Running:
    app: Slow
    port: int
    limits: RequestLimits

    def post(self, body: Any = b"x", path: str = "/invocations") -> requests.Response:
        headers = {"Content-Type": "image/jpeg"}
        return requests.post(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers, timeout=20)

    def begin_post(self, part: bytes, length: int) -> http.client.HTTPConnection:
        """Send the head of a request whose body has this length, and a part of the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest("POST", "/invocations")
        connection.putheader("Content-Type", "image/jpeg")
        connection.putheader("Content-Length", str(length))
        connection.endheaders()
        connection.send(part)
        return connection

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)


@contextlib.contextmanager
def _served(**changed: Any) -> Iterator[Running]:
    app, port = Slow(), free_port()
    limited = RequestLimits(app, **SMALL | changed, metrics=CollectorRegistry())
    config = uvicorn.Config(limited, port=port, http=PromptConnection, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Running(app, port, limited)
    finally:
        app.go.set()
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def served() -> Iterator[Running]:
    with _served() as running:
        yield running


def _in_threads(work: Callable[[], requests.Response], count: int) -> tuple[list[threading.Thread], list[int]]:
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(work().status_code)) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, statuses


def test_more_than_may_wait_are_told_when_to_ask_again(served: Running) -> None:
    threads, statuses = _in_threads(lambda: served.post(b"wait"), 2)
    wait_until(lambda: served.app.begun == 2)
    refused = served.post()
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "7"  # 6.3 s, rounded up
    assert "at most 2 requests may wait" in refused.json()["message"]
    assert requests.get(f"http://127.0.0.1:{served.port}/ping", timeout=5).status_code == 200
    served.app.go.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert served.post(b"abc").text == "3"


def test_idle_connections_take_no_place(served: Running) -> None:
    idle = [served.open() for _ in range(100)]
    assert served.post(b"abc").text == "3"
    for connection in idle:
        connection.close()


def test_slow_bodies_take_no_place_and_get_their_time() -> None:
    with _served(timeout_s=1.0) as served:
        slow = [served.begin_post(b"x", length=100) for _ in range(5)]
        assert served.post(b"abc").text == "3"
        answers = [connection.getresponse() for connection in slow]
        assert [answer.status for answer in answers] == [408] * 5
        assert b"must arrive within 1 seconds" in answers[0].read()
        wait_until(lambda: served.limits.held_bytes == 0)


def test_no_answer_in_time_is_said_and_costs_no_more() -> None:
    with _served(timeout_s=0.3) as served:
        answer = served.post(b"wait")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "no answer within 0.3 seconds" in answer.json()["message"]
        assert served.app.cancelled == 1
        assert served.limits.open_requests == 0


def test_what_a_caller_left_is_given_up(served: Running) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", "/invocations", b"wait", {"Content-Type": "image/jpeg"})
    wait_until(lambda: served.app.begun == 1)
    connection.close()
    wait_until(lambda: served.app.cancelled == 1)
    wait_until(lambda: served.limits.open_requests == 0)


def test_bodies_together_are_limited(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD_BODIES", 2)
    halves = [served.begin_post(b"x" * 990, length=1000) for _ in range(2)]
    wait_until(lambda: served.limits.held_bytes == 1980)
    assert served.post(b"x" * 30).status_code == 503
    for connection in halves:
        connection.send(b"x" * 10)
        assert connection.getresponse().read() == b"1000"
    wait_until(lambda: served.limits.held_bytes == 0)
    assert served.post(b"x" * 30).text == "30"


@pytest.mark.parametrize(
    "sent", [b"", b"POST /invocations HTTP/1.1\r\nHost: x\r\n", b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\nGET"]
)
def test_who_does_not_ask_is_hung_up(served: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with served.open() as connection, contextlib.suppress(ConnectionResetError):
        connection.sendall(sent)
        while connection.recv(1000):
            pass
    assert 0.4 < time.monotonic() - start < 5
    assert not PromptConnection._silent


def test_headers_that_trickle_are_hung_up(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.5)
    start = time.monotonic()
    with served.open() as connection, contextlib.suppress(OSError):
        connection.sendall(b"POST /invocations HTTP/1.1\r\n")
        while time.monotonic() - start < 10:
            connection.sendall(b"a: b\r\n")
            time.sleep(0.05)
    assert 0.4 < time.monotonic() - start < 5


def test_who_waits_for_an_answer_is_not_hung_up(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.3)
    threads, statuses = _in_threads(lambda: served.post(b"wait"), 1)
    time.sleep(0.8)
    served.app.go.set()
    threads[0].join()
    assert statuses == [200]


def test_of_too_many_connections_the_oldest_silent_one_goes(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PromptConnection, "most", 5)
    idle = [served.open() for _ in range(9)]
    assert served.post(b"abc").text == "3"
    assert idle[0].recv(1) == b""  # hung up
    idle[-1].sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle[-1].recv(1000).startswith(b"HTTP/1.1 200")
    for connection in idle:
        connection.close()


def test_requests_are_logged_with_their_time_and_without_contents(
    served: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger=limits.log.name):
        served.post(b"secret", "/invocations?top_k=secret")
        served.post(b"x" * 2000)
        served.post(b"", "/a%0Ab")
        requests.get(f"http://127.0.0.1:{served.port}/ping", timeout=5)
    first, second, third = caplog.messages
    stamp, client, *request, milliseconds, unit = first.split(" ")
    assert (client, request, unit) == ("127.0.0.1", ["POST", "/invocations", "200"], "ms")
    assert 0 < float(milliseconds) < 20_000
    assert stamp[:2] == "20"
    assert stamp.endswith("+00:00")
    assert " /invocations 413 " in second
    assert " /a%0Ab 200 " in third
    assert "secret" not in caplog.text
