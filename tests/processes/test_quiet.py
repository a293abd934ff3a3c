"""What libraries write to standard error: notes are hidden, errors never."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOTES = [
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR",
    "I0000 00:00:1796065547.687328   15851 port.cc:153] oneDNN custom operations are on.",
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow.",
    "W0000 00:00:1796065567.010430   15851 tf_tfl_flatbuffer_helpers.cc:364] Ignored output_format.",
    "2026-11-30 19:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] This binary is optimized",
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
    "/lib/keras/src/export/tf2onnx_lib.py:21: FutureWarning: In the future `np.object` will be another.",
    '  if not hasattr(np, "object"):',
]
ERROR = "E0000 00:00:1796065567.010430   15851 converter.cc:1] it failed"
PROGRAM = """
import os, sys
from pipeline.processes import quiet_libraries

with quiet_libraries():
    os.write(2, sys.argv[1].encode())
    print("of Python", file=sys.stderr)
    exec(sys.argv[2])
print("own words", file=sys.stderr)
"""


def _stderr(then: str, *lines: str) -> list[str]:
    text = "".join(f"{line}\n" for line in lines)
    command = [sys.executable, "-c", PROGRAM, text, then]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=60).stderr.splitlines()


def test_notes_are_hidden_and_all_else_is_seen() -> None:
    assert _stderr("pass", *NOTES, ERROR, "  at here") == [ERROR, "  at here", "of Python", "own words"]


@pytest.mark.parametrize("end", ["raise ValueError('bad')", "os.abort()", "os._exit(1)"])
def test_what_fails_shows_everything(end: str) -> None:
    shown = _stderr(end, *NOTES, ERROR)
    assert set(shown) >= {*NOTES, ERROR, "of Python"}
    assert ("ValueError: bad" in shown) == ("bad" in end)


def test_an_interrupt_shows_no_notes() -> None:
    shown = _stderr("raise KeyboardInterrupt", *NOTES, ERROR)
    assert not set(NOTES) & set(shown)
    assert ERROR in shown
