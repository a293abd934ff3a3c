"""The commands as functions: the flags' rules; the notebook of ``examples`` calls them all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline import api
from pipeline.config import TrainConfig
from pipeline.experiment import TrainingResult
from pipeline.training import Epoch


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: api.train("photos", lerning_rate=0.1), "lerning_rate (did you mean learning_rate?)"),
        (lambda: api.tune("photos", xyz=1), "got xyz (see python -m pipeline tune --help)"),
        (lambda: api.train("photos", learning_rate=-1), "learning_rate must be greater than 0, got '-1'"),
        (lambda: api.tune("photos", variants=["resnet9"]), "variants"),
        (lambda: api.predict([]), "photos must name files"),
    ],
)
def test_a_mistake_is_the_sentence_of_the_command_line(call: Any, said: str) -> None:
    with pytest.raises(api.UserError, match=r"^[^\n]*$") as error:
        call()
    assert said in str(error.value)


def test_keywords_are_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken: list[TrainConfig] = []
    monkeypatch.setattr("pipeline.commands.train.run", taken.append)
    api.train(tmp_path, classes=["a", "b"], freeze_backbone=True, learning_rate=1e-4, recipe="quick")
    (config,) = taken
    assert (config.data, config.classes) == (str(tmp_path), ("a", "b"))
    assert (config.freeze_backbone, config.learning_rate) == (True, 1e-4)
    assert (config.width, config.augment) == (0.5, "light")  # as the recipe has them


def test_a_result_shows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = Epoch(2, 0.5, 0.8, 0.6, 0.75, 1e-3, 100.0)
    table = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.5, 0.75]})
    result = TrainingResult(
        "models:/m/1", "run", best, table, table, figures={"<history>": Figure()}, report="file:///r"
    )
    assert repr(result) == "TrainingResult: 75.0 % of the validation photos right after epoch 2: models:/m/1"
    page = result._repr_html_()
    assert '<a href="file:///r">' in page
    monkeypatch.chdir(tmp_path)
    here = dataclasses.replace(result, report=(tmp_path / "reports" / "a b.html").as_uri())
    assert '<a href="reports/a%20b.html">' in here._repr_html_()  # Jupyter's pages open no other files
    assert 'alt="&lt;history&gt;"' in page
    assert "data:image/png;base64,iVBOR" in page
