"""Tables, figures and photos -> report.html: one file that says what was tried, what won, and where it fails.

`page` knows the page and nothing of searches or tests; `of_search` and `of_test` say what is on it, in sections;
`trials` draws the plots whose points tell about themselves.
"""

from pipeline.report.interactive import interactive_page
from pipeline.report.search_report import SearchReport, search_report
from pipeline.report.evaluation_report import TestReport, test_report
from pipeline.report.page import Page, Photo, Picture, Section, Table, render

__all__ = [
    "Page",
    "Photo",
    "Picture",
    "SearchReport",
    "Section",
    "Table",
    "TestReport",
    "interactive_page",
    "render",
    "search_report",
    "test_report",
]
