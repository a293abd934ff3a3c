"""Files of PyTorch: read without it to the last bit, and nothing in them is ever executed."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.config import UserError
from pipeline.models.weights.torch_files import read_state_dict
from tests.models.made_up_weights import TORCH_FILE, saved_tensors

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def _archive(file: Path, content: bytes, storage: bytes = b"", compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", storage)
    return file


def _message(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_state_dict(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_torch_saved_is_read_to_the_last_bit() -> None:
    tensors = read_state_dict(TORCH_FILE)
    for name, expected in saved_tensors().items():
        assert tensors[name].dtype == expected.dtype
        np.testing.assert_array_equal(tensors[name], expected)
    expected_views = {
        "whole": NUMBERS, "transposed": NUMBERS.T, "middle": NUMBERS[1:, 1:3], "scalar": np.array(7),
        "empty": np.empty((0, 3)), "parameter": NUMBERS[0],
    }  # fmt: skip
    for name, expected in expected_views.items():
        np.testing.assert_array_equal(tensors[name], expected)
    assert len(tensors) == len(saved_tensors()) + len(expected_views)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file({"a": NUMBERS}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(read_state_dict(tmp_path / "model.safetensors")["a"], NUMBERS)


class _Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    "call",
    [
        _Calls(os.system, "touch executed"),
        _Calls(eval, "open('executed', 'w')"),
        _Calls(getattr, "text", "upper"),
        _Calls(Path, "executed"),
        _Calls(collections.Counter, "aa"),
    ],
)
def test_a_pickle_that_calls_anything_is_refused_by_name(
    call: _Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = _message(_archive(tmp_path / "evil.pth", pickle.dumps({"conv1.weight": call}, protocol=2)))
    assert call.call[0].__name__ in message
    assert not Path("executed").exists()


def _of_torch(shape: tuple[int, ...], strides: tuple[int, ...], count: int, offset: int = 0) -> bytes:
    """Return the pickle of one tensor, written by hand as PyTorch writes it."""
    out = io.BytesIO()
    out.write(b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((")
    for text in (b"storage",):
        out.write(b"X" + len(text).to_bytes(4, "little") + text)
    out.write(b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu")
    out.write(pickle.dumps(count, 2)[2:-1] + b"tQ")
    out.write(b"".join(pickle.dumps(value, 2)[2:-1] for value in (offset, shape, strides)))
    out.write(b"\x89ccollections\nOrderedDict\n)RtRs.")
    return out.getvalue()


def test_the_pickle_written_by_hand_is_one(tmp_path: Path) -> None:
    file = _archive(tmp_path / "good.pth", _of_torch((3, 4), (4, 1), 12), NUMBERS.tobytes())
    np.testing.assert_array_equal(read_state_dict(file)["a"], NUMBERS)


@pytest.mark.parametrize(
    ("shape", "strides", "count", "offset"),
    [
        ((3, 5), (4, 1), 12, 0),
        ((3, 4), (4, 1), 12, 1),
        ((3, 4), (4, -1), 12, 4),
        ((3, 4), (4, 1), 12, -1),
        ((3,), (1,), 13, 0),
    ],
)
def test_a_tensor_beyond_its_numbers_is_damage(
    shape: tuple[int, ...], strides: tuple[int, ...], count: int, offset: int, tmp_path: Path
) -> None:
    file = _archive(tmp_path / "bad.pth", _of_torch(shape, strides, count, offset), NUMBERS.tobytes())
    assert "must be complete" in _message(file)


def test_compressed_numbers_are_refused(tmp_path: Path) -> None:
    content = _of_torch((3, 4), (4, 1), 12)
    file = _archive(tmp_path / "bomb.pth", content, NUMBERS.tobytes(), zipfile.ZIP_DEFLATED)
    assert "compressed" in _message(file)


def test_files_of_old_versions_and_bare_pickles_are_refused_with_a_remedy(tmp_path: Path) -> None:
    file = tmp_path / "old.pth"
    file.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps({"a": 1}, 2))
    assert "before 1.6" in _message(file)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_cut_files_are_refused(share: float, tmp_path: Path) -> None:
    for suffix, content in ((".pth", TORCH_FILE.read_bytes()), (".safetensors", b"")):
        file = tmp_path / f"cut{suffix}"
        if not content:
            save_file({"a": NUMBERS}, file)
            content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        assert str(file) in _message(file)


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, [], 3, {"epoch": 3}])
def test_a_file_without_tensors_is_no_state_dict(content: object, tmp_path: Path) -> None:
    assert "state dict" in _message(_archive(tmp_path / "other.pth", pickle.dumps(content, 2)))
