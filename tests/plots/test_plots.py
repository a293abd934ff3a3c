"""Every figure draws without a warning, fits its canvas, says what it should, and leaves no global state."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy.special import softmax

from pipeline import evaluation, plots
from pipeline.config import OBJECTIVES
from pipeline.plots import style

pytestmark = pytest.mark.filterwarnings("error")

CLASS_NAMES = {
    "two": ["cat", "dog"],
    "five": ["daisy", "dandelion", "roses", "sunflowers", "tulips"],
    "forty": [f"species {index}" for index in range(40)],
    "long": [f"{'a very long class name ' * 5}{index}" for index in range(7)],
    "odd": ["$x_1$", "a $ b", "100 % {cotton}", "_private", "line\nbreak", "Löwenzahn"],
}


@pytest.fixture(params=CLASS_NAMES)
def names(request) -> list[str]:
    return CLASS_NAMES[request.param]


def _photos(count: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(count).integers(256, size=(count, size, size, 3), dtype=np.uint8)


def _predictions(names: list[str], photos: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(len(names), size=photos)
    logits = 2 * rng.normal(size=(photos, len(names))) + 4 * np.eye(len(names))[labels]
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def _history(epochs: int, **columns: object) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    history = {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "val_loss": 1.2 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "val_accuracy": 0.9 - 0.4 / epoch,
        "learning_rate": 1e-3 * 0.9**epoch,
    }
    return pd.DataFrame(history | columns)


def _trials(values: list[float], states: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"number": range(len(values)), "value": values, "state": states})


def _check(figure: Figure, least: int = 850, most: int = 1600) -> list[str]:
    """Render the figure, check its width and that nothing is cut off at its border, and return its texts."""
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert least <= pixels.shape[1] <= most
    for border in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert (border == 255).all()
    return [_text(text) for text in figure.findobj(Text)]


def _text(text: Text) -> str:
    return text.get_text().replace("\N{NO-BREAK SPACE}", " ")


def test_confusion_shows_counts_and_shares(names):
    labels, probabilities = _predictions(names)
    table = evaluation.confusion_table(labels, probabilities.argmax(axis=1), names)
    texts = _check(plots.draw_confusion(table, "Confusion"))
    assert {"Confusion", "True class", "Predicted class", "Share of the true class"} <= set(texts)
    cells = [text for text in texts if text.endswith(" %") and "\n" in text]
    assert sum(int(cell.split("\n")[0]) for cell in cells) == len(labels)


def test_confusion_rows_are_true_classes():
    table = pd.DataFrame([[8, 2], [0, 0]], index=["a", "b"], columns=["a", "b"])
    axes = plots.draw_confusion(table, "Confusion").axes[0]
    cells = {(round(text.get_position()[0] - 0.5), round(text.get_position()[1] - 0.5)): text for text in axes.texts}
    assert _text(cells[0, 0]) == "8\n80.0 %"
    assert _text(cells[1, 0]) == "2\n20.0 %"
    assert axes.get_ylim() == (2, 0)


@pytest.mark.parametrize("classes", [1, 40])
def test_confusion_scales(classes):
    table = pd.DataFrame(np.eye(classes, dtype=int), index=range(classes), columns=range(classes))
    texts = _check(plots.draw_confusion(table, "Confusion"))
    assert sum("\n" in text for text in texts) == classes


def test_of_many_classes_the_most_confused_are_drawn():
    counts = 9 * np.eye(200, dtype=int)
    counts[150, 7], counts[20, 30], counts[21, 20] = 5, 4, 3
    table = pd.DataFrame(counts, index=[f"class {n}" for n in range(200)], columns=[f"class {n}" for n in range(200)])
    texts = _check(plots.draw_confusion(table, "Confusion"))
    assert {"class 7", "class 20", "class 21", "class 30", "class 150"} <= set(texts)
    assert "class 8" not in texts
    assert any("the 5 most confused of 200 classes" in text for text in texts)
    assert any(text.startswith("5\n35.7") for text in texts)  # of all 14 photos of the class
    texts = _check(plots.draw_confusion_difference(table - np.eye(200, dtype=int), "Difference"))
    assert any("5 of 200 classes that changed most" in text for text in texts)


def test_of_many_classes_the_largest_and_the_smallest_are_counted():
    table = pd.DataFrame({"train": range(1, 1001), "validation": 1, "test": 1}, index=[f"c{n}" for n in range(1000)])
    figure = plots.draw_class_counts(table, "Counts")
    texts = _check(figure)
    assert {"c0", "c24", "c975", "c999"} <= set(texts)
    assert not {"c25", "c974"} & set(texts)
    assert "25 largest and the 25 smallest of 1,000 classes" in " ".join(figure.get_suptitle().split())


def test_of_many_classes_the_weakest_scores_are_drawn():
    names = [f"c{n}" for n in range(60)]
    scores = np.linspace(1, 0, 60)
    index = [f"{score} {name}" for score in ("precision", "recall", "f1") for name in names]
    intervals = pd.DataFrame({"value": [*scores, *scores, *scores]}, index=index).assign(low=0.0, high=1.0)
    per_class = pd.DataFrame({"f1": scores, "support": 3}, index=names)
    texts = _check(plots.draw_per_class(intervals, per_class, "Classes"))
    assert "c59 (3)" in texts
    assert "c30 (3)" not in texts


def test_confusion_difference_says_every_sign(names):
    labels, probabilities = _predictions(names)
    predicted = probabilities.argmax(axis=1)
    tables = [evaluation.confusion_table(labels, answers, names) for answers in (predicted, np.roll(predicted, 1))]
    difference = evaluation.confusion_difference(*tables)
    texts = _check(plots.draw_confusion_difference(difference, "Difference"))
    cells = [text for text in texts if text[:1] in "+-" and text[1:].isdigit()]
    assert sorted(map(int, cells)) == sorted(difference.to_numpy()[difference.to_numpy() != 0])


def test_confusion_difference_of_equal_models_is_blank():
    zeros = pd.DataFrame(np.zeros((3, 3), int), index=[*"abc"], columns=[*"abc"])
    assert not plots.draw_confusion_difference(zeros, "Difference").axes[0].texts


def test_per_class_names_classes_and_their_photos(names):
    labels, probabilities = _predictions(names)
    intervals = evaluation.interval_table(labels, probabilities, np.arange(len(labels)), names)
    per_class = evaluation.per_class_table(labels, probabilities, names)
    texts = _check(plots.draw_per_class(intervals, per_class, "Classes"))
    assert {"precision", "recall", "F1"} <= set(texts)
    assert sum(text.endswith(")") and "(" in text for text in texts) >= len(names)


@pytest.mark.parametrize("corruptions", [["blur"], list(evaluation.CORRUPTIONS)])
def test_corruptions_have_a_panel_each(corruptions):
    rows = [{"corruption": "none", "strength": 0, "accuracy": 0.9, "low": 0.85, "high": 0.95, "photos": 200}]
    rows += [
        {"corruption": name, "strength": strength, "accuracy": 0.9 - strength / 10, "low": 0.1, "high": 0.9}
        for name in corruptions
        for strength in range(1, 6)
    ]
    texts = _check(plots.draw_corruptions(pd.DataFrame(rows), "Corruptions"))
    assert set(corruptions) <= set(texts)


@pytest.mark.parametrize("photos", [1, 400])
def test_coverage_says_the_accuracy_of_all(photos):
    labels, probabilities = _predictions(CLASS_NAMES["five"], photos)
    texts = _check(plots.draw_coverage(evaluation.coverage_table(labels, probabilities), "Coverage"))
    accuracy = 100 * (probabilities.argmax(axis=1) == labels).mean()
    assert f"{accuracy:.1f} % of all {photos}" in texts


@pytest.mark.parametrize("epochs", [1, 2, 30, 300])
def test_history_marks_the_best_epoch(epochs):
    values = np.linspace(0.2, 0.8, epochs)
    values[epochs // 2] = 0.876
    texts = _check(plots.draw_history(_history(epochs, val_accuracy=values), "History"))
    assert f"Best validation accuracy 87.6 %, epoch {epochs // 2 + 1}" in texts
    assert f"Validation loss {1.2 / (epochs // 2 + 1):.3f} at the best epoch" in texts


def test_history_marks_the_epoch_of_the_objective_and_of_equal_ones_that_of_the_lowest_loss():
    history = _history(4, val_accuracy=np.array([0.7, 0.9, 0.8, 0.9]), val_loss=np.array([1.0, 0.5, 0.3, 0.4]))
    history["val_macro_f1"] = [0.6, 0.5, 0.4, 0.3]
    assert "Best validation accuracy 90.0 %, epoch 4" in _check(plots.draw_history(history, "History"))
    texts = _check(plots.draw_history(history, "History", OBJECTIVES["val_loss"]))
    assert {"Best validation loss 0.300, epoch 3", "Validation accuracy 80.0 % at the best epoch"} <= set(texts)
    texts = _check(plots.draw_history(history, "History", OBJECTIVES["val_macro_f1"]))
    assert {"Best validation macro F1 60.0 %, epoch 1", "validation macro F1"} <= set(texts)


@pytest.mark.parametrize(
    "columns", [{"val_accuracy": np.nan, "val_loss": np.nan}, {"learning_rate": 0.0}, {"val_loss": np.inf}]
)
def test_history_of_a_training_that_went_wrong_is_drawn(columns):
    _check(plots.draw_history(_history(4, **columns), "History"))


def test_class_counts_name_every_number(names):
    counts = np.arange(3 * len(names)).reshape(-1, 3) * 1001
    table = pd.DataFrame(counts, index=names, columns=["train", "validation", "test"])
    texts = _check(plots.draw_class_counts(table, "Counts"))
    for row in counts:
        assert f"  {row[0]:,} + {row[1]:,} + {row[2]:,} = {row.sum():,}" in texts


@pytest.mark.parametrize("classes", [2, 40])
def test_reliability_says_the_error(classes):
    labels, probabilities = _predictions(CLASS_NAMES["forty"][:classes])
    table = evaluation.reliability_table(labels, probabilities)
    before = evaluation.reliability_table(labels, softmax(2 * np.log(probabilities), axis=1))
    texts = _check(plots.draw_reliability(table, 0.0321, "Calibration", before))
    assert "without the temperature" in texts
    assert "Calibration · ECE 3.2 %" in texts


def test_reliability_draws_only_full_bins():
    table = evaluation.reliability_table(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    above, below = plots.draw_reliability(table, 0.1, "Calibration").axes
    assert len(above.patches) == len(below.patches) == 3


def test_trials_tell_finished_pruned_and_failed_apart():
    values = [0.5, 0.4, np.nan, 0.8, 0.7, 0.9]
    states = ["COMPLETE", "pruned", "fail", "TrialState.COMPLETE", "complete", "pruned"]
    figure = plots.draw_trials(_trials(values, states), "Search")
    assert {"3 finished", "2 pruned", "1 failed", "best: trial 3 with 80.0 %"} <= set(_check(figure))
    curve = next(line for line in figure.axes[0].lines if line.get_label() == "best so far")
    assert list(curve.get_ydata()) == [0.5, 0.8, 0.8, 0.8]
    assert list(curve.get_xdata()) == [0, 3, 4, 5]


@pytest.mark.parametrize("table", [_trials([0.5], ["COMPLETE"]), _trials([np.nan], ["FAIL"]), _trials([], [])])
def test_few_trials_are_drawn(table):
    _check(plots.draw_trials(table, "Search"))


def test_samples_have_a_row_per_class_and_a_heading_per_split(names):
    splits = ("test", "train", "validation")
    images = {(split, name): _photos(3) for name in names for split in splits}
    figure = plots.draw_samples(images, "Samples")
    assert {"Train", "Validation", "Test"} <= set(_check(figure))
    assert [axes.get_title() for axes in figure.axes] == ["Train", "Validation", "Test"]
    assert len(figure.axes[0].get_yticks()) == min(len(names), 25)


def test_samples_land_in_their_own_row_and_column():
    images = {
        ("train", name): np.full((index + 1, 50, 50, 3), 100 * index, np.uint8) for index, name in enumerate("ab")
    }
    shown = plots.draw_samples(images | {("test", "b"): _photos(0)}, "Samples").axes[0].images[0].get_array()[..., :3]
    assert shown.shape == (104, 104, 3)
    assert (shown[:50, :50] == 0).all()
    assert (shown[52:102, 52:102] == 100).all()
    assert (shown[:52, 52:] == 255).all()


def test_many_classes_of_samples_are_cut_and_said_to_be():
    figure = plots.draw_samples({("train", str(index)): _photos(1, 4) for index in range(120)}, "Samples")
    assert "the first 25 of 120 classes" in figure.get_suptitle()


@pytest.mark.parametrize("kind", ["five", "long", "odd"])
def test_errors_show_the_most_confident_first(kind):
    names = CLASS_NAMES[kind]
    labels, probabilities = _predictions(names)
    table = evaluation.prediction_table([""] * len(labels), labels, probabilities, names)
    figure = plots.draw_errors(_photos(len(labels)), table, "Errors")
    _check(figure)
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_title()]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    shares = [int(_text(axes.title).split()[-2]) for axes in figure.axes if axes.get_title()]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == min(24, (~table["correct"]).sum())


def test_errors_are_captioned_with_both_classes_and_matched_with_their_photo():
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.97, 0.03], [0.6, 0.4]])
    table = evaluation.prediction_table(["a", "b", "c"], labels, probabilities, ["daisy", "rose"])
    images = _photos(3)
    first, second = plots.draw_errors(images, table, "Errors").axes
    assert _text(first.title) == "rose → daisy 97 %"
    np.testing.assert_array_equal(first.images[0].get_array()[..., :3], images[1])
    part = plots.draw_errors(images[2:], table.iloc[2:], "Errors").axes[0]
    np.testing.assert_array_equal(part.images[0].get_array()[..., :3], second.images[0].get_array()[..., :3])


def test_no_errors_say_so():
    table = evaluation.prediction_table(["a"], np.array([0]), np.array([[0.9, 0.1]]), ["daisy", "rose"])
    assert "No errors. Photos checked: 1" in _check(plots.draw_errors(_photos(1), table, "Errors"))


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_heat_maps_stand_beside_their_photos(count):
    photos, heat = _photos(count), np.random.default_rng(0).random((count, 16, 16), dtype=np.float32)
    figure = plots.draw_heat_maps(photos, heat, [f"{'caption ' * 9}{index}" for index in range(count)], "Heat")
    _check(figure)
    for axes, photo in zip(figure.axes, photos, strict=False):
        assert axes.images[0].get_array().shape == (16, 32, 4)
        np.testing.assert_array_equal(axes.images[0].get_array()[:, :16, :3], photo)


@given(st.text(max_size=400))
@settings(max_examples=200)
def test_plain_text_is_never_mathematics(text):
    from matplotlib.cbook import is_math_text

    shown = style.escape_text(text, 30)
    assert not is_math_text(shown)
    assert len(shown.replace(r"\$", "$")) <= 30


def test_long_titles_are_wrapped():
    figure = plots.draw_trials(_trials([0.5, 0.6], ["COMPLETE"] * 2), "trial resnet18_vd adamw " * 8)
    _check(figure)
    assert "\n" in figure.get_suptitle()


def test_figures_are_not_registered_globally():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    plots.draw_confusion(pd.DataFrame(np.eye(2, dtype=int), list("ab"), list("ab")), "Confusion")
    plots.draw_history(_history(3), "History")
    assert pyplot.get_fignums() == before


def test_tables_and_plots_import_nothing_heavy():
    heavy = "{'tensorflow', 'keras', 'mlflow', 'seaborn'}"
    code = f"import sys, pipeline.evaluation, pipeline.plots; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
