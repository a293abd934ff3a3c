"""``tune``: search, confirm the best few with fresh seeds, register the winner as challenger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config import TuneConfig as CONFIG

if TYPE_CHECKING:
    from pipeline.search import SearchResult


def run(config: CONFIG) -> SearchResult:
    """Run the search to its end and register the winner."""
    from pipeline.search import run_search

    return run_search(config)
