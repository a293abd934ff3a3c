"""Models and runs that nothing refers to any more, and the data sets that are referred to.

Referred to is what a registered version, a run that goes on, or one that was stopped and can go on needs, and what a
later search may choose: the models of confirmations. Finished runs are results, and are kept.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.entities import PagedList

from pipeline.tracking.runs import PARENT, STOPPED, owner_of

T = TypeVar("T")

CONFIRMATION = "confirm"  # stage of runs whose models a study that goes on may choose
DIGEST = "data_digest"  # tag: of the photos that a run reads
RECENT_S = 24 * 3600


class Unreferenced(NamedTuple):
    """A model or run, and the folder of its files."""

    kind: str
    id: str
    about: str
    folder: Path

    def delete(self) -> None:
        """Delete its files, and put what MLflow knows of it where ``mlflow gc`` finds it."""
        client = MlflowClient()
        if self.kind == "model":
            client.delete_logged_model(self.id)
        elif client.get_run(self.id).info.lifecycle_stage == "active":
            client.delete_run(self.id)
        shutil.rmtree(self.folder, ignore_errors=True)


class References:
    """All runs and versions of the store, read once: what is referred to, and what is not."""

    @cached_property
    def _runs(self) -> dict[str, Run]:
        client = MlflowClient()
        experiments = [of.experiment_id for of in client.search_experiments(ViewType.ALL)]
        found = _all_pages(lambda token: client.search_runs(experiments, "", ViewType.ALL, page_token=token))
        return {run.info.run_id: run for run in found}

    @cached_property
    def _versions(self) -> list[ModelVersion]:
        return list(_all_pages(lambda token: MlflowClient().search_model_versions(page_token=token)))

    def digests(self) -> set[str]:
        """Return the digests of the data sets that are referred to, or were used lately."""
        used = [
            run
            for run_id, run in self._runs.items()
            if run_id in self._registered_runs or self._can_go_on(run_id) or _is_recent(run)
        ]
        tags = [*(run.data.tags for run in used), *(version.tags for version in self._versions)]
        return {of[DIGEST] for of in tags if DIGEST in of}

    def is_opening_photos(self) -> bool:
        """Return whether a run goes on that has not said yet which photos it reads."""
        running = [run for run in self._ours() if run.info.status == "RUNNING" and _is_recent(run)]
        return any(DIGEST not in run.data.tags for run in running)

    def unreferenced(self) -> Iterator[Unreferenced]:
        """Yield the models and runs of this project, with files on this machine, that nothing refers to."""
        ours = {run.info.run_id: run for run in self._ours()}
        for model in self._models():
            run, folder = ours.get(model.source_run_id or ""), Path(model.artifact_location).parent
            if run and folder.is_absolute() and folder.name == model.model_id and not self._is_needed(model, run):
                yield Unreferenced("model", model.model_id, f"of {run.info.run_name}", folder)
        parents = {run.data.tags.get(PARENT) for run in self._runs.values()}
        for run_id, run in ours.items():
            folder = Path(run.info.artifact_uri).parent
            if folder.is_absolute() and folder.name == run_id and run_id not in self._registered_runs:
                if run.info.lifecycle_stage == "deleted":
                    if folder.exists():
                        yield Unreferenced("run", run_id, f"deleted in MLflow: {run.info.run_name}", folder)
                elif run.info.status == "FAILED" and run_id not in parents and not self._can_go_on(run_id):
                    yield Unreferenced("run", run_id, f"failed: {run.info.run_name}", folder)

    def _ours(self) -> list[Run]:
        """Return the runs of this project."""
        return [run for run in self._runs.values() if owner_of(run)]

    def _models(self) -> Iterator[LoggedModel]:
        client, experiments = MlflowClient(), sorted({run.info.experiment_id for run in self._runs.values()})
        if experiments:
            yield from _all_pages(lambda token: client.search_logged_models(experiments, page_token=token))

    @cached_property
    def _registered_runs(self) -> set[str]:
        return {version.run_id for version in self._versions if version.run_id}

    @cached_property
    def _named(self) -> str:
        """All that names models: the sources of versions, and the weights that trainings have started from."""
        weights = [run.data.params.get("weights", "") for run in self._runs.values()]
        return "\n".join([*(version.source or "" for version in self._versions), *weights])

    def _is_needed(self, model: LoggedModel, run: Run) -> bool:
        run_id = run.info.run_id
        return (
            run_id in self._registered_runs
            or model.model_id in self._named
            or run_id in self._named
            or run.data.tags.get("stage") == CONFIRMATION
            or self._can_go_on(run_id)
        )

    def _can_go_on(self, run_id: str) -> bool:
        """Return whether a run or one above it is running, or was stopped and can go on."""
        while run := self._runs.get(run_id):
            if run.info.status == "RUNNING" or run.data.tags.get(STOPPED) == "true":
                return True
            run_id = run.data.tags.get(PARENT, "")
        return False


def _is_recent(run: Run) -> bool:
    return run.info.start_time > (time.time() - RECENT_S) * 1000


def _all_pages(search: Callable[[str | None], PagedList[T]]) -> Iterator[T]:
    """Yield what a search finds, of which MLflow gives a page at a time."""
    token: str | None = None
    while token != "":
        page = search(token)
        yield from page
        token = page.token or ""
