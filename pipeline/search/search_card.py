"""The card of a search: who won, and what became of the trials."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiment import render_card

_SEARCH = """\
**Trial {{ trial }} won** with {{ "%.1f" % (100 * accuracy) }} % right on the validation photos
{{- " (mean of %d fresh seeds)" % seeds if seeds > 1 else " (one fresh seed)" if seeds }}; {{ states }}.

{{ preview("Trials", "optuna_history.png") }}

The winner is [this run](#/experiments/{{ experiment_id }}/runs/{{ winner_run }}). To compare trials: the list of runs,
select, *Compare*.
"""


def search_card(
    trial: int, accuracy: float, seeds: int, states: Mapping[str, int], winner_run: str, experiment_id: str, run_id: str
) -> str:
    """Return what a search came to; ``states`` has the number of trials that are complete, pruned, and so on."""
    counts = ", ".join(f"{count} trial{'s' if count > 1 else ''} {state}" for state, count in states.items())
    return render_card(
        _SEARCH, experiment_id, run_id, trial=trial, accuracy=accuracy, seeds=seeds, states=counts,
        winner_run=winner_run,
    )  # fmt: skip
