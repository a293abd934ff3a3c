"""The gate before champion in a real registry: planted better, equal and damaged models, and two at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.__main__ import main
from pipeline.config import DamagedModel, PreprocessConfig, PromotionConfig, UserError
from pipeline.data.store.store import HeldOutPhotos, Store, prepared_store
from pipeline.models.backend import load_backend
from pipeline.promotion import decision as promotion
from pipeline.promotion import parity
from pipeline.promotion.unseen import JudgedPhotos
from pipeline.serving.classifier import About, Classifier, save_classifier
from pipeline.tracking import registry

NAME = "flower-classifier"
SIZE = 32
CLASSES = ("blue", "green", "red")
PHOTOS_PER_CLASS = 60
Plant = Callable[..., registry.Version]


@pytest.fixture(scope="module")
def many_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough photos for a test: noise in one channel brighter than in the others, half of them only a little."""
    import cv2

    folder, rng = tmp_path_factory.mktemp("many") / "photos", np.random.default_rng(0)
    for channel, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(PHOTOS_PER_CLASS):
            photo = rng.integers(0, 90, (40, 40, 3), dtype=np.uint8)
            photo[..., channel] += 20 if number % 2 else 130  # OpenCV's channels are in the order blue, green, red
            assert cv2.imwrite(str(folder / name / f"{number}.png"), photo)
    return folder


@pytest.fixture(scope="module")
def store(many_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    config = PreprocessConfig(data=str(many_photos), image_size=SIZE, test_fraction=0.5)
    return prepared_store(config, tmp_path_factory.mktemp("data"))


@pytest.fixture
def photos(store: Store) -> HeldOutPhotos:
    return store.held_out_photos()


@pytest.fixture
def plant(tracking_store: MlflowClient, store: Store, tmp_path: Path) -> Plant:
    """Return a function that registers a model which looks at the mean colour, and at the mean above a threshold."""
    load_backend()
    import keras

    def register(quality: float, **about: object) -> registry.Version:
        inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8")
        colour = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
        head = keras.layers.Dense(3, dtype="float32")
        model = keras.Model(inputs, head(colour))
        # red, green, blue -> blue, green, red; a model of low quality takes blue for the answer unless it is certain
        head.set_weights([20 * np.eye(3)[:, ::-1], np.array([quality, 0.0, 0.0])])
        config = PreprocessConfig(data=str(store.source), image_size=SIZE, test_fraction=0.5).model_dump(mode="json")
        config |= {"variant": "none", "weights": "none"}
        remembered = About(
            CLASSES, SIZE, "crop", (), store.digest, str(store.source), config, rules=store.rule_versions.changed
        )
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "classifier"
        save_classifier(folder, model, replace(remembered, **about))
        with tracking.run("train", "planted", PreprocessConfig()):
            first = next(store.source.rglob("*.png")).read_bytes()
            uri = tracking.log_classifier(folder, CLASSES, first)
        return registry.register(uri, NAME)

    return register


GOOD, POOR = 0.0, 4.0  # the bias towards blue


def _aliases(client: MlflowClient) -> dict[str, str]:
    return {alias: str(number) for alias, number in client.get_registered_model(NAME).aliases.items()}


def _decide(version: registry.Version, photos: HeldOutPhotos, **rule: object) -> promotion.Decision:
    classifier = Classifier(registry.fetch_model(version.uri).folder)
    probabilities = classifier.probabilities(photos.images)
    data = str(photos.store.source)
    judged = JudgedPhotos(photos)
    decision = promotion.decide(PromotionConfig(**rule), version, classifier.about, judged, probabilities, data)
    return promotion.carry_out(decision, version, classifier.about, photos, probabilities, tracking.environment())


@pytest.fixture
def no_fresh_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the process of the parity gate, which takes ten seconds and has tests of its own."""
    monkeypatch.setattr(promotion, "check_parity", lambda *_: 0.0)


@pytest.mark.usefixtures("no_fresh_load")
def test_only_a_better_model_takes_the_place(tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos) -> None:
    poor, equal, good = plant(POOR), plant(POOR), plant(GOOD)
    assert _decide(poor, photos).promoted  # there is none
    assert "not better" in _decide(equal, photos).reason
    assert _aliases(tracking_store) == {"champion": "1", "challenger": "3"}
    decision = _decide(good, photos)
    assert decision.promoted
    assert decision.comparison is not None
    assert decision.comparison.p_value < 0.05
    assert _aliases(tracking_store) == {"champion": "3", "previous": "1", "challenger": "3"}
    assert "it is the champion" in _decide(good, photos).reason
    assert not _decide(poor, photos).promoted
    assert _aliases(tracking_store)["champion"] == "3"


@pytest.mark.usefixtures("no_fresh_load")
def test_the_first_champion_must_know_more_than_one_answer(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos
) -> None:
    constant = plant(1000.0)  # blue, whatever it sees
    refused = _decide(constant, photos)
    assert "not proven better than always giving the same answer" in refused.reason
    assert not _decide(constant, photos, promotion="better").promoted
    assert "champion" not in _aliases(tracking_store)
    assert "for always answering" in _decide(plant(POOR), photos).reason
    assert _aliases(tracking_store)["champion"] == "2"


@pytest.mark.usefixtures("no_fresh_load")
def test_comparisons_are_counted_in_the_life_of_a_test_split(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos
) -> None:
    _decide(plant(POOR), photos)
    first, second = plant(POOR + 1), plant(POOR + 2)
    places = [_decide(version, photos).comparison for version in (first, second, first)]
    assert [comparison and comparison.place for comparison in places] == [1, 2, 1]  # the same two, asked again
    assert tracking_store.get_registered_model(NAME).tags["comparisons.split_seed_0"] == "2:1 3:1"
    third = _decide(plant(GOOD), photos)
    assert third.comparison
    assert (third.promoted, third.comparison.place) == (True, 3)


@pytest.mark.usefixtures("no_fresh_load")
def test_metrics_share_the_error_of_a_test_split(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos
) -> None:
    """Who compares the same two by one metric after the other spends as much as with other models."""
    constant, poor, worse, good = plant(1000.0), plant(POOR), plant(POOR + 1), plant(GOOD)
    refused = _decide(constant, photos, promotion_metric="macro_f1")
    assert "macro f1" in refused.reason
    assert not refused.promoted
    assert "the classes' frequencies" in _decide(poor, photos, promotion_metric="log_loss").reason  # sure and wrong
    assert _decide(poor, photos).promoted
    metrics = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "macro_f1")
    found = [_decide(worse, photos, promotion_metric=metric).comparison for metric in metrics]
    assert [comparison and comparison.place for comparison in found] == [3, 4, 5, 6, 5]
    assert [comparison and comparison.metric for comparison in found] == list(metrics)
    decision = _decide(good, photos, promotion_metric="balanced_accuracy")
    assert decision.promoted
    assert decision.comparison
    assert decision.comparison.place == 7
    assert "balanced accuracy" in decision.reason
    counted = tracking_store.get_registered_model(NAME).tags["comparisons.split_seed_0"].split()
    assert counted[:4] == ["1:none:macro_f1", "2:none:log_loss", "3:2", "3:2:balanced_accuracy"]


@pytest.mark.usefixtures("no_fresh_load")
def test_never_and_always_do_as_they_say(tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos) -> None:
    good, poor = plant(GOOD), plant(POOR)
    first = _decide(good, photos, promotion="never")
    assert (first.promoted, first.reason) == (False, "promotion=never; there was no champion before")
    assert "champion" not in _aliases(tracking_store)
    assert _decide(good, photos, promotion="always").promoted
    second = _decide(poor, photos, promotion="never")
    assert not second.promoted
    assert re.match(r"promotion=never; [\d.]+ % right against the champion's [\d.]+ % on the same ", second.reason)
    assert not _decide(poor, photos, promotion="better").promoted
    assert _decide(poor, photos, promotion="always").promoted
    assert _aliases(tracking_store)["champion"] == poor.number


@pytest.mark.usefixtures("no_fresh_load")
def test_a_champion_is_compared_on_the_photos_that_it_has_not_seen(
    plant: Plant, photos: HeldOutPhotos, tracking_store: MlflowClient, store: Store
) -> None:
    """One that remembers no photos, as of version 0.1: its split is made again, if the photos are still the same."""
    other = PreprocessConfig(data=str(store.source), image_size=SIZE, test_fraction=0.5, split_seed=1)
    theirs = prepared_store(other)
    config = other.model_dump(mode="json") | {"variant": "none", "weights": "none"}
    champion, lost = plant(POOR, data_digest=theirs.digest, config=config), plant(POOR + 1, data_digest="0" * 64)
    good = plant(GOOD)
    _decide(champion, photos, promotion="always")
    decision = _decide(good, photos, promotion="never")
    learned = theirs.manifest.loc[theirs.manifest["split"] != "test", "sha256"]
    seen = int(photos.rows["sha256"].isin(learned).sum())
    assert decision.comparison
    assert 0 < decision.comparison.photos == len(photos.rows) - seen < len(photos.rows)
    left_out = f"{seen} more test photos, which version 1, or what it started from, has seen, are left out "
    assert left_out + "(add photos, or train with the champion's split_seed=1)" in decision.notes
    tags = tracking_store.get_registered_model(NAME).tags
    assert {name for name in tags if name.startswith("comparisons")} == {
        "comparisons.split_seed_0", "comparisons.split_seed_1",
    }  # fmt: skip
    _decide(lost, photos, promotion="always")
    decision = _decide(good, photos)
    assert not decision.promoted
    assert "cannot be reproduced" in decision.reason
    assert _decide(good, photos, promotion="always").promoted


@pytest.mark.usefixtures("no_fresh_load")
def test_a_champion_of_other_pixels_is_compared_in_its_own(
    plant: Plant, photos: HeldOutPhotos, tracking_store: MlflowClient, store: Store
) -> None:
    other = PreprocessConfig(data=str(store.source), image_size=SIZE, test_fraction=0.5, resize="pad")
    config = other.model_dump(mode="json") | {"variant": "none", "weights": "none"}
    champion = plant(POOR, data_digest=prepared_store(other).digest, config=config, resize="pad")
    _decide(champion, photos)
    decision = _decide(plant(GOOD), photos)
    assert decision.promoted
    own = Classifier(registry.fetch_model(champion.uri).folder).predict(photos.files)
    assert decision.contest
    assert decision.contest.champion == pytest.approx(own[list(CLASSES)].to_numpy())


@pytest.mark.usefixtures("no_fresh_load")
def test_of_two_evaluations_at_once_one_promotes(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos
) -> None:
    """Both have compared with the same champion before either moves the alias."""
    _decide(plant(POOR), photos)
    rivals = [plant(GOOD), plant(GOOD / 2 + 0.01)]
    decided = []
    for version in rivals:
        about = Classifier(registry.fetch_model(version.uri).folder)
        answers = about.probabilities(photos.images)
        data = str(photos.store.source)
        wanted = promotion.decide(PromotionConfig(), version, about.about, JudgedPhotos(photos), answers, data)
        assert wanted.promoted
        decided.append((wanted, version, about.about, photos, answers, {}))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: promotion.carry_out(*job), decided))
    assert sorted(result.promoted for result in results) == [False, True]
    (loser,) = [result for result in results if not result.promoted]
    assert "evaluate again" in loser.reason
    winner = rivals[[result.promoted for result in results].index(True)]
    assert _aliases(tracking_store)["champion"] == winner.number
    assert _aliases(tracking_store)["previous"] == "1"


@pytest.mark.usefixtures("no_fresh_load")
def test_rollback_swaps_champion_and_previous(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos, capsys: pytest.CaptureFixture[str]
) -> None:
    first = plant(POOR)
    with pytest.raises(UserError, match="previous"):
        registry.roll_back(NAME)
    _decide(first, photos)
    _decide(plant(GOOD), photos)
    assert main(["rollback"]) == 0
    assert f"{NAME} version 1 is champion again; version 2 is previous" in capsys.readouterr().out
    assert _aliases(tracking_store) == {"champion": "1", "previous": "2", "challenger": "2"}
    _flip_a_byte(first)
    assert main(["rollback"]) == 0
    assert main(["rollback"]) == 3
    assert "SHA-256" in capsys.readouterr().err
    assert _aliases(tracking_store)["champion"] == "2"


def _flip_a_byte(version: registry.Version, name: str = "model.keras") -> None:
    file = registry.fetch_model(version.uri).folder / name
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_one_flipped_byte_is_refused_everywhere(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos, capsys: pytest.CaptureFixture[str]
) -> None:
    """By evaluate with exit code 3, and by MLflow alone, which knows no digest: the classifier looks itself."""
    _decide(plant(POOR), photos, promotion="never")
    damaged = plant(GOOD)
    _flip_a_byte(damaged)
    before = _aliases(tracking_store)
    assert main(["evaluate"]) == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "model.keras" in line
    assert "SHA-256" in line
    assert _aliases(tracking_store) == before
    (run,) = tracking_store.search_runs(["0"], "tags.stage = 'evaluate'")
    assert run.info.status == "FAILED"
    with pytest.raises(DamagedModel, match="must load in a process of its own"):
        parity.served_probabilities(damaged.uri, photos.files[:1], CLASSES, tracking.environment())


@pytest.mark.slow
def test_a_fresh_process_must_agree_with_the_evaluation(
    tracking_store: MlflowClient, plant: Plant, photos: HeldOutPhotos
) -> None:
    version = plant(GOOD)
    classifier = Classifier(registry.fetch_model(version.uri).folder)
    answers = classifier.probabilities(photos.images)
    decision = _decide(version, photos)
    assert decision.promoted
    assert decision.parity is not None
    assert decision.parity < 1e-5
    assert _aliases(tracking_store)["champion"] == "1"
    with pytest.raises(DamagedModel, match="got a difference of"):
        parity.check_parity(version.uri, photos.files, answers[:, ::-1], CLASSES, tracking.environment())


@pytest.mark.usefixtures("no_fresh_load")
def test_numbers_that_are_not_finite_are_a_damaged_model(
    tracking_store: MlflowClient, plant: Plant, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(float("nan"))
    assert main(["evaluate"]) == 3
    assert "must be finite" in capsys.readouterr().err
    assert _aliases(tracking_store) == {"challenger": "1"}


def test_digests_and_reads_are_tags(tracking_store: MlflowClient, plant: Plant) -> None:
    version = plant(GOOD)
    digests = json.loads(tracking_store.get_model_version(NAME, "1").tags["sha256"])
    assert "artifacts/classifier/model.keras" in digests
    assert any(re.fullmatch(r"code/photo_pipeline_\w+/serving/classifier.py", name) for name in digests)
    assert "MLmodel" in digests
    assert [registry.count_test_read(version) for _ in range(3)] == [1, 2, 3]
    assert registry.count_test_read(plant(POOR)) == 4
    assert tracking_store.get_model_version(NAME, "1").tags["test_reads"] == "3"
    assert tracking_store.get_registered_model(NAME).tags["test_reads"] == "4"
