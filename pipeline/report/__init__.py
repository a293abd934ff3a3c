"""Tables, figures and photos -> report.html: one file that says what was tried, what won, and where it fails.

`page` knows the page and nothing of searches or evaluations; `search_report` and `evaluation_report` say what is on it,
in sections; `trial_drawings` draws the plots whose points tell about themselves; `interactive` shows Optuna's own. Does
not own what a number means (`evaluation`), nor logging.
"""

from pipeline.report.evaluation_report import EvaluationReport, evaluation_report
from pipeline.report.interactive import interactive_page
from pipeline.report.page import Page, Photo, Picture, Section, Table, render
from pipeline.report.search_report import SearchReport, search_report

__all__ = [
    "EvaluationReport",
    "Page",
    "Photo",
    "Picture",
    "SearchReport",
    "Section",
    "Table",
    "evaluation_report",
    "interactive_page",
    "render",
    "search_report",
]
