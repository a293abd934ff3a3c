"""Features of a frozen backbone: computed once, found again, never stale, and as good as computing them every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import TrainConfig, UserError
from pipeline.data.store.store import Store, prepared_store
from pipeline.models.builder import build_classifier
from pipeline.models.predict import predict_logits, probabilities_of
from pipeline.training import trainer
from pipeline.training.features import FeatureCache
from pipeline.training.loop import FitResult, fit


@pytest.fixture
def config(photo_folder: Path, small_net: None) -> TrainConfig:
    return TrainConfig(
        weights="none",
        data=str(photo_folder), image_size=32, val_fraction=0.3, epochs=3, batch_size=4, freeze_backbone=True,
        head_units=8, dropout=0.2, precision="float32", learning_rate=0.01,
    )  # fmt: skip


@pytest.fixture
def store(config: TrainConfig, tmp_path: Path) -> Store:
    return prepared_store(config, tmp_path)


def _changed(config: TrainConfig, **changes: object) -> TrainConfig:
    return TrainConfig(**config.model_dump() | changes)


def _files(store: Store) -> set[str]:
    return {path.name for path in (store.folder / "features").glob("*.npy")}


def _fit_without_cache(config: TrainConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> FitResult:
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "HeadTrainer", trainer.NetworkTrainer)
        return fit(config, store)


@pytest.mark.parametrize("augment", ["none", "strong"])
def test_training_on_features_is_training_behind_the_backbone(
    config: TrainConfig, store: Store, monkeypatch: pytest.MonkeyPatch, augment: str
) -> None:
    """Without augmentation, and with as many views as epochs, where both see the same pixels."""
    wanted = _changed(config, augment=augment)
    uncached, cached = _fit_without_cache(wanted, store, monkeypatch), fit(wanted, store)
    assert _files(store)
    columns = ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"]
    np.testing.assert_allclose(cached.history[columns], uncached.history[columns], atol=1e-4)
    np.testing.assert_allclose(cached.val_probabilities, uncached.val_probabilities, atol=1e-4)
    for left, right in zip(cached.model.get_weights(), uncached.model.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-4)


def test_the_returned_classifier_takes_pixels(config: TrainConfig, store: Store) -> None:
    result = fit(config, store)
    probabilities = probabilities_of(predict_logits(result.model, store.images("validation")))
    np.testing.assert_allclose(probabilities, result.val_probabilities, atol=1e-5)


def test_features_are_computed_once(config: TrainConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(config, store)
    files = _files(store)
    assert len(files) == 1 + config.epochs  # the validation photos, and a view of the others per epoch
    monkeypatch.setattr(FeatureCache, "_compute", None)
    assert fit(config, store).val_probabilities.tolist() == first.val_probabilities.tolist()
    other_head = _changed(config, head_units=0, learning_rate=0.1, optimizer="sgd", label_smoothing=0.1)
    fit(other_head, store)
    assert _files(store) == files


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({"augment": "none"}, 2),
        ({"feature_views": 1}, 2),
        ({"feature_views": 2}, 3),
        ({"epochs": 6}, 5),
    ],
)
def test_epochs_take_a_few_views_in_turn(
    config: TrainConfig, store: Store, changes: dict[str, object], files: int
) -> None:
    fit(_changed(config, **changes), store)
    assert len(_files(store)) == files


def test_other_weights_or_another_augmentation_get_other_features(config: TrainConfig, store: Store) -> None:
    def training_features(**changes: object) -> np.ndarray:
        wanted = _changed(config, **changes)
        return np.array(FeatureCache(lambda: build_classifier(wanted, 3), store, wanted).training(1))

    base = training_features()
    assert base.shape == (len(store.images("train")), 64)
    assert np.array_equal(training_features(), base)
    for changes in ({"seed": 1}, {"augment": "light"}, {"augment": "none"}):
        assert not np.array_equal(training_features(**changes), base)


def test_an_interrupted_computation_leaves_nothing_that_counts(
    config: TrainConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = FeatureCache(lambda: build_classifier(config, 3), store, config)
    with monkeypatch.context() as patched:
        patched.setattr(cache, "_extractor", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.validation()
    assert _files(store) == set()
    assert np.isfinite(cache.validation()).all()


@pytest.mark.parametrize("flag", ["mixup", "cutmix"])
def test_a_mix_is_of_pixels_and_so_takes_no_features(flag: str, config: TrainConfig, store: Store) -> None:
    fit(_changed(config, epochs=1, warmup_epochs=0, **{flag: 0.2}), store)
    assert not (store.folder / "features").exists()


def test_bfloat16_computes_the_training_photos_alone(config: TrainConfig, store: Store) -> None:
    classifier = build_classifier(config, 3)
    exact = FeatureCache(lambda: classifier, store, config)
    coarse = FeatureCache(lambda: classifier, store, config, "bfloat16")
    assert coarse.validation() is not exact.validation()
    np.testing.assert_array_equal(coarse.validation(), exact.validation())
    assert not np.array_equal(coarse.training(1), exact.training(1))
    np.testing.assert_allclose(coarse.training(1), exact.training(1), rtol=0.1, atol=0.02)


def test_a_head_on_known_features_needs_no_backbone(
    config: TrainConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(config, store)
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "build_classifier", None)
        result = fit(config, store)
    probabilities = probabilities_of(predict_logits(result.model, store.images("validation")))
    np.testing.assert_allclose(probabilities, result.val_probabilities, atol=1e-5)


def test_another_backbone_than_the_noted_one_is_refused_once(config: TrainConfig, store: Store) -> None:
    """Such as that of a preset whose name now means other weights."""
    FeatureCache(lambda: build_classifier(config, 3), store, config)
    other = _changed(config, seed=1)
    with pytest.raises(UserError, match="must stay the same"):
        FeatureCache(lambda: build_classifier(other, 3), store, config).training(1)
    assert FeatureCache(lambda: build_classifier(other, 3), store, config).training(1).any()
