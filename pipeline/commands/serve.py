"""``serve``: the champion over HTTP, with limits to what a request may cost."""

from __future__ import annotations

from pipeline.config import ServeConfig as CONFIG


def run(config: CONFIG) -> None:
    """Answer requests until interrupted."""
    from pipeline.serving.server import run_server

    run_server(config)
