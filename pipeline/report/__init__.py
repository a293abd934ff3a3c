"""Tables, figures and photos -> report.html: one file that shows what was tried, what won, and where it fails.

`page` renders the page and knows nothing of searches or evaluations; `search_report`, `evaluation_report` and
`ablation_report` build its sections; `trial_drawings` draws the plots with tooltips, `inline_svg` puts figures into the
page; `interactive` shows Optuna's own plots; `result` is what a command returns to a program. Does not own the meaning
of a metric (`evaluation`), nor logging.
"""

from pipeline.report.ablation_report import AblationReport, ablation_report
from pipeline.report.evaluation_report import EvaluationReport, evaluation_report
from pipeline.report.interactive import interactive_page
from pipeline.report.page import Page, Photo, Picture, Section, Table, render
from pipeline.report.result import Result
from pipeline.report.search_report import SearchReport, search_report, searched_flags

__all__ = [
    "AblationReport", "EvaluationReport", "Page", "Photo", "Picture", "Result", "SearchReport", "Section", "Table",
    "ablation_report", "evaluation_report", "interactive_page", "render", "search_report", "searched_flags",
]  # fmt: skip
