"""The classifier as its users meet it: every form of a photo, good and bad, and the pixels behind the answer."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.config import DamagedModel, DataConfig, TrainConfig
from pipeline.data.intake import Candidate
from pipeline.data.pixels.decode import decode
from pipeline.data.pixels.shards import examine_photo, photo_dtype
from pipeline.data.rule_versions import NEWEST
from pipeline.data.store.store import Store, prepared_store
from pipeline.models.backend import load_backend
from pipeline.models.saved import write_model_sums
from pipeline.promotion.assessment import mean_with_mirrored
from pipeline.serving import classifier as classifier_module
from pipeline.serving.classifier import (
    ABOUT_FILE,
    CHUNK,
    NONE_OF_THESE,
    About,
    Classifier,
    keep_top,
    save_classifier,
    sureness_of,
)
from pipeline.serving.inputs import SERVED, photos_of
from tests.conftest import images_of, rows_of
from tests.data.pixels.encoded import drawn, encode, heic, with_scans
from tests.icc import DISPLAY_P3

CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def store(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    config = TrainConfig(weights="none", data=str(photo_folder), image_size=32, resize="pad", image_ops=("opening:3",))
    return prepared_store(config, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def classifier(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A net with random weights whose answers differ from photo to photo, saved and loaded again."""
    load_backend()
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Rescaling(1 / 16), keras.layers.Flatten(), keras.layers.Dense(3, dtype="float32")]
    model = keras.Sequential([keras.Input((32, 32, 3), dtype="uint8"), *layers])
    folder = tmp_path_factory.mktemp("model") / "classifier"
    about = About(CLASSES, 32, "pad", ("opening:3",), store.digest, str(store.source), {"variant": "none"})
    save_classifier(folder, model, about)
    return Classifier(folder)


@pytest.fixture
def photo(photo_folder: Path) -> Path:
    return photo_folder / "green" / "green1.jpg"


def test_a_photo_and_its_mirror_image_have_the_same_mean(classifier: Classifier, store: Store) -> None:
    images = np.asarray(store.images("validation"))
    mirrored = images[:, :, ::-1]
    mean = mean_with_mirrored(classifier, images, classifier.probabilities(images))
    other = mean_with_mirrored(classifier, mirrored, classifier.probabilities(mirrored))
    np.testing.assert_allclose(mean, other, atol=1e-6)
    assert not np.allclose(mean, classifier.probabilities(images))


def test_less_sure_photos_are_none_of_these_if_that_is_asked_for(classifier: Classifier, store: Store) -> None:
    photos = [*np.asarray(store.images("train")), b"no photo"]
    answers = classifier.predict(photos)
    sureness = sureness_of(_probabilities(answers)[:-1])
    asked = Classifier(classifier._folder)
    asked.about = replace(classifier.about, sureness=sureness)
    pd.testing.assert_frame_equal(asked.predict(photos), answers)
    for keep in (0.9, 0.5):
        table = asked.predict(photos, keep)
        doubted = table["label"] == NONE_OF_THESE
        count = len(photos) - 1
        assert abs(doubted.sum() - (1 - keep) * count) <= 1
        assert table.loc[doubted, "probability"].max() < table.loc[~doubted, "probability"].min()
        pd.testing.assert_frame_equal(table[~doubted], answers[~doubted])  # the bad photo, too
        pd.testing.assert_frame_equal(table.drop(columns="label"), answers.drop(columns="label"))
    assert asked.predict([], 0.5).empty


@pytest.mark.parametrize("keep", [0, -1, 1.5, np.nan])
def test_what_is_no_share_to_keep_is_refused(classifier: Classifier, keep: float) -> None:
    with pytest.raises(ValueError, match="keep must be a share above 0, at most 1"):
        classifier.predict([], keep)


def test_a_model_of_before_has_no_none_of_these(classifier: Classifier, photo: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classifier._folder, tmp_path / "before"))
    stored = json.loads((folder / ABOUT_FILE).read_text())
    del stored["sureness"]  # as it was written then
    (folder / ABOUT_FILE).write_text(json.dumps(stored))
    write_model_sums(folder)
    before = Classifier(folder)
    pd.testing.assert_frame_equal(before.predict([photo]), classifier.predict([photo]))
    with pytest.raises(ValueError, match="an earlier version made it: train it again"):
        before.predict([photo], 0.95)


def test_classes_may_be_called_like_what_is_said_of_a_photo(classifier: Classifier, photo: Path) -> None:
    """As in a folder of good parts and faults."""
    names = ("error", "label", "ok")
    renamed = Classifier(classifier._folder)
    renamed.about = replace(classifier.about, class_names=names)
    expected = _probabilities(classifier.predict([photo]))[0]
    table = renamed.predict([photo])
    assert list(table) == ["label", "probability", "error_class", "label_class", "ok", "error"]
    assert table.loc[0, ["error_class", "label_class", "ok"]].tolist() == pytest.approx(expected)
    assert table.loc[0, "label"] == names[expected.argmax()]
    assert table["error"].isna().all()
    (top,) = keep_top(table, names, 2)["top_k"]
    assert [entry["label"] for entry in top] == [names[place] for place in np.argsort(-expected)[:2]]


def _probabilities(table: pd.DataFrame) -> np.ndarray:
    return table[list(CLASSES)].to_numpy()


def _assert_row_of(table: pd.DataFrame, classifier: Classifier, photo: Path) -> None:
    """Check that every row says what the photo's own bytes give."""
    expected = _probabilities(classifier.predict([photo.read_bytes()]))
    assert table["error"].isna().all(), table["error"].tolist()
    np.testing.assert_allclose(_probabilities(table), np.repeat(expected, len(table), axis=0), atol=1e-6)


def test_what_was_saved_is_known_again(classifier: Classifier, store: Store) -> None:
    assert classifier.about == About(
        CLASSES, 32, "pad", ("opening:3",), store.digest, str(store.source), {"variant": "none"}
    )


def test_a_row_holds_label_probabilities_and_no_error(classifier: Classifier, photo: Path) -> None:
    table = classifier.predict([photo])
    assert list(table) == ["label", "probability", *CLASSES, "error"]
    (row,) = table.to_dict("records")
    assert row["probability"] == max(row[name] for name in CLASSES) == row[row["label"]]
    assert sum(row[name] for name in CLASSES) == pytest.approx(1)
    assert row["error"] is None


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_pixels_are_those_of_the_prepared_store(classifier: Classifier, store: Store, split: str) -> None:
    prepared = classifier.probabilities(images_of(store, split))
    files = [store.source / path for path in rows_of(store, split)["path"]]
    np.testing.assert_allclose(_probabilities(classifier.predict(files)), prepared, atol=1e-6)
    assert np.ptp(prepared, axis=0).max() > 0.01  # or the comparison would prove nothing


def test_every_form_of_a_photo_gives_one_answer(classifier: Classifier, photo: Path) -> None:
    data, pixels = photo.read_bytes(), decode(photo.read_bytes())
    forms: list[object] = [data, bytearray(data), memoryview(data), photo, str(photo), base64.b64encode(data).decode()]
    forms += [pixels, pixels.astype(np.float64), pixels.astype(np.int64), pixels.tolist(), np.asfortranarray(pixels)]
    forms += [io.BytesIO(data), Image.fromarray(pixels), Image.open(io.BytesIO(data)), tf.constant(pixels)]
    forms += [np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])]
    _assert_row_of(classifier.predict(forms), classifier, photo)


def test_base64_in_every_form_gives_one_answer(classifier: Classifier, photo: Path) -> None:
    data = photo.read_bytes()
    text = base64.b64encode(data).decode()
    with_breaks = base64.encodebytes(data).decode()
    forms: list[object] = [text, with_breaks, text.rstrip("="), base64.urlsafe_b64encode(data).decode()]
    forms += [f"data:image/jpeg;base64,{text}", with_breaks.replace("\n", "\r\n")]
    _assert_row_of(classifier.predict(forms), classifier, photo)


def test_grey_pixels_are_a_photo_and_not_rows(classifier: Classifier) -> None:
    grey = PIXELS[..., 0]
    expected = _probabilities(classifier.predict([np.repeat(grey[..., None], 3, axis=2)]))
    for given, photos in (
        (grey, 1), (grey.tolist(), 1), (grey[..., None], 1), (np.stack([grey] * 5), 5), ([grey, grey], 2),
        (tf.constant(grey), 1), (Image.fromarray(grey), 1),
    ):  # fmt: skip
        table = classifier.predict(photos_of(given))
        assert len(table) == photos, given
        np.testing.assert_allclose(_probabilities(table), np.repeat(expected, photos, axis=0), atol=1e-6)


def test_channels_before_height_are_named(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match=r"got \(3, 40, 50\) \(move the axis of the channels to the end\)"):
        list(photos_of(np.moveaxis(PIXELS, 2, 0)))


def test_an_image_of_pillow_is_laid_out_as_its_file(classifier: Classifier) -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(buffer, "PNG", exif=exif)
    clear = Image.fromarray(np.dstack([PIXELS, np.zeros((40, 50), np.uint8)]))
    white = np.full((40, 50, 3), 255, np.uint8)
    forms: list[object] = [buffer.getvalue(), Image.open(io.BytesIO(buffer.getvalue())), clear, white]
    of_file, of_image, of_clear, of_white = _probabilities(classifier.predict(forms))
    np.testing.assert_allclose(of_file, of_image, atol=1e-6)
    np.testing.assert_allclose(of_clear, of_white, atol=1e-6)
    assert np.abs(of_file - of_white).max() > 0.01


def test_every_form_of_many_photos_gives_one_answer(classifier: Classifier, photo: Path) -> None:
    data, pixels = photo.read_bytes(), decode(photo.read_bytes())
    text = base64.b64encode(data).decode()
    cells = np.empty(2, dtype=object)
    cells[:] = [pixels, pixels]
    many: list[tuple[object, int]] = [
        (data, 1),
        (photo, 1),
        (str(photo), 1),
        (text, 1),
        (pixels, 1),
        ([data, photo, str(photo), text, pixels], 5),
        ((data, data), 2),
        (iter([data, data]), 2),
        (np.stack([pixels] * 3), 3),
        (np.stack([pixels] * 3).tolist(), 3),
        (pixels.tolist(), 1),
        (tf.constant(np.stack([pixels] * 2)), 2),
        (Image.open(io.BytesIO(data)), 1),
        (io.BytesIO(data), 1),
        (np.array([data, text], dtype=object), 2),
        (cells, 2),
        (pd.Series([data, str(photo)], index=[7, 7]), 2),
        (pd.DataFrame({"image": [data, text]}), 2),
        (pd.DataFrame({"image": [data], "id": [1]}), 1),
        (pd.DataFrame({"anything": [data, data]}), 2),
        (pd.DataFrame({0: [data]}), 1),
        ({"image": [data, text]}, 2),
        ({"image": data}, 1),
        ({"image": pixels}, 1),
        ({"image": np.array([[text], [text]]).ravel()}, 2),
    ]
    for given, rows in many:
        table = classifier.predict(photos_of(given))
        assert len(table) == rows, f"{rows} rows wanted of {type(given).__name__}"
        _assert_row_of(table, classifier, photo)


def test_photos_are_decoded_by_threads_that_stay_and_a_fork_has_its_own(classifier: Classifier, photo: Path) -> None:
    first, before = classifier.predict([photo] * 3), threading.enumerate()
    used = {classifier_module._threads_of(os.getpid()).submit(threading.current_thread).result() for _ in range(20)}
    for _ in range(20):
        classifier.predict([photo] * 3)
    assert used <= {*threading.enumerate()}
    assert len(threading.enumerate()) - len(before) < (os.cpu_count() or 1)
    fork = os.fork()
    if not fork:
        signal.alarm(20)  # threads that are not there never answer
        decoded = classifier_module._threads_of(os.getpid()).map(classifier._pixels, [photo] * 3)
        os._exit(0 if all(isinstance(pixels, np.ndarray) for pixels in decoded) else 1)
    assert os.waitpid(fork, 0)[1] == 0
    pd.testing.assert_frame_equal(classifier.predict([photo] * 3), first)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_one_photo(classifier: Classifier, photo: Path, kind: type) -> None:
    table = classifier.predict(photos_of(kind(photo.read_bytes())))
    assert len(table) == 1
    _assert_row_of(table, classifier, photo)


@pytest.mark.parametrize("given", [pd.DataFrame({"a": [1], "b": [2]}), {"a": [1], "b": [2]}])
def test_columns_without_an_image_are_named(given: object) -> None:
    with pytest.raises(ValueError, match="column named image, got columns a, b"):
        list(photos_of(given))


@pytest.mark.parametrize("given", [None, 7])
def test_what_cannot_hold_photos_is_named(given: object) -> None:
    with pytest.raises(ValueError, match=f"got {type(given).__name__}"):
        list(photos_of(given))


def _png(pixels: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", pixels)[1])


PIXELS = np.random.default_rng(0).integers(100, 200, (40, 50, 3), np.uint8)
BAD_PHOTOS: list[tuple[object, str]] = [
    (b"", "empty file"),
    ("", "empty file"),
    (b"not a photo", "not an image"),
    (b"<html>", "not an image"),
    (bytes(cv2.imencode(".jpg", PIXELS)[1])[:-900], "truncated or damaged"),
    (_png(PIXELS)[:60], ""),
    (base64.b64encode(b"not a photo").decode(), "not an image"),
    ("no/such/photo.jpg", "neither an existing file nor base64 text, got 'no/such/photo.jpg'"),
    ("ünïcödé", "neither an existing file nor base64 text, got 'ünïcödé'"),
    ("nul\0byte", "neither"),
    ("\ud800", "neither"),
    ("QUJD\n", "not an image"),
    ("no/such/photo", "neither"),
    ("https://example.org/photo.jpg", "a URL is not opened"),
    (io.StringIO("text"), "mode 'rb'"),
    (Path("no/such/photo.jpg"), "cannot be read (No such file or directory: 'no/such/photo.jpg')"),
    (Path(), "not a regular file ('.')"),
    (Path("nul\0byte.jpg"), ""),
    (Path("x" * 5000), "cannot be read"),
    ("x" * 5001, f"got '{'x' * 150}…{'x' * 150}'"),
    (None, "got NoneType"),
    (7, "got int"),
    (float("nan"), "got float"),
    ({"image": b"x"}, "got dict"),
    ((1, 2, 3), "shape"),
    ([], "shape"),
    ([[1, 2], [3]], "ragged"),
    (["a", "b"], "shape"),
    (np.array(3), "shape"),
    (np.zeros((0, 5, 3), np.uint8), "shape"),
    (np.zeros((5, 5, 2), np.uint8), "shape"),
    (np.zeros((3, 5, 7), np.uint8), "(move the axis of the channels to the end)"),
    (np.zeros((2, 5, 5, 3), np.uint8), "shape"),
    (PIXELS / 255, "got numbers up to 1 (multiply them by 255)"),
    ((PIXELS > 150).astype(np.float32), "got numbers up to 1"),
    (PIXELS + 0.5, "whole numbers"),
    (PIXELS.astype(int) + 100, "whole numbers"),
    (-PIXELS.astype(int), "whole numbers"),
    (np.full((5, 5, 3), np.nan), "whole numbers"),
    (np.full((5, 5, 3), np.inf), "whole numbers"),
    (np.ones((5, 5, 3), bool), "whole numbers"),
    (np.ones((5, 5, 3), complex), "whole numbers"),
    (np.full((5, 5, 3), "1"), "whole numbers"),
    (np.full((5, 5, 3), None), "whole numbers"),
    (np.zeros((5, 5, 3), "datetime64[s]"), "whole numbers"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD_PHOTOS, ids=range(len(BAD_PHOTOS)))
def test_a_bad_photo_has_a_row_with_its_reason(classifier: Classifier, photo: Path, bad: object, reason: str) -> None:
    table = classifier.predict([photo, bad, photo])
    assert table["error"].notna().tolist() == [False, True, False]
    row = table.iloc[1]
    assert reason in row["error"]
    assert "\n" not in row["error"]
    assert row.drop("error").isna().all()
    _assert_row_of(table.iloc[[0, 2]], classifier, photo)


def test_what_a_row_lacks_is_none(classifier: Classifier, photo: Path) -> None:
    good, bad = classifier.predict([photo, b""]).to_dict("records")
    assert good["error"] is None
    assert bad["label"] is None


def test_bad_photos_alone_and_no_photos_have_the_same_columns(classifier: Classifier, photo: Path) -> None:
    columns = list(classifier.predict([photo]))
    for photos in ([], [b"", None]):
        table = classifier.predict(photos)
        assert list(table) == columns
        assert len(table) == len(photos)
    assert json.loads(classifier.predict([b""]).to_json(orient="records")) == [
        dict.fromkeys(columns) | {"error": "empty file"}
    ]


def test_a_server_opens_no_file(classifier: Classifier, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(Path, "read_bytes", opened.append)
    monkeypatch.setenv(SERVED, "true")
    table = classifier.predict(photos_of(pd.DataFrame({"image": [str(photo), "/etc/passwd", "../x"]})))
    assert not opened
    assert table["label"].isna().all()
    assert table["error"].notna().all()


def test_the_variable_is_the_one_that_mlflow_sets() -> None:
    from mlflow.environment_variables import _MLFLOW_IS_IN_SERVING_ENVIRONMENT

    assert _MLFLOW_IS_IN_SERVING_ENVIRONMENT.name == SERVED


def test_more_photos_than_a_chunk_stay_in_order(classifier: Classifier, photo_folder: Path) -> None:
    files: Sequence[Path] = sorted(photo_folder.rglob("*.*"))
    photos: list[object] = [*files, b"", *files, *files, None]
    assert len(photos) > CHUNK
    table = classifier.predict(photos)
    once = _probabilities(classifier.predict(files))
    nothing = np.full((1, 3), np.nan)
    expected = np.concatenate([once, nothing, once, once, nothing])
    np.testing.assert_allclose(_probabilities(table), expected, atol=1e-6)
    assert table.index.tolist() == list(range(len(photos)))


def test_rotated_and_transparent_photos_are_laid_out_as_a_viewer_does(classifier: Classifier) -> None:
    upright = np.zeros((40, 20, 3), np.uint8)
    upright[:20] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned clockwise
    stored = io.BytesIO()
    Image.fromarray(np.rot90(upright)).save(stored, "PNG", exif=exif)
    hidden = np.dstack([upright, np.zeros((40, 20), np.uint8)])
    transparent = io.BytesIO()
    Image.fromarray(hidden).save(transparent, "PNG")
    white = np.full((40, 20, 3), 255, np.uint8)
    table = _probabilities(classifier.predict([stored.getvalue(), upright, transparent.getvalue(), white]))
    np.testing.assert_allclose(table[0], table[1], atol=1e-6)
    np.testing.assert_allclose(table[2], table[3], atol=1e-6)
    assert np.abs(table[0] - table[2]).max() > 0.01


def test_a_phones_photos_get_the_pixels_of_training(classifier: Classifier, tmp_path: Path) -> None:
    """A large photo, one in Display P3, and a HEIC: in serving as `shards` prepares them."""
    large = drawn(2000, 1500)
    photos = {
        "large.jpg": encode(large, "JPEG"),
        "p3.jpg": encode(drawn(), "JPEG", icc_profile=DISPLAY_P3),
        "phone.heic": heic(drawn()),
    }
    current = Classifier(classifier._folder)
    current.about = replace(classifier.about, rules=NEWEST.changed)
    about = current.about
    for name, data in photos.items():
        (tmp_path / name).write_bytes(data)
        photo = Candidate(tmp_path / name, "red", hashlib.sha256(data).hexdigest())
        config = DataConfig(image_size=about.image_size, resize=about.resize, image_ops=about.image_ops)
        record, stored = examine_photo(photo, config, NEWEST.pixels)
        expected = np.frombuffer(stored, photo_dtype(about.image_size))["image"]
        np.testing.assert_array_equal(current.prepared(current.decoded(data)), expected[0])
        np.testing.assert_allclose(
            _probabilities(current.predict([tmp_path / name])), current.probabilities(expected), atol=1e-6
        )
    assert set(record["notes"]) <= {"blurred"}
    assert current.decoded(photos["large.jpg"]).shape == (750, 1000, 3)
    assert classifier.decoded(photos["large.jpg"]).shape == (1500, 2000, 3)  # an earlier model, by its own rules
    assert classifier.predict([photos["phone.heic"]])["error"].isna().all()


def test_photos_are_decoded_side_by_side_in_their_order(classifier: Classifier, photo_folder: Path) -> None:
    paths = sorted(photo_folder.rglob("*.*"))
    mixed = [*paths[:5], b"no photo", *paths[5:]]
    table = classifier.predict(mixed)
    assert table["error"].notna().tolist() == [photo == b"no photo" for photo in mixed]
    for place in (0, 7, len(mixed) - 1):
        expected = _probabilities(classifier.predict([mixed[place]]))[0]
        np.testing.assert_allclose(_probabilities(table)[place], expected, atol=1e-6)


@pytest.mark.parametrize("error", [MemoryError("too little"), cv2.error("no memory")])
def test_what_one_photo_asks_too_much_of_costs_that_photo(
    error: Exception, classifier: Classifier, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = classifier_module.prepare

    def fails_at_large_ones(image: np.ndarray, *arguments: object) -> np.ndarray:
        if image.shape[0] == 150:
            raise error
        return prepare(image, *arguments)

    monkeypatch.setattr(classifier_module, "prepare", fails_at_large_ones)
    table = classifier.predict([photo, encode(drawn(), "PNG"), photo])
    assert table["error"].tolist()[0] is table["error"].tolist()[2] is None
    assert table.loc[1, "error"].startswith("cannot be prepared (")
    assert table["probability"].notna().tolist() == [True, False, True]


def test_many_scans_do_not_keep_a_server_busy(classifier: Classifier) -> None:
    data = with_scans(encode(drawn(2000, 1500), "JPEG", progressive=True), 1000)
    start = time.perf_counter()
    errors = classifier.predict([data] * 6)["error"]
    assert time.perf_counter() - start < 3
    assert errors.str.startswith("too many scans (1009 of 2000 x 1500, more than 100)").all()


@pytest.mark.timeout(30)
def test_a_pipe_is_a_row_and_not_a_hang(classifier: Classifier, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    table = classifier.predict([tmp_path / "pipe.jpg", tmp_path / "dangling.jpg", tmp_path])
    assert table["error"].tolist() == [
        f"not a regular file ('{tmp_path}/pipe.jpg')",
        f"cannot be read (No such file or directory: '{tmp_path}/dangling.jpg')",
        f"not a regular file ('{tmp_path}')",
    ]


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"class_names": 7}', '{"class_names": [], "image_ops": []}'])
def test_a_folder_that_is_no_classifier_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DamagedModel, match=r"classifier\.json"):
        Classifier(tmp_path)
    (tmp_path / "classifier.json").write_text(text)
    with pytest.raises(DamagedModel, match=r"classifier\.json") as error:
        Classifier(tmp_path)
    assert "\n" not in str(error.value)
