"""Names of files and folders that lie among photos and are none: notes on photos, films, and what systems leave behind.

A name alone decides about folders and hidden files. A file that is named like a note or a film is a photo all the same
if its bytes begin like one: the bytes decide what a file is.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.data.rule_versions import NEWEST
from pipeline.data.rules import rule_text

SYSTEM_NAMES = (
    "__macosx", "thumbs.db", "ehthumbs", "desktop.ini", "icon\r", "@eadir", "#recycle", "$recycle.bin", "lost+found",
    "system volume information", "zbthumbnail.info", "picasa.ini", "__pycache__",
)  # fmt: skip
SYSTEM_NAMES_1 = ("__MACOSX", "Thumbs.db", "desktop.ini")  # all that version 1 of the intake rules knew
NOTES = (
    ".json", ".jsonl", ".aae", ".xmp", ".thm", ".xml", ".txt", ".md", ".csv", ".tsv", ".ini", ".db", ".html", ".url",
    ".lnk", ".yaml", ".yml", ".cfg", ".log", ".bak", ".tmp", ".part", ".crdownload", ".md5", ".sha1", ".sha256",
    ".py", ".ipynb", ".sh", ".rst",
)  # fmt: skip
NOTE_NAMES = ("readme", "license", "licence", "copying", "changelog", "authors")  # without a suffix
FILMS = (
    ".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".lrv", ".insv",
    ".wav", ".mp3", ".m4a", ".aac", ".ogg",
)  # fmt: skip
PHOTO_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif",
    ".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jxl", ".pbm", ".pgm", ".ppm", ".pnm",
    ".tga", ".ico", ".psd", ".exr", ".hdr", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".raf", ".orf", ".rw2",
)  # fmt: skip
PHOTO_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"II\x2b\0", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51",
    b"8BPS", b"\x76\x2f\x31\x01",
)  # fmt: skip
PHOTO_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"crx ")
HEAD_BYTES = 16


def hidden_reason(name: str, version: int = NEWEST.intake) -> str:
    """Return why a file or folder is ignored for its name alone by a version of the rules, or an empty string."""
    if name.startswith(SYSTEM_NAMES_1) or (version > 1 and name.lower().startswith(SYSTEM_NAMES)):
        return rule_text("left by a system")
    return rule_text("hidden") if name.startswith(".") else ""


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name in lower case, as `Path.suffix`, which takes ten times as long."""
    stem, _, suffix = name.rpartition(".")
    return f".{suffix.lower()}" if stem and suffix else ""


def side_file_reason(folder: Path, name: str) -> str:
    """Return why a file of a folder is ignored as a note on a photo or a film, or an empty string."""
    suffix = suffix_of(name)
    if suffix not in NOTES and suffix not in FILMS and name.lower() not in NOTE_NAMES:
        return ""
    if begins_like_a_photo(folder / name):
        return ""
    return rule_text("film or sound" if suffix in FILMS else "note beside photos", suffix or name)


def begins_like_a_photo(path: Path) -> bool:
    """Return whether a file begins with the signature of a format of photos."""
    try:
        if not path.is_file():  # opening a pipe would block for ever
            return False
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError:  # reading it as a photo will say why
        return False
    is_container = (head[4:8] == b"ftyp" and head[8:12] in PHOTO_BRANDS) or (head[:4] + head[8:12]) == b"RIFFWEBP"
    return is_container or head.startswith(PHOTO_SIGNATURES)
