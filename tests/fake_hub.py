"""A server on this machine that answers as Hugging Face does, and weights of the small net to put there."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.small_net import small_variant

SCALING = {"scale": [0.01, 0.02, 0.03], "offset": [-1.0, -2.0, -3.0]}


class FakeHub(ThreadingHTTPServer):
    """Serves ``files`` by ``owner/name/file``; ``breaks`` cuts the next transfer of a file after half of it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.sha256: dict[str, str] = {}  # that it names instead of the true one
        self.breaks = ""
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """The address to take the place of Hugging Face's."""
        return f"http://127.0.0.1:{self.server_port}"

    def offer(self, repository: str, folder: Path) -> None:
        """Serve the files of a folder."""
        for file in folder.iterdir():
            self.files[f"{repository}/{file.name}"] = file.read_bytes()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        path = self.path.lstrip("/").replace("/resolve/main/", "/")
        content = self.server.files.get(path)
        wanted = self.headers.get("Range", "bytes=0-")
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        if path:
            self.server.asked.append(f"{self.command} {path} {start}")
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{self.server.sha256.get(path) or hashlib.sha256(content).hexdigest()}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if with_body:
            if self.server.breaks and path.endswith(self.server.breaks):
                self.server.breaks, body = "", body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run the server while the block runs."""
    with FakeHub() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def save_small_preset(folder: Path, seed: int = 0, variant: str = "resnet18") -> Path:
    """Save a KerasHub preset of the small net of a variant, with random weights that follow from the seed."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(seed)
    backbone = keras_hub.models.ResNetBackbone(**small_variant(variant).backbone_arguments(), image_shape=(32, 32, 3))
    backbone.save_to_preset(str(folder))
    keras_hub.layers.ResNetImageConverter(image_size=(32, 32), **SCALING).save_to_preset(str(folder))
    return folder
