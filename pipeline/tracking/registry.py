"""The only module that talks to the MLflow registry: versions, aliases, descriptions, and a model's files.

``challenger`` is the newest candidate, ``champion`` the best proven model, ``previous`` the champion before it.

The registry has no compare-and-swap for aliases, so a change holds a lock of this machine, and reads the alias before
and after. If two machines promote within the same milliseconds, one of them finds the other's version in the second
reading; see docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.utils.models import get_model_name_and_version
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from pipeline.config import DamagedModel, UserError, first_line, without_passwords
from pipeline.models.saved import check_digests, model_digests
from pipeline.tracking.store import database_file

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"
CLASSIFIER_FOLDER = "artifacts/classifier"  # inside a logged model; see tracking.log_classifier
DIGESTS, TEST_READS = "sha256", "test_reads"  # tags of a version; the latter of the registered model, too
COMPARISONS = "comparisons"  # begins tags of the registered model: pairs of versions compared on a test split
TEST_ACCURACY = "test_accuracy"  # tag of a version that was evaluated
NO_VERSION = "none"  # in such a pair: one answer for all photos
TAGS_OF_THE_RUN = ("data_digest", "git_commit", "stage")
MOST_CHARACTERS = 5000  # of a description, in MLflow's database
MOST_VERSIONS = 10_000  # that are searched


class Version(NamedTuple):
    """A version of a registered model."""

    name: str
    number: str

    @property
    def uri(self) -> str:
        """The address that always means this version."""
        return f"models:/{self.name}/{self.number}"


class ChampionChanged(UserError):
    """Another process has changed the champion in the meantime."""


def register(model_uri: str, name: str) -> Version:
    """Register a logged model as a version of ``name``, unless it is one already, and make it challenger.

    The digests of its files become a tag; its run's note becomes its description, and some of the run's tags its own.
    What an interruption has left out is made up for by the next call.
    """
    known = MlflowClient().search_model_versions(f"source_path = '{model_uri}'")
    registered = next((version for version in known if version.name == name), None)
    if registered is None:
        digests = _digests_of(model_uri)
        registered = mlflow.register_model(model_uri, name, tags={DIGESTS: json.dumps(digests)})
    version = Version(name, str(registered.version))
    if registered.run_id:
        of_run = MlflowClient().get_run(registered.run_id).data.tags
        wanted = (key for key in TAGS_OF_THE_RUN if key in of_run and key not in registered.tags)
        tag_version(version, {key: of_run[key] for key in wanted})
        if not registered.description:  # an evaluation may have written one
            set_description(version, of_run.get(MLFLOW_RUN_NOTE, "").replace(model_uri, version.uri))
    MlflowClient().set_registered_model_alias(name, CHALLENGER, version.number)
    return version


def _digests_of(model_uri: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(model_uri, dst_path=scratch)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(
                f"a model must still be there when it is registered, got {model_uri}, which was deleted (train it "
                "again, with another seed; of a search, confirm_top_k=1 trains its best again)"
            ) from None
        return model_digests(Path(folder))


class FetchedModel(NamedTuple):
    """A model on disk: the folder that `serving.Classifier` reads, and the version that its URI resolved to.

    ``name`` says which it is, and ``uri`` always means it.
    """

    folder: Path
    version: Version | None
    uri: str
    name: str

    @property
    def root(self) -> Path:
        """The folder of the whole model, which MLflow loads."""
        return self.folder.parents[1]


def fetch_model(model_uri: str) -> FetchedModel:
    """Download a model and check its files against the registered digests. An alias is resolved here, once.

    Where no version is champion yet, the newest challenger takes its place, and the model's name says so.

    Raises:
        UserError: there is no such model, or it is not one of ours.
        DamagedModel: a file has not the SHA-256 that was recorded when the version was registered, or none is recorded.
    """
    newest = ""
    try:
        version = _version_of(model_uri)
        if version is None and (version := _newest_for_champion(model_uri)):
            newest = " (the newest: none is champion yet)"
        recorded = _recorded_digests(version) if version else {}
        root = Path(mlflow.artifacts.download_artifacts(version.uri if version else model_uri))
    except UserError:
        raise
    except Exception as error:  # each scheme's library raises its own, or is not installed
        raise UserError(
            f"model_uri must name a model that exists, got {without_passwords(model_uri)!r}: {first_line(error)} "
            "(train one with `python -m pipeline tune`; `mlflow ui` shows what there is)"
        ) from None
    if version:
        check_digests(root, recorded)
    if not (root / CLASSIFIER_FOLDER).is_dir():
        raise UserError(
            f"model_uri must name a model made by this pipeline, got {without_passwords(model_uri)!r} without "
            f"{CLASSIFIER_FOLDER} (`mlflow ui` shows what there is)"
        )
    name = f"{version.name} version {version.number}{newest}" if version else model_uri
    return FetchedModel(root / CLASSIFIER_FOLDER, version, version.uri if version else model_uri, name)


def _recorded_digests(version: Version) -> dict[str, str]:
    """Return the SHA-256 of a version's files that `register` recorded, by path.

    Raises:
        DamagedModel: there is no such record.
    """
    registered = MlflowClient().get_model_version(*version)
    text = registered.tags.get(DIGESTS, "")
    with contextlib.suppress(ValueError):
        if isinstance(recorded := json.loads(text), dict) and recorded:
            return recorded
    received = f"{text[:20]!r}" if text else "no such tag: removed, or the version was not registered by this pipeline"
    raise DamagedModel(
        f"a version must have the SHA-256 of its files in its tag {DIGESTS}, got {received} in {version.uri} (train it "
        f"again; or, if you trust its files, name the model itself: model_uri={registered.source})"
    )


def _newest_for_champion(model_uri: str) -> Version | None:
    """Return the challenger, or else the newest version, where a URI asks for a champion and there is none."""
    match = re.fullmatch(rf"models:/([^/@]+)@{CHAMPION}", model_uri)
    return match and (version_with_alias(match[1], CHALLENGER) or _version_of(f"models:/{match[1]}/latest"))


def _version_of(model_uri: str) -> Version | None:
    """Resolve a ``models:/`` URI to a version; None for any other URI, and for a champion that is not there."""
    if not (match := re.fullmatch(r"models:/([^/@]+)[/@](.+)", model_uri)):
        return None
    if model_uri == f"models:/{match[1]}@{CHAMPION}":
        return version_with_alias(match[1], CHAMPION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of MLflow's own stages
        name, number = get_model_name_and_version(MlflowClient(), model_uri)  # type: ignore[no-untyped-call]
    return Version(name, str(int(number)))


def is_version(model_uri: str) -> bool:
    """Return whether an address always means one registered version."""
    return bool(re.fullmatch(r"models:/[^/@]+/\d+", model_uri))


def version_with_file(sha256: str) -> Version | None:
    """Return the first registered version that has a file with this SHA-256, of whatever model."""
    versions = MlflowClient().search_model_versions(max_results=MOST_VERSIONS) if sha256 else []
    found = [Version(known.name, str(known.version)) for known in versions if sha256 in known.tags.get(DIGESTS, "")]
    return min(found, key=lambda version: (int(version.number), version.name), default=None)


def experiment_of(version: Version) -> str:
    """Return the id of the experiment of the run that a version was trained in."""
    run_id = MlflowClient().get_model_version(*version).run_id
    return str(MlflowClient().get_run(run_id or "").info.experiment_id)


def other_source_before(version: Version) -> str:
    """Return the ``data`` that the version before was trained from, if it is another; empty where it is not known."""
    sources = []
    for number in (version.number, str(int(version.number) - 1)):
        with contextlib.suppress(MlflowException):
            run_id = MlflowClient().get_model_version(version.name, number).run_id
            sources.append(MlflowClient().get_run(run_id or "").data.params.get("data", ""))
    return sources[1] if len(set(filter(None, sources))) == 2 else ""


def training_metrics(version: Version) -> dict[str, float]:
    """Return the metrics of the run that a version was trained in; none if the run is gone."""
    run_id = MlflowClient().get_model_version(*version).run_id
    try:
        return dict(MlflowClient().get_run(run_id).data.metrics) if run_id else {}
    except MlflowException:  # deleted, and the store cleaned
        return {}


def test_accuracy(version: Version) -> float | None:
    """Return the share of test photos that a version has right, in 0..1; None if it was not evaluated."""
    tags = _version_tags(version)
    return float(tags[TEST_ACCURACY]) if TEST_ACCURACY in tags else None


def version_with_alias(name: str, alias: str) -> Version | None:
    """Return the version that has an alias now, if any."""
    number = MlflowClient().get_registered_model(name).aliases.get(alias)
    return Version(name, str(number)) if number else None


def promote(version: Version, compared_with: Version | None) -> None:
    """Make a version champion, and the champion it was compared with ``previous``.

    Raises:
        ChampionChanged: the champion is not, or no longer, the one that the version was compared with.
    """
    with _lock(version.name):
        now = version_with_alias(version.name, CHAMPION)
        if now != compared_with:
            raise ChampionChanged(
                f"the champion is {_version_text(now)} now, not {_version_text(compared_with)}; evaluate again"
            )
        _set_champion(version, now)


def roll_back(name: str) -> tuple[Version, Version]:
    """Swap champion and previous; return the version that is champion again, and the one that it replaces.

    Raises:
        UserError: no version has one of the aliases.
        DamagedModel: the files of the version that was to return are not those that were registered.
    """
    try:
        aliases = MlflowClient().get_registered_model(name).aliases
    except MlflowException:
        aliases = {}
    if missing := {CHAMPION, PREVIOUS}.difference(aliases):
        raise UserError(
            f"rollback needs a version with each of the aliases {CHAMPION} and {PREVIOUS}, got none of {name!r} with "
            f"{' or '.join(sorted(missing))} (the first promotion of a second champion sets {PREVIOUS})"
        )
    with _lock(name):
        champion, previous = version_with_alias(name, CHAMPION), version_with_alias(name, PREVIOUS)
        assert champion is not None
        assert previous is not None
        fetch_model(previous.uri)
        _set_champion(previous, champion)
    return previous, champion


def count_test_read(version: Version) -> int:
    """Increment the count of test-split readings of a version and of its model; return that of the model."""
    client = MlflowClient()
    with _lock(version.name):
        of_version = 1 + int(_version_tags(version).get(TEST_READS, 0))
        of_model = 1 + int(client.get_registered_model(version.name).tags.get(TEST_READS, 0))
        tag_version(version, {TEST_READS: str(of_version)})
        client.set_registered_model_tag(version.name, TEST_READS, str(of_model))
    return of_model


def count_comparison(version: Version, other: str, test_split: str, manner: str = "") -> int:
    """Return which comparison on a test split this one is, counted from 1 over all versions of the model.

    The same version is compared once with the ``other``, a number or `NO_VERSION`, in the same ``manner``: on which
    photos, and by what. It does not count again, however often that is asked for.
    """
    client, tag = MlflowClient(), f"{COMPARISONS}.{test_split}"
    with _lock(version.name):
        done = client.get_registered_model(version.name).tags.get(tag, "").split()
        pair = f"{version.number}:{other}" + (f":{manner}" if manner else "")
        if pair not in done:
            done.append(pair)
            client.set_registered_model_tag(version.name, tag, " ".join(done))
    return 1 + done.index(pair)


def tag_version(version: Version, tags: Mapping[str, str]) -> None:
    """Tag a version."""
    for key, text in tags.items():
        MlflowClient().set_model_version_tag(version.name, version.number, key, text)


def set_description(version: Version, markdown: str) -> None:
    """Set the description of a version and, if it is champion or the model has none yet, of the model."""
    client = MlflowClient()
    client.update_model_version(version.name, version.number, markdown[:MOST_CHARACTERS])
    model = client.get_registered_model(version.name)
    if not model.description or str(model.aliases.get(CHAMPION)) == version.number:
        client.update_registered_model(version.name, markdown[:MOST_CHARACTERS])


def _set_champion(version: Version, replaced: Version | None) -> None:
    client = MlflowClient()
    if replaced:
        client.set_registered_model_alias(version.name, PREVIOUS, replaced.number)
    client.set_registered_model_alias(version.name, CHAMPION, version.number)
    described = client.get_model_version(version.name, version.number).description
    client.update_registered_model(version.name, described or "")
    now = version_with_alias(version.name, CHAMPION)
    if now != version:
        raise ChampionChanged(
            f"another machine has made {_version_text(now)} champion at the same moment; evaluate again"
        )


def _version_tags(version: Version) -> dict[str, str]:
    return dict(MlflowClient().get_model_version(version.name, version.number).tags)


def _version_text(version: Version | None) -> str:
    return f"version {version.number}" if version else "no version"


@contextlib.contextmanager
def _lock(name: str) -> Iterator[None]:
    """Lock a model's aliases against other processes of this machine, whatever folder they run in."""
    uri = mlflow.get_registry_uri()
    uri = str(database_file(uri) or uri)
    key = hashlib.sha256(f"{uri}\n{name}".encode()).hexdigest()[:16]
    with FileLock(Path(tempfile.gettempdir()) / f"photo-pipeline-registry-{key}.lock", mode=0o666):
        yield
