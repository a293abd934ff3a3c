"""The exact permutation test: what enumeration says, whatever the metric, and no more false findings than its level."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import bdtrc, softmax
from scipy.stats import binom

from pipeline.evaluation import compare, compare_with_baseline, metric_value, rejection_reason
from pipeline.evaluation.paired_test import LOWER_IS_BETTER, TERMS, exact_p_value, improvement, paired_p_value

NAMES = ("daisy", "roses", "tulips", "lilies")
LABELS = np.repeat(np.arange(4), [60, 30, 20, 10])
ALONE = np.arange(len(LABELS))
OTHERS = [metric for metric in TERMS if metric != "accuracy"]


def _models(rng: np.random.Generator, first: float = 1.5, second: float = 1.5) -> list[np.ndarray]:
    return [
        softmax(signal * np.eye(4)[LABELS] + rng.normal(size=(len(LABELS), 4)), axis=1) for signal in (first, second)
    ]


def test_all_ways_to_swap_are_counted() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 5, 12):
        terms = rng.normal(0.2, 1, count)
        signs = np.array(list(itertools.product([1, -1], repeat=count)))
        expected = (signs @ np.abs(terms) >= terms.sum() - 1e-9).mean()
        assert exact_p_value(terms) == pytest.approx(expected, abs=0.002)


def test_terms_of_one_size_give_mcnemars_test() -> None:
    terms = np.repeat([1.0, -1.0, 0.0], [70, 45, 600]) / 715
    assert paired_p_value(terms, np.arange(715)) == pytest.approx(bdtrc(69, 115, 0.5), rel=1e-6)
    assert paired_p_value(np.zeros(5), np.arange(5)) == 1
    assert paired_p_value(np.ones(40), np.arange(40)) == pytest.approx(0.5**40, rel=0.5)
    assert paired_p_value(np.ones(40), np.arange(40) // 10) == pytest.approx(1 / 16)  # swapped as one


def test_who_gains_little_on_many_photos_and_loses_much_on_few_is_not_found_better_too_often() -> None:
    """Equal on average: 1 is lost on one photo of 100, and 1/99 gained on each of the others."""
    rng, tries, level = np.random.default_rng(5), 400, 0.05 / 6
    drawn = [np.where(rng.random(300) < 0.01, -1.0, 1 / 99) for _ in range(tries)]
    seldom = [terms for terms in drawn if 0 < (terms < 0).sum() < 3]
    assert np.mean([exact_p_value(terms) < level for terms in seldom]) > 0.2
    assert not any(paired_p_value(terms, np.arange(300)) < level for terms in seldom)
    certain = np.r_[np.full(2000, 0.3), -1.0]
    assert paired_p_value(certain, np.arange(len(certain))) < 1e-6  # what is beyond doubt stays


@pytest.mark.parametrize("metric", TERMS)
def test_the_terms_add_up_to_what_the_metric_differs_by(metric: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        models = _models(rng, 1.8)
        difference = improvement(metric, *(metric_value(metric, LABELS, model) for model in models))
        terms = TERMS[metric](LABELS, *models)
        assert terms.sum() == pytest.approx(difference, rel=0.05 if metric == "macro_f1" else 1e-9, abs=1e-4)
        assert TERMS[metric](LABELS, *models[::-1]) == pytest.approx(-terms)


@pytest.mark.parametrize("metric", OTHERS)
def test_of_equal_models_no_more_are_found_better_than_the_level_says(metric: str) -> None:
    rng, tries = np.random.default_rng(2), 300
    found = [paired_p_value(TERMS[metric](LABELS, *_models(rng)), ALONE) for _ in range(tries)]
    for level in (0.05, 0.2):
        expected = binom.ppf([0.001, 0.999], tries, level)
        assert expected[0] <= np.sum(np.array(found) < level) <= expected[1]


@pytest.mark.parametrize("metric", OTHERS)
def test_a_better_model_is_promoted_by_each_metric_and_the_worse_is_not(metric: str) -> None:
    better, worse = _models(np.random.default_rng(3), 6, 1)
    found = compare(LABELS, better, worse, ALONE, NAMES, 1, metric)
    assert rejection_reason(found, "significant", 0.05) == ""
    assert found.difference_low > 0
    assert found.difference == pytest.approx(improvement(metric, found.challenger_value, found.champion_value))
    assert metric.replace("_", " ") in found.description
    back = compare(LABELS, worse, better, ALONE, NAMES, 1, metric)
    assert "it is not better" in rejection_reason(back, "better", 1)
    assert back.difference == pytest.approx(-found.difference)


def test_the_metrics_disagree_where_they_should() -> None:
    """One model has more photos right, the other more classes; and one knows what it does not know."""
    large, small = LABELS.copy(), LABELS.copy()
    large[110:], small[:20] = 0, 1  # the rarest class missed, or twice as many photos of the largest
    models = [0.02 + 0.92 * np.eye(4)[answers] for answers in (small, large)]
    found = {metric: compare(LABELS, *models, ALONE, NAMES, 1, metric).difference for metric in TERMS}
    assert found["accuracy"] < 0 < found["balanced_accuracy"]
    sure, unsure = np.eye(4)[large], 0.1 + 0.6 * np.eye(4)[large]
    by_loss = compare(LABELS, unsure, sure, ALONE, NAMES, 1, "log_loss")
    assert (by_loss.difference > 0, by_loss.challenger_accuracy) == (True, by_loss.champion_accuracy)
    assert by_loss.p_value < 0.01


def test_a_difference_of_rounding_is_none() -> None:
    """The same number of photos of a class, but others: sums of 1/60 and 1/30 in another order."""
    ours, theirs = LABELS.copy(), LABELS.copy()
    ours[[0, 61]], theirs[[5, 70]] = 3, 3
    models = [0.1 + 0.6 * np.eye(4)[answers] for answers in (ours, theirs)]
    assert rejection_reason(compare(LABELS, *models, ALONE, NAMES, 1, "balanced_accuracy"), "better", 1) != ""


@pytest.mark.parametrize("metric", OTHERS)
def test_the_baseline_of_each_metric_is_the_best_answer_for_all_photos(metric: str) -> None:
    shares = np.bincount(LABELS) / len(LABELS)
    constant = np.tile(shares, (len(LABELS), 1))
    useless = compare_with_baseline(LABELS, constant, NAMES, metric)
    assert useless.improvement == pytest.approx(0, abs=1e-9)
    assert useless.p_value > 0.5
    rng = np.random.default_rng(4)
    for answer in [*np.eye(4), *rng.dirichlet(np.ones(4), 20)]:
        value = metric_value(metric, LABELS, np.tile(answer, (len(LABELS), 1)))
        assert improvement(metric, value, useless.baseline_value) <= 1e-9
    useful = compare_with_baseline(LABELS, _models(rng, 4)[0], NAMES, metric)
    assert useful.is_beaten
    of = "for always answering " + ("the classes' frequencies" if metric in LOWER_IS_BETTER else "daisy")
    assert of in useful.description
