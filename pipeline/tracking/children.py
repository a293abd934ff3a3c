"""Runs below another run that are found again, so that nothing is trained twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from mlflow import MlflowClient

from pipeline.tracking.runs import PARENT, TRAINING, experiment_ids

MOST_CHILDREN = 50_000  # MLflow's own limit for one answer


class Child(NamedTuple):
    """A finished run: its id, its last metrics, and its tags."""

    run_id: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def adopt_children(tag: str, value: str, parent: str) -> dict[str, Child]:
    """Return the finished runs with a tag, by their training, and put them under the open run ``parent``.

    Runs whose own parent has finished belong to that, and are left alone.
    """
    client = MlflowClient()
    wanted = f"tags.{tag} = '{value}' and attributes.status = 'FINISHED'"
    found = client.search_runs(experiment_ids(), wanted, max_results=MOST_CHILDREN)
    parents = {run.data.tags.get(PARENT, "") for run in found} - {""}
    ended = {run_id for run_id in parents if client.get_run(run_id).info.status == "FINISHED"}
    children = {
        run.data.tags[TRAINING]: Child(run.info.run_id, run.data.metrics, run.data.tags)
        for run in found
        if run.data.tags.get(PARENT) not in ended
    }
    for child in children.values():
        if child.tags.get(PARENT) != parent:
            client.set_tag(child.run_id, PARENT, parent)
    return children
