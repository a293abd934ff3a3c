"""``demo``: a page in the browser on which a registered model can be tried."""

from __future__ import annotations

from pipeline.config import DemoConfig as CONFIG


def run(config: CONFIG) -> None:
    """Serve the page until interrupted."""
    from pipeline.demo import serve_page

    serve_page(config)
