"""What a request may cost, as ASGI middleware and as uvicorn's protocol: bytes, time, places in the queue, connections.

Owns when a caller gets status 408, 413 or 503, the access log, and the metrics of requests. Does not own what a body
means (`server`).

uvicorn's own `limit_concurrency` was not taken: it counts open connections, so that idle ones shut the server, health
checks included. Nor was Starlette's `RequestBodyLimitMiddleware`: of a body without a length it raises inside the app,
which an app with middleware of its own answers with status 500.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.serving.workers import Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREDICTIONS = "/invocations"
QUIET = ("/ping", "/health", "/metrics")  # asked for every few seconds: in the access log only where they fail
ROUTES = (PREDICTIONS, *QUIET, "/version", "/docs", "/openapi.json")  # of metrics: any other path is "other"
HEAD_TIMEOUT_S = 10  # for the first byte of a request, and for its headers
LINGER_S = 2  # for which the rest of a refused body is read, or its sender would not read the answer
HELD_BODIES = 16  # times the largest body: the most bytes that all requests together may hold
SPARE_FILES = 100  # that are not connections
MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

log = logging.getLogger("photo_pipeline.access")


class RequestLimits:
    """Reads the body of a request for predictions within its limits, and gives the app a time to answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        max_requests: int,
        timeout_s: float,
        wait_s: Callable[[], float],
        metrics: CollectorRegistry,
    ) -> None:
        """Wrap an app.

        Args:
            app: an ASGI app.
            max_body_bytes: of one request.
            max_requests: that may wait or be answered at once.
            timeout_s: for a body to arrive, and then for the answer.
            wait_s: returns how long a request that comes now would wait, in seconds.
            metrics: where requests are counted.
        """
        self.app = app
        self.max_body_bytes, self.max_requests, self.timeout_s = max_body_bytes, max_requests, timeout_s
        self.wait_s = wait_s
        self.open_requests = self.held_bytes = 0
        self.requests = Counter("http_requests", "Requests.", ["path", "status"], registry=metrics)
        self.seconds = Histogram(
            "http_request_duration_seconds", "From the headers to the answer.", ["path"], registry=metrics
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, log it and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def recording_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if scope["path"] == PREDICTIONS and scope["method"] == "POST":
                await self._predictions(scope, receive, recording_send)
            else:
                await self.app(scope, receive, recording_send)
        finally:
            self._record(scope, status, time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in ROUTES else "other"
        self.requests.labels(path, status or "none").inc()
        self.seconds.labels(path).observe(seconds)
        if path not in QUIET or status != 200:
            client = scope["client"][0] if scope.get("client") else "-"
            target = scope["raw_path"].decode("ascii", "replace")  # without the query, and with its % signs: one line
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            answer = status or "gone"  # the caller was
            log.info("%s %s %s %s %s %.1f ms", now, client, scope["method"], target, answer, 1e3 * seconds)

    async def _predictions(self, scope: Scope, receive: Receive, send: Send) -> None:
        held = 0

        def hold(count: int) -> None:
            nonlocal held
            held += count
            self.held_bytes += count
            if held > self.max_body_bytes:
                raise self._too_large
            if self.held_bytes > HELD_BODIES * self.max_body_bytes:
                raise self._too_busy

        admitted = False
        try:
            self._check_head(dict(scope["headers"]))
            body = await self._read(receive, hold)
            self._check_queue()
            self.open_requests += 1
            admitted = True
            await self._answer(scope, body, receive, send)
        except Refused as refused:
            self.held_bytes -= held  # at once, and not when the caller has read the answer
            held = 0
            await _refuse(refused, self._retry_after_s, None if admitted else receive, scope, send)
        except _Gone:
            pass
        finally:
            self.open_requests -= admitted
            self.held_bytes -= held

    def _check_head(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what can be refused before the body is read."""
        if int(headers.get(b"content-length", 0)) > self.max_body_bytes:
            raise self._too_large
        if not headers.get(b"content-type"):
            raise Refused(415, "a request must state its content type (application/json, or image/jpeg)")
        self._check_queue()

    def _check_queue(self) -> None:
        if self.open_requests >= self.max_requests:
            raise self._too_busy

    async def _read(self, receive: Receive, hold: Callable[[int], None]) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self.timeout_s):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    body += message["body"]
                    hold(len(message["body"]))
                    more = message["more_body"]
        except TimeoutError:
            raise Refused(408, f"a request's body must arrive within {self.timeout_s:g} seconds") from None
        return bytes(body)

    async def _answer(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Let the app answer, unless that takes too long or the caller goes away."""
        given, started = False, False

        async def receive_body() -> Message:
            nonlocal given
            if given:
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        async def caller_leaves() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        answering = asyncio.ensure_future(self.app(scope, receive_body, noting_send))
        leaving = asyncio.ensure_future(caller_leaves())
        try:
            await asyncio.wait({answering, leaving}, timeout=self.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()  # raises what the app has raised
            elif leaving.done() or started:
                raise _Gone
            else:
                raise Refused(503, f"no answer within {self.timeout_s:g} seconds (try again later)")
        finally:
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    @property
    def _too_large(self) -> Refused:
        remedy = "send fewer or smaller photos, or start the server with a larger max_body_mb"
        return Refused(413, f"a request must have at most {self.max_body_bytes} bytes ({remedy})")

    @property
    def _too_busy(self) -> Refused:
        return Refused(
            503, f"at most {self.max_requests} requests may wait, and that many are waiting (try again later)"
        )

    @property
    def _retry_after_s(self) -> int:
        return max(1, math.ceil(self.wait_s()))


class _Gone(Exception):
    """The caller has closed the connection."""


def answer_of(refused: Refused, retry_after_s: int = 1) -> JSONResponse:
    """Return the answer to a refused request, in the form of MLflow's; status 503 says when to ask again."""
    headers = {"retry-after": str(retry_after_s)} if refused.status == 503 else None
    content = {"error_code": refused.error_code, "message": refused.message}
    return JSONResponse(content, status_code=refused.status, headers=headers)


async def _refuse(refused: Refused, retry_after_s: int, rest: Receive | None, scope: Scope, send: Send) -> None:
    """Send the answer; then, if ``rest`` of the body is unread, read on for a moment, and close the connection.

    A socket that is closed while there is more to read sends a reset, which can overtake the answer.
    """
    response = answer_of(refused, retry_after_s)
    if rest is None:
        await response(scope, _nothing, send)
        return
    response.headers["connection"] = "close"
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    try:
        async with asyncio.timeout(LINGER_S):
            message: dict[str, Any] = {"type": "http.request", "more_body": True}
            while message["type"] == "http.request" and message["more_body"]:
                message = dict(await rest())
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _nothing() -> Message:
    return {"type": "http.disconnect"}


class PromptConnection(H11Protocol):
    """A connection that is closed if it does not ask within `HEAD_TIMEOUT_S`; if too many are open, the oldest first.

    h11 was not replaced by the faster httptools (0.25 ms less for a photo of 100 kB): it limits the size of headers.
    """

    _silent: ClassVar[dict[PromptConnection, asyncio.TimerHandle]] = {}  # oldest first
    most: ClassVar[int] = max(SPARE_FILES, MOST_FILES - SPARE_FILES)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._expect_request()
        if len(self.connections) > self.most:
            next(iter(self._silent)).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_expecting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Wait on, unless there is a request."""
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:
            self._stop_expecting()
        else:
            self._expect_request()

    def on_response_complete(self) -> None:
        """Wait for the next request: uvicorn's own `timeout_keep_alive` ends with its first byte."""
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        asking = self.cycle and not self.cycle.response_complete
        if not (asking or self in self._silent or self.transport.is_closing()):
            self._silent[self] = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _stop_expecting(self) -> None:
        if timer := self._silent.pop(self, None):
            timer.cancel()
