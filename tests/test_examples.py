"""The notebook in ``examples``, run as a user would, with a small search."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.conftest import ROOT, RunIn
from tests.servers import free_port

NOTEBOOK = ROOT / "examples" / "photos_to_service.ipynb"
CHECKS = """
assert list(photos.class_counts().index) == list(photos.class_names)
assert search.model_uri == "models:/flower-classifier/1"
assert (len(search.trials), len(search.confirmations)) == (2, 1)
assert judged.metrics["accuracy"] == judged.confusion.to_numpy().trace() / len(judged.predictions)
assert repr(judged).startswith(f"EvaluationResult: {100 * judged.metrics['accuracy']:.1f} % of")
assert {"confusion_matrix", "calibration", "errors"} <= set(judged.figures)
assert judged.report.startswith("file://")
labels = [*api.predict(photo, search.model_uri)["label"], *api.load(search.model_uri).predict([photo])["label"]]
assert labels == [answer["predictions"][0]["label"]] * 2
"""


@pytest.mark.slow
def test_the_notebook_goes_from_a_folder_to_an_answer_over_http(
    project: Path, run_in: RunIn, tune_flags: dict[str, Any], photo_folder: Path
) -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    flags = {name: value for name, value in tune_flags.items() if name != "data"} | {"weights": "none"}
    parameters.source = f"PHOTOS = {str(photo_folder)!r}\nFLAGS = {flags}\nPORT = {free_port()}"
    notebook.cells.append(nbformat.v4.new_code_cell(CHECKS))
    nbformat.write(notebook, project / NOTEBOOK.name)
    run_in(project, "jupyter", "execute", "--inplace", NOTEBOOK.name)
    *_, runs, _ = nbformat.read(project / NOTEBOOK.name, 4).cells
    assert "trial-001" in runs.outputs[0].data["text/plain"]


def test_the_notebook_shows_what_came_of_it() -> None:
    cells = nbformat.read(NOTEBOOK, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    printed = "".join(str(cell.outputs) for cell in code)
    assert "Traceback" not in printed
    of_this_machine = {str(Path.home()), str(ROOT), sys.prefix, tempfile.gettempdir()}
    assert not [place for place in of_this_machine if f"{place}/" in printed]
