"""The lease of a run on a server: renewed while its process lives, so that other folders and hosts see when it is dead.

In the process's own folder a lock tells at once (`processes.owners`). Nobody can take that lock elsewhere, and neither
host name nor process number identify anything across containers. A run whose lease has run out is taken for dead; if
its process only slept, it goes on, and the run ends as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping

import mlflow
from mlflow import MlflowClient

from pipeline.tracking.store import ERRORS, is_local

RENEWED = "photo_pipeline.renewed"  # tag: when the lease was renewed, as a Unix time in seconds
RENEWAL_S, LEASE_S = 60, 600  # the clocks of the hosts may differ by the rest


def lease_tag() -> dict[str, str]:
    """Return the tag of a lease that begins now; none for a store in a file, which is of one folder."""
    return {} if is_local(mlflow.get_tracking_uri()) else {RENEWED: f"{time.time():.0f}"}


def has_run_out(tags: Mapping[str, str]) -> bool:
    """Return whether a run had a lease that its process has not renewed in time."""
    renewed = tags.get(RENEWED, "")
    return renewed.isdigit() and time.time() - int(renewed) > LEASE_S


@contextlib.contextmanager
def renewed_lease(run_id: str) -> Iterator[None]:
    """Renew the lease of an open run inside the block."""
    if not lease_tag():
        yield
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(RENEWAL_S):
            with contextlib.suppress(*ERRORS):  # a store that is away is told where something is logged
                for name, text in lease_tag().items():
                    MlflowClient().set_tag(run_id, name, text)

    threading.Thread(target=renew, name="lease", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
