"""Colour profiles for tests, made by hand: no profile of a vendor is needed, and it is known what each must do."""

from __future__ import annotations

import struct

import numpy as np

# D50-adapted primaries, as columns red, green, blue of XYZ.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
PROPHOTO = ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03135, 0.00009, 0.82491))
D50 = (0.96420, 1.0, 0.82491)
SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _s15(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_s15, values))


def _curve(curve: float | tuple[float, ...]) -> bytes:
    if isinstance(curve, tuple):
        return b"para\0\0\0\0\0\3\0\0" + b"".join(map(_s15, curve))
    return b"para\0\0\0\0\0\0\0\0" + _s15(curve)


def _profile(space: bytes, tags: dict[bytes, bytes], name: str, kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    text = name.encode()
    tags = tags | {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + bytes(79), b"wtpt": _xyz(D50)}
    body, table, place = b"", b"", 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", place + len(body), len(content))
        body += content
    head = bytes(8) + b"\2\x40\0\0" + kind + space + pcs + struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += b"".join(map(_s15, D50))
    head += bytes(128 - len(head))
    size = struct.pack(">I", 128 + 4 + len(table) + len(body))
    return size + head[4:] + struct.pack(">I", len(tags)) + table + body


def rgb_profile(primaries: tuple[tuple[float, ...], ...], curve: float | tuple[float, ...], name: str) -> bytes:
    """A profile of a display: primaries and one curve for all channels."""
    columns = {b"rXYZ": primaries[0], b"gXYZ": primaries[1], b"bXYZ": primaries[2]}
    tags = {tag: _xyz(values) for tag, values in columns.items()}
    return _profile(b"RGB ", tags | {tag: _curve(curve) for tag in (b"rTRC", b"gTRC", b"bTRC")}, name)


def grey_profile(gamma: float, name: str = "Dot gain") -> bytes:
    """A profile of grey with a gamma."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)}, name)


def cmyk_profile(name: str = "Press") -> bytes:
    """A profile of a press whose inks are paler than the usual formula has it: a table of two points per ink."""
    inks = np.array(np.meshgrid(*[[0, 1]] * 4, indexing="ij")).reshape(4, -1).T  # the last ink changes fastest
    light = 255 * (1 - 0.5 * inks[:, 3]) * (1 - 0.2 * inks[:, :3].sum(axis=1))
    lab = np.stack([light, 128 + 40 * (inks[:, 1] - inks[:, 0]), 128 + 40 * (inks[:, 2] - inks[:, 0])], axis=1)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0])
    table += b"".join(_s15(float(row == column)) for row in range(3) for column in range(3))
    table += bytes(range(256)) * 4 + np.clip(lab, 0, 255).astype(np.uint8).tobytes() + bytes(range(256)) * 3
    return _profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, name, b"prtr", b"Lab ")


DISPLAY_P3 = rgb_profile(P3, SRGB_CURVE, "Display P3")
OTHER_SRGB = rgb_profile(SRGB, SRGB_CURVE, "My monitor")  # sRGB under another name
PRO_PHOTO = rgb_profile(PROPHOTO, 1.8, "ProPhoto RGB")
