"""Tests of the download, against a real server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.data.sources.downloads import CHUNK_BYTES, download

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves ``content``; ``behaviour`` is 'range', 'whole' (ignores Range), 'breaks' (sends half, once) or 'error'."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.behaviour = CONTENT, "range"
        self.requests: list[tuple[str | None, int]] = []  # the Range header, and the bytes sent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/photos.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted, content = self.headers.get("Range"), self.server.content
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if self.server.behaviour == "whole":
            start = 0
        if self.server.behaviour == "error" or start >= len(content):
            self.server.requests.append((wanted, 0))
            self.send_response(500 if self.server.behaviour == "error" else 416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.behaviour == "breaks":
            self.server.behaviour, body = "range", body[: len(body) // 2]
        self.server.requests.append((wanted, len(body)))
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "raw" / "photos.tgz"


def part_of(target: Path, content: bytes) -> Path:
    target.parent.mkdir(parents=True)
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    return part


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_whole_download(server: Server, target: Path) -> None:
    download(server.url, target, SHA256, len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.requests == [(None, len(CONTENT))]
    assert tree(target.parent) == [target.name]


def test_download_resumes_from_its_part(server: Server, target: Path) -> None:
    part_of(target, CONTENT[:60_000])
    download(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [("bytes=60000-", len(CONTENT) - 60_000)]


def test_download_resumes_by_itself_when_the_connection_breaks(server: Server, target: Path) -> None:
    server.behaviour = "breaks"
    download(server.url, target, SHA256)
    kept = len(CONTENT) // 2 // CHUNK_BYTES * CHUNK_BYTES
    assert target.read_bytes() == CONTENT
    assert server.requests == [(None, len(CONTENT) // 2), (f"bytes={kept}-", len(CONTENT) - kept)]


def test_server_that_ignores_range(server: Server, target: Path) -> None:
    server.behaviour = "whole"
    part_of(target, CONTENT[:60_000])
    download(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [("bytes=60000-", len(CONTENT))]


def test_part_that_is_already_whole(server: Server, target: Path) -> None:
    part_of(target, CONTENT)
    download(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests == [(f"bytes={len(CONTENT)}-", 0)]


@pytest.mark.parametrize("length", [1_000, len(CONTENT) + 1_000], ids=["shorter", "longer"])
def test_part_of_another_file_is_replaced(length: int, server: Server, target: Path) -> None:
    part_of(target, b"z" * length)
    download(server.url, target, SHA256)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1] == (None, len(CONTENT))


def test_wrong_checksum_leaves_nothing(server: Server, target: Path) -> None:
    server.content = b"something else"
    with pytest.raises(UserError, match=f"SHA-256 {SHA256}, got {hashlib.sha256(server.content).hexdigest()}"):
        download(server.url, target, SHA256)
    assert tree(target.parent) == []


def test_server_error_keeps_the_part(server: Server, target: Path) -> None:
    server.behaviour = "error"
    part = part_of(target, CONTENT[:60_000])
    with pytest.raises(UserError, match="HTTP status 500"):
        download(server.url, target, SHA256)
    assert part.read_bytes() == CONTENT[:60_000]


def test_refused_connection_is_one_line(server: Server, target: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match="refused") as caught:
        download(server.url, target, SHA256)
    assert "\n" not in str(caught.value)
    assert str(target) in str(caught.value)
