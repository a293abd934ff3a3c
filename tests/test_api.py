"""The commands as functions: the flags' rules, and a life of a model in a script as a user writes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline import api
from pipeline.config import TrainConfig
from pipeline.experiment import TrainingResult
from pipeline.training import Epoch
from tests.conftest import RunIn

SCRIPT = """
import json
import sys
from pipeline import api

def main():
    data, photo, flags = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    photos = api.prepare(data, image_size=32)
    search = api.tune(data, **flags)
    judged = api.evaluate(search.model_uri, promotion="better")
    answers = api.predict(photo)
    direct = api.load(search.model_uri).predict([photo])
    print("RESULT " + json.dumps({
        "classes": photos.class_names, "model_uri": search.model_uri, "trials": len(search.trials),
        "confirmations": len(search.confirmations), "html": search._repr_html_()[:2000], "text": repr(judged),
        "accuracy": judged.metrics["accuracy"], "right": int(judged.confusion.to_numpy().trace()),
        "tested": len(judged.predictions), "promoted": judged.promoted, "figures": sorted(judged.figures),
        "labels": [*answers["label"], *direct["label"]], "report": judged.report,
    }))

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_a_script_prepares_tunes_evaluates_and_predicts(
    project: Path, run_in: RunIn, tune_flags: dict[str, Any], photo_folder: Path
) -> None:
    (project / "script.py").write_text(SCRIPT)
    photo = next(photo_folder.glob("*/*.png"))
    flags = {name: value for name, value in tune_flags.items() if name != "data"} | {"weights": "none"}
    done = run_in(project, sys.executable, "script.py", str(photo_folder), str(photo), json.dumps(flags))
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))[7:])
    assert result["model_uri"] == "models:/flower-classifier/1"
    assert (result["trials"], result["confirmations"]) == (2, 1)
    assert result["accuracy"] == result["right"] / result["tested"]
    assert result["text"].startswith(f"EvaluationResult: {100 * result['accuracy']:.1f} % of {result['tested']} test")
    assert result["promoted"] == ("is now champion" in done.stdout)
    assert {"confusion_matrix", "calibration", "errors"} <= set(result["figures"])
    assert result["labels"][0] == result["labels"][1] in result["classes"]
    assert "<table" in result["html"]
    assert result["report"].startswith("file://")


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


def test_a_result_shows_itself() -> None:
    best = Epoch(2, 0.5, 0.8, 0.6, 0.75, 1e-3, 100.0)
    table = pd.DataFrame({"epoch": [1, 2], "val_accuracy": [0.5, 0.75]})
    result = TrainingResult(
        "models:/m/1", "run", best, table, table, figures={"<history>": Figure()}, report="file:///r"
    )
    assert repr(result) == "TrainingResult: 75.0 % of the validation photos right after epoch 2: models:/m/1"
    page = result._repr_html_()
    assert '<a href="file:///r">' in page
    assert 'alt="&lt;history&gt;"' in page
    assert "data:image/png;base64,iVBOR" in page
