"""What happens to every file: the one table of rules that accept, convert, quarantine or ignore it.

A file's reason in the report is the name of its rule, followed in brackets by details of that file. `decode.py` applies
the rules about bytes, in training, prediction and serving alike; `candidates.py`, `digest_cache.py` and `exclusion.py`
those about names and paths; `shards.py` and `shard_processes.py` those about reading and the decoder's process; and
`grouping.py` those about several photos.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Outcome = Literal["accepted", "converted", "quarantined", "ignored"]
MIN_SIDE = 8  # pixels: anything smaller is an icon or a tracking pixel
MAX_ASPECT = 20  # longer side / shorter side: above, it is a banner or a scan line, and a square of it shows nothing
REASON_SEPARATOR = "; "  # between the texts of several rules about one file


class Rule(NamedTuple):
    """The outcome for a file, and the sentence that explains the rule."""

    outcome: Outcome
    about: str


RULES: dict[str, Rule] = {
    "named like another format": Rule("accepted", "The bytes decide what a file is, not its name."),
    "link out of the folder": Rule("accepted", "A link to a file is followed, wherever it leads."),
    "turned upright": Rule("converted", "Orientations 2 to 8 of EXIF, or else of XMP, are applied."),
    "laid on white": Rule("converted", "Transparent pixels are composited on white; their hidden colours never show."),
    "last bytes missing": Rule("accepted", "A JPEG without half a percent of its area, or a PNG without its end mark."),
    "colour profile ignored": Rule("accepted", "It is broken, or for other channels than the photo has."),
    "nearly black": Rule("accepted", "99 % of its pixels are darker than 40 of 255. It is used; look at it."),
    "nearly white": Rule("accepted", "95 % of its pixels are brighter than 235 of 255. It is used; look at it."),
    "of one colour": Rule("accepted", "Its brightness varies by less than 3 of 255. It is used; look at it."),
    "blurred": Rule("accepted", "At 128 pixels it has hardly an edge. It is used; look at it."),
    "first picture taken": Rule("converted", "Of animations and files with several pages."),
    "grey made colour": Rule("converted", "Grey, and black and white, become three equal channels."),
    "palette made colour": Rule("converted", "Indices become the palette's colours."),
    "16 bits made 8": Rule("converted", "The upper 8 of the bits that are in use are kept, such as of 12 in 16."),
    "CMYK made RGB": Rule("converted", "By its embedded profile, or else by the usual formula."),
    "YCCK made RGB": Rule("converted", "As CMYK, which it is another encoding of."),
    "colours made sRGB": Rule("converted", "By an embedded profile (ICC), such as a phone's Display P3."),
    "empty file": Rule("quarantined", "It has no bytes."),
    "not an image": Rule(
        "quarantined", "HTML, PDF, text, raw data of cameras, and whatever else is no format that is taken."
    ),
    "truncated or damaged": Rule("quarantined", "It begins like an image, and no decoder can read it to its end."),
    "too many pixels": Rule(
        "quarantined", "By its header: more than max_pixels, or, in JPEG 2000, which is slow, than 67 million."
    ),
    "too many scans": Rule("quarantined", "A JPEG of more than 100, which would take minutes; cameras write 10."),
    "too many bytes": Rule("quarantined", "More than max_pixels take, uncompressed with 16 bits and transparency."),
    "too small": Rule("quarantined", f"Less than {MIN_SIDE} pixels a side."),
    "too long": Rule("quarantined", f"More than {MAX_ASPECT} times as long as wide, or as wide as long."),
    "unknown pixel values": Rule("quarantined", "32 bits or a colour space without a fixed way to 8-bit RGB."),
    "cannot be read": Rule("quarantined", "No permission, a link that leads nowhere or in a circle, a disk's fault."),
    "not a regular file": Rule("quarantined", "A pipe, a device, a socket or a folder."),
    "changed on the disk": Rule("quarantined", "Its bytes are no longer those of its digest: bit rot, or an edit."),
    "crashed the decoder": Rule("quarantined", "The process that decoded it crashed; no other photo was harmed."),
    "decoder took too long": Rule("quarantined", "The process that decoded it was ended after its time limit."),
    "decoder was killed": Rule("quarantined", "Twice at this photo, from outside: most often memory was short."),
    "cannot be prepared": Rule("quarantined", "Resizing or an image operation failed, or memory was short."),
    "same picture under two labels": Rule("quarantined", "Equal pixels, so that one of the labels must be wrong."),
    "alike across given splits": Rule("quarantined", "It looks like a photo that its table puts into a later split."),
    "excluded": Rule("ignored", "The file that the flag exclude names leaves it out."),
    "excluded, but not there": Rule("ignored", "The file that exclude names has it, and no photo is called so."),
    "hidden": Rule("ignored", "Its name begins with a dot: .DS_Store, ._photo.jpg, .git."),
    "left by a system": Rule("ignored", "Thumbs.db, desktop.ini, __MACOSX, @eaDir, Icon, $RECYCLE.BIN and the like."),
    "note beside photos": Rule("ignored", "What phones and catalogues note of photos: .json, .aae, .xmp, .txt, .db."),
    "film or sound": Rule("ignored", "A film is no photo, nor is the moving half of a Live Photo."),
    "beside the class folders": Rule("ignored", "A file that is in no class folder has no label."),
    "beside the split folders": Rule("ignored", "A folder beside train, val or test that is none of them."),
    "photos without a class": Rule("ignored", "A folder named after a split that holds no class folders."),
    "folder without a photo": Rule("ignored", "Beside folders of photos, it is no class: annotations, scripts, lists."),
    "link to a folder": Rule("ignored", "Below a class folder these are not followed, or they could lead in a circle."),
    "repeats the class folders": Rule("ignored", "A folder that holds the folders beside it again (Kaggle's flowers)."),
    "class not wanted": Rule("ignored", "The flag classes leaves it out."),
    "class without a file": Rule("ignored", "An empty class folder is no class."),
}


# Faults of the moment, not of the file: tried again whenever its store is used.
MOMENTARY = frozenset({"cannot be read", "decoder was killed", "cannot be prepared", "changed on the disk"})


def is_momentary(text: str) -> bool:
    """Return whether a rule text tells of a fault that may be gone at the next try."""
    return any(rule_of(part) in MOMENTARY for part in text.split(REASON_SEPARATOR))


def rule_text(rule: str, detail: object = "") -> str:
    """Return the reason text for a file: a rule of `RULES`, and in brackets the detail of this file."""
    assert rule in RULES
    detail = str(detail).replace(REASON_SEPARATOR, ", ")
    return f"{rule} ({detail})" if detail else rule


def rule_of(text: str) -> str:
    """Return the rule that `rule_text` was given."""
    return text.partition(" (")[0]


def outcome_of(texts: list[str]) -> Outcome:
    """Return the outcome for a file with these rule texts: the most severe outcome of its rules."""
    outcomes = {RULES[rule_of(text)].outcome for text in texts}
    by_severity: tuple[Outcome, ...] = ("quarantined", "ignored", "converted")
    return next((outcome for outcome in by_severity if outcome in outcomes), "accepted")
