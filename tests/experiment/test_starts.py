"""What ``weights=auto`` comes to: resolved once, recorded, and kept while networks come and go."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import tracking
from pipeline.ablation.ablate import _with_one_start
from pipeline.ablation.plan import plan_trainings, trainings_from_auto
from pipeline.commands import suspects, train
from pipeline.config import (
    PRETRAINED_SIZE_PX,
    AblateConfig,
    PreprocessConfig,
    SuspectsConfig,
    TrainConfig,
    TuneConfig,
    UserError,
    weights_by_variant,
)
from pipeline.experiment import begun_tags, resolve_start, training_key, unusual_structure
from pipeline.experiment.chosen import expected_size
from pipeline.models.builder import build_classifier
from pipeline.models.weights.library import own_folder
from pipeline.search.study import study_name
from tests.fake_hub import SCALING, save_small_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_preset(tmp_path_factory.mktemp("preset") / "small")


def _resolve(config: TrainConfig, stage: str = "train") -> TrainConfig:
    return resolve_start(config, stage, [config.variant], unusual_structure(config))


def _bring(preset: Path, *variants: str) -> None:
    for variant in variants:
        shutil.copytree(preset, own_folder(variant))


@pytest.mark.parametrize("flags", [{}, {"width": 0.5}, {"stem": "deep"}, {"skip_connections": False}])
def test_what_comes_to_random_weights_is_the_training_of_before(
    flags: dict[str, object], tracking_store: MlflowClient, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if flags:  # so that there are some, for a network of another structure
        _bring(preset, "resnet18")
    typed = TrainConfig(**flags)
    assert typed.weights == "auto"
    resolved = _resolve(typed)
    assert resolved == TrainConfig(**{"weights": "none"} | flags)
    assert training_key(resolved) == training_key(TrainConfig(**{"weights": "none"} | flags))
    printed = capsys.readouterr().out
    assert printed.startswith("weights=auto: random weights: ")
    assert printed.count("\n") == 1
    assert (next(iter(flags)) in printed) if flags else ("python -m pipeline weights" in printed)


def test_what_is_there_is_named_by_its_checksum(
    tracking_store: MlflowClient, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _bring(preset, "resnet18")
    resolved = _resolve(TrainConfig())
    place, _, digest = resolved.weights.partition("#sha256=")
    assert (place, len(digest)) == (str(own_folder("resnet18")), 64)
    assert training_key(resolved) != training_key(TrainConfig(weights="none"))
    assert "ImageNet weights of resnet18" in capsys.readouterr().out
    for weights in ("none", "imagenet", "hf://timm/resnet18.a1_in1k"):
        assert _resolve(TrainConfig(weights=weights)).weights == weights
    for weights in ("models:/a@b", "imagnet", "no/such.pth"):
        with pytest.raises(UserError, match=re.escape(repr(weights))):
            _resolve(TrainConfig(weights=weights))


def test_the_size_suits_the_weights(
    tracking_store: MlflowClient, preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected_size(PreprocessConfig()).image_size == _resolve(TrainConfig()).image_size == 64
    _bring(preset, "resnet18")
    assert expected_size(PreprocessConfig()).image_size == _resolve(TrainConfig()).image_size == PRETRAINED_SIZE_PX
    assert "image_size: 160 px, for pre-trained weights" in capsys.readouterr().out
    assert _resolve(TrainConfig(weights="none")).image_size == 64
    for size in (64, 96):  # typed
        assert expected_size(PreprocessConfig(image_size=size)).image_size == size
        assert _resolve(TrainConfig(image_size=size)).image_size == size
    network = build_classifier(TrainConfig(weights="none", width=0.01, image_size=96), classes=3)
    network.save(tmp_path / "small.keras")
    assert _resolve(TrainConfig(weights=str(tmp_path / "small.keras"))).image_size == 96
    (tmp_path / "broken.keras").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"a network that Keras can read, got .*broken\.keras"):
        _resolve(TrainConfig(weights=str(tmp_path / "broken.keras")))
    with pytest.raises(UserError, match="start_size must be at most image_size, got 96 for 64"):
        _resolve(TrainConfig(start_size=96, width=0.5))


@pytest.mark.parametrize("weights", ["auto", "imagenet"])
def test_what_was_stopped_when_flags_had_defaults_goes_on_with_those(
    weights: str, tracking_store: MlflowClient, preset: Path
) -> None:
    _bring(preset, "resnet18")
    typed = TrainConfig(data="photos", weights=weights)
    defaults = {"image_size": 64, "epochs": 16, "head_epochs": 0, "unfreeze_lr_factor": 0.1}
    former = _resolve(TrainConfig(data="photos", weights=weights, **defaults))
    before = TrainConfig(**typed.model_dump() | defaults)
    tags = begun_tags(before, former)
    with pytest.raises(KeyboardInterrupt), tracking.run("train", "name", former, tags, training=training_key(former)):
        raise KeyboardInterrupt
    assert _resolve(typed) == former
    assert _resolve(TrainConfig(data="others", weights=weights)).image_size == PRETRAINED_SIZE_PX


def test_a_search_has_a_table_and_each_training_its_own_part(tracking_store: MlflowClient, preset: Path) -> None:
    _bring(preset, "resnet18", "resnet18_vd")
    typed = TuneConfig(variants=("resnet18", "resnet18_v2", "resnet18_vd"))
    resolved = resolve_start(typed, "tune", typed.variants)
    table = weights_by_variant(resolved.weights)
    assert table.keys() == {"resnet18", "resnet18_vd"}
    for variant, address in table.items():
        assert resolved.train_config(variant=variant).weights == address
    names = {study_name(TuneConfig(weights=weights), "digest") for weights in (resolved.weights, "none", "imagenet")}
    assert len(names) == 3


@pytest.mark.parametrize("brought", [("resnet18",), ("resnet18", "resnet34")])
def test_an_ablation_has_one_start_for_all_factors(
    brought: tuple[str, ...], tracking_store: MlflowClient, preset: Path
) -> None:
    _bring(preset, *brought)
    for factors, wanted in (("depth=34;augment=none", len(brought) > 1), ("width=0.5", False), ("augment=none", True)):
        config = AblateConfig(factors=factors, seeds=1)
        cells = plan_trainings(_with_one_start(config, trainings_from_auto(config)))
        assert {cell.training.weights != "none" for cell in cells} == {wanted}
        for cell in cells:
            assert not wanted or cell.training.weights.startswith(f"{own_folder(cell.training.variant)}#")
    with pytest.raises(UserError, match="weights=auto"):
        trainings_from_auto(AblateConfig(factors="weights=none,auto"))


@pytest.mark.parametrize("by_this_version", [True, False])
def test_a_stopped_training_goes_on_from_random_weights_when_others_have_come(
    by_this_version: bool, tracking_store: MlflowClient, preset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = TrainConfig(data="photos")
    random = _resolve(typed)
    tags = begun_tags(typed, random) if by_this_version else {}
    with pytest.raises(KeyboardInterrupt), tracking.run("train", "name", random, tags, training=training_key(random)):
        raise KeyboardInterrupt
    _bring(preset, "resnet18")
    assert _resolve(typed) == random
    assert "as when this was started" in capsys.readouterr().out
    assert _resolve(TrainConfig(data="photos", resume="never")).weights != "none"
    assert _resolve(TrainConfig(data="others")).weights != "none"


def test_a_stopped_training_goes_on_with_its_weights_or_not_at_all(tracking_store: MlflowClient, preset: Path) -> None:
    _bring(preset, "resnet18")
    typed = TrainConfig(data="photos")
    begun = _resolve(typed)
    key, tags = training_key(begun), begun_tags(typed, begun)
    with pytest.raises(KeyboardInterrupt), tracking.run("train", "name", begun, tags, training=key):
        raise KeyboardInterrupt
    assert _resolve(typed) == begun
    shutil.rmtree(own_folder("resnet18"))
    with pytest.raises(UserError, match="can continue only with it") as caught:
        _resolve(typed)
    assert "\n" not in str(caught.value)


def test_a_training_records_what_it_started_from(
    tracking_store: MlflowClient, small_net: None, preset: Path, photo_folder: Path
) -> None:
    _bring(preset, "resnet18")
    flags = {"data": str(photo_folder), "image_size": 32, "batch_size": 8, "epochs": 1, "warmup_epochs": 0}
    train.run(TrainConfig(**flags, precision="float32"))
    (run,) = tracking_store.search_runs(["0"])
    assert run.data.params["weights"] == "auto"
    digest = run.data.tags["weights_sha256"]
    assert run.data.tags["begun_with"] == f"{own_folder('resnet18')}#sha256={digest}"
    assert json.loads(run.data.tags["weights_scaling"]) == SCALING
    model = tracking_store.get_model_version_by_alias("flower-classifier", "challenger")
    folder = Path(model.source.removeprefix("file://"))
    file = next(Path().resolve().rglob("classifier.json"))
    about = json.loads(file.read_text())
    assert folder
    assert about["start"] == {"source": run.data.tags["weights_source"], "sha256": digest, "scaling": SCALING}
    assert about["config"]["weights"] == run.data.tags["begun_with"]


def test_suspects_refuses_random_weights(tracking_store: MlflowClient) -> None:
    with pytest.raises(UserError, match="suspects needs a pre-trained backbone"):
        suspects.run(SuspectsConfig())
