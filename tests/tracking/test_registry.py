"""Versions and aliases in a real registry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from pipeline.config import DamagedModel, UserError
from pipeline.tracking import registry
from pipeline.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, ChampionChanged, Version

NAME = "flower-classifier"
MODEL_CODE = """
import mlflow
import pandas as pd

class Nothing(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        return model_input

mlflow.models.set_model(Nothing())
"""


@pytest.fixture
def log_model(tracking_store: MlflowClient, tmp_path: Path) -> Callable[[], str]:
    """A function that logs a model whose classifier folder holds one file, and returns its address."""
    code, folder = tmp_path / "model_code.py", tmp_path / "classifier"
    code.write_text(MODEL_CODE)
    folder.mkdir()
    (folder / "classifier.json").write_text("{}")

    def log() -> str:
        with mlflow.start_run():
            info = mlflow.pyfunc.log_model(
                name="model", python_model=str(code), artifacts={"classifier": str(folder)}, pip_requirements=["mlflow"]
            )
        return str(info.model_uri)

    return log


@pytest.fixture
def model_uri(log_model: Callable[[], str]) -> str:
    return log_model()


def _aliases(client: MlflowClient) -> dict[str, str]:
    return {alias: str(number) for alias, number in client.get_registered_model(NAME).aliases.items()}


def test_the_newest_version_is_the_challenger(tracking_store: MlflowClient, log_model: Callable[[], str]) -> None:
    first = log_model()
    assert registry.register(first, NAME) == Version(NAME, "1")
    assert _aliases(tracking_store) == {CHALLENGER: "1"}
    assert registry.register(log_model(), NAME) == Version(NAME, "2")
    assert _aliases(tracking_store) == {CHALLENGER: "2"}
    assert registry.register(first, NAME) == Version(NAME, "1"), "a model becomes a version once"
    assert _aliases(tracking_store) == {CHALLENGER: "1"}


def test_a_version_knows_whether_the_one_before_had_other_photos(
    tracking_store: MlflowClient, log_model: Callable[[], str]
) -> None:
    found = []
    for source in ("flowers", "flowers", "synthetic", ""):
        version = registry.register(log_model(), NAME)
        run_id = tracking_store.get_model_version(*version).run_id
        if source:
            tracking_store.log_param(run_id, "data", source)
        found.append(registry.other_source_before(version))
    assert found == ["", "", "flowers", ""]


def test_a_champion_is_replaced_only_by_who_knows_it(
    tracking_store: MlflowClient, log_model: Callable[[], str]
) -> None:
    first, second = registry.register(log_model(), NAME), registry.register(log_model(), NAME)
    registry.promote(first, None)
    assert _aliases(tracking_store) == {CHAMPION: "1", CHALLENGER: "2"}
    for compared_with in (None, second):
        with pytest.raises(ChampionChanged, match="the champion is version 1 now"):
            registry.promote(second, compared_with)
    registry.promote(second, first)
    assert _aliases(tracking_store) == {CHAMPION: "2", PREVIOUS: "1", CHALLENGER: "2"}


def test_an_alias_that_another_machine_moves_meanwhile_is_noticed(
    tracking_store: MlflowClient, log_model: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the setting of the alias and the look after; a lock of this machine does not reach that far."""
    first, second = registry.register(log_model(), NAME), registry.register(log_model(), NAME)
    set_alias = MlflowClient.set_registered_model_alias

    def set_and_lose(client: MlflowClient, name: str, alias: str, number: str) -> None:
        set_alias(client, name, alias, number)
        set_alias(client, name, alias, second.number)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", set_and_lose)
    with pytest.raises(ChampionChanged, match="version 2 champion at the same moment"):
        registry.promote(first, None)


def test_the_note_of_the_run_becomes_the_description(tracking_store: MlflowClient, model_uri: str) -> None:
    run_id = mlflow.get_logged_model(model_uri.removeprefix("models:/")).source_run_id
    tracking_store.set_tag(run_id, "mlflow.note.content", f"load {model_uri}")
    tracking_store.set_tag(run_id, "data_digest", "abc")
    registry.register(model_uri, NAME)
    version = tracking_store.get_model_version(NAME, "1")
    assert version.description == f"load models:/{NAME}/1"
    assert version.tags["data_digest"] == "abc"
    assert tracking_store.get_registered_model(NAME).description == version.description


def test_a_registration_that_was_interrupted_is_completed_by_the_next(
    tracking_store: MlflowClient, model_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = mlflow.get_logged_model(model_uri.removeprefix("models:/")).source_run_id
    for tag in ("mlflow.note.content", "data_digest", "git_commit"):
        tracking_store.set_tag(run_id, tag, f"the {tag}")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("set_model_version_tag", "update_model_version", "set_registered_model_alias"):  # in this order
        with monkeypatch.context() as patched:
            patched.setattr(MlflowClient, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                registry.register(model_uri, NAME)
    assert registry.register(model_uri, NAME) == Version(NAME, "1")
    version = tracking_store.get_model_version(NAME, "1")
    assert version.description == "the mlflow.note.content"
    assert (version.tags["data_digest"], version.tags["git_commit"]) == ("the data_digest", "the git_commit")
    assert _aliases(tracking_store) == {CHALLENGER: "1"}
    registry.set_description(Version(NAME, "1"), "of an evaluation")
    registry.register(model_uri, NAME)
    assert tracking_store.get_model_version(NAME, "1").description == "of an evaluation"


def test_a_model_that_was_deleted_before_it_became_a_version_is_named(
    tracking_store: MlflowClient, model_uri: str
) -> None:
    tracking_store.delete_logged_model(model_uri.removeprefix("models:/"))
    with pytest.raises(UserError, match=f"got {model_uri}, which was deleted"):
        registry.register(model_uri, NAME)


@pytest.mark.parametrize("broken", [None, "", "{", "null", "[]", "{}", "7", '{"MLmodel": 7}'])
def test_a_version_without_the_digests_of_its_files_is_refused(
    tracking_store: MlflowClient, model_uri: str, broken: str | None
) -> None:
    version = registry.register(model_uri, NAME)
    if broken is None:
        tracking_store.delete_model_version_tag(NAME, "1", registry.DIGESTS)
    else:
        tracking_store.set_model_version_tag(NAME, "1", registry.DIGESTS, broken)
    for address in (
        version.uri,
        f"models:/{NAME}@{CHALLENGER}",
        f"models:/{NAME}/latest",
        f"models:/{NAME}@{CHAMPION}",
    ):
        with pytest.raises(DamagedModel, match="SHA-256") as error:
            registry.fetch_model(address)
        assert "\n" not in str(error.value)
    registry.register(model_uri, NAME)
    with pytest.raises(DamagedModel, match="SHA-256"):
        registry.fetch_model(version.uri)  # to register again what has changed meanwhile makes it no better
    assert registry.fetch_model(model_uri).version is None, "as the message advises"


def test_a_changed_file_is_refused_by_its_name(tracking_store: MlflowClient, model_uri: str) -> None:
    version = registry.register(model_uri, NAME)
    (registry.fetch_model(version.uri).folder / "classifier.json").write_text("{ }")
    for address in (version.uri, f"models:/{NAME}@{CHALLENGER}"):
        with pytest.raises(DamagedModel, match=r"classifier\.json"):
            registry.fetch_model(address)


def test_addresses_lead_to_the_version_and_its_files(tracking_store: MlflowClient, model_uri: str) -> None:
    version = registry.register(model_uri, NAME)
    registry.promote(version, None)
    numbers = [f"models:/{NAME}/{number}" for number in ("1", "01", "latest")]
    for address in (f"models:/{NAME}@{CHALLENGER}", f"models:/{NAME}@{CHAMPION}", *numbers):
        assert registry.fetch_model(address).version == version
        assert (registry.fetch_model(address).folder / "classifier.json").read_text() == "{}"
    assert registry.fetch_model(model_uri).version is None  # logged, but no version
    assert (registry.fetch_model(model_uri).folder / "classifier.json").is_file()


def test_where_none_is_champion_the_newest_answers_and_says_so(tracking_store: MlflowClient, model_uri: str) -> None:
    version = registry.register(model_uri, NAME)
    newest = registry.fetch_model(f"models:/{NAME}@{CHAMPION}")
    assert (newest.version, newest.uri) == (version, version.uri)
    assert newest.name == f"{NAME} version 1 (the newest: none is champion yet)"
    tracking_store.delete_registered_model_alias(NAME, CHALLENGER)  # as goes with the version that has it
    assert registry.fetch_model(f"models:/{NAME}@{CHAMPION}") == newest
    registry.promote(version, None)
    assert registry.fetch_model(f"models:/{NAME}@{CHAMPION}").name == f"{NAME} version 1"


@pytest.mark.parametrize(
    "address",
    [
        f"models:/{NAME}@nobody",
        f"models:/{NAME}/99",
        "models:/no-such-model@challenger",
        "models:/no-such-model/1",
        "models:/m-00000000000000000000000000000000",
        "runs:/00000000000000000000000000000000/model",
        "no/such/folder",
        "models:/",
        "gibberish://x",
        f"models:/{NAME}/0",
        f"models:/{NAME}/Production",
        f"models:/{NAME}/99999999999999999999999",
        "mlflow-artifacts:/0/model",
        "s3://bucket/model",
        "gs://bucket/model",
        "http://127.0.0.1:1/model",
        "file:///no/such/folder",
        "file:",
        "/",
        "no\0name",
    ],
)
def test_a_model_that_is_not_there_is_named_in_one_line(
    tracking_store: MlflowClient, address: str, request: pytest.FixtureRequest
) -> None:
    if NAME in address:
        registry.register(request.getfixturevalue("model_uri"), NAME)
    with pytest.raises(UserError) as caught:
        registry.fetch_model(address)
    assert repr(address) in str(caught.value)
    assert "`mlflow ui` shows what there is" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_make_is_named(tracking_store: MlflowClient, tmp_path: Path) -> None:
    code = tmp_path / "model_code.py"
    code.write_text(MODEL_CODE)
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(name="model", python_model=str(code), pip_requirements=["mlflow"])
    with pytest.raises(UserError, match="made by this pipeline"):
        registry.fetch_model(info.model_uri)
