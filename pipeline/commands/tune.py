"""``tune``: search, confirm the best few with fresh seeds, register the winner as challenger."""

from __future__ import annotations

from pipeline.config import TuneConfig as CONFIG


def run(config: CONFIG) -> None:
    """Run the search to its end and register the winner."""
    from pipeline.search import run_search

    run_search(config)
