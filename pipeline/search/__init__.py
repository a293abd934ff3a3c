"""The Optuna search: its space, its study and trials, what runs them, what confirms them, and what recovers them.

`tune` is the whole search; `space` and `space_file` say over what, `study` is the study, `trials` one trial,
`confirmations` the best ones again, `dispatch` runs what is missing, `recovery` and `study_lock` see to it that every
trial is finished once, whatever dies, `progress` and `study_plots` show it. The only package that knows Optuna. Does
not own a single training (`experiment`).
"""

from pipeline.search.tune import SearchResult, preload_trials, resolve_search, run_search

__all__ = ["SearchResult", "preload_trials", "resolve_search", "run_search"]
