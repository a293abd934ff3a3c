"""The card of a search: who won, and what became of the trials."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiment import render_card

_SEARCH = """\
**Trial {{ trial }} won** with {{ result }} on the validation photos
{{- " (mean of %d fresh seeds)" % seeds if seeds > 1 else " (one fresh seed)" if seeds }}; {{ states }}.

{{ preview("Trials", "optuna_history.png") }}

The winner is [this run](#/experiments/{{ experiment_id }}/runs/{{ winner_run }}). To compare trials: open the list of
runs, select some, press *Compare*.
"""


def search_card(
    trial: int, result: str, seeds: int, states: Mapping[str, int], winner_run: str, experiment_id: str, run_id: str
) -> str:
    """Return what a search came to.

    Args:
        trial: the winner.
        result: its value, such as "82.8 % right".
        seeds: of which it is the mean.
        states: the number of trials that are complete, pruned, and so on.
        winner_run: of the winner.
        experiment_id: of the runs.
        run_id: of the search.
    """
    counts = ", ".join(f"{count} trial{'s' if count > 1 else ''} {state}" for state, count in states.items())
    return render_card(
        _SEARCH, experiment_id, run_id, trial=trial, result=result, seeds=seeds, states=counts,
        winner_run=winner_run,
    )  # fmt: skip
