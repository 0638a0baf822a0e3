"""What came of a set of images: what was not taken and why, duplicates, and what the split guarantees."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from privpipe.data.audit import Audit
from privpipe.data.folder import FolderIndex
from privpipe.reading import AUTO, COMPOSITE, Reading

ONE_BY_ONE = (
    "Images were split one by one. Those of one patient, specimen or scene may lie in several sets, and accuracy is "
    "then too good; data.groups keeps them together."
)
BY_GROUPS = "Images were split by groups (data.groups): no group has images in two of the sets."
GIVEN = "The parts are those of the folders {parts}; what they lack was drawn from train/."


def summary(index: FolderIndex, audit: Audit, reading: Reading, image_size: int, root: Path) -> dict[str, Any]:
    """All of it, ready for JSON. It names files: it stays with the images.

    Args:
        reading: with the limits that were measured.
        image_size: height and width that the images were brought to, in pixels.
        root: folder of the images.
    """
    unreadable = [message.partition(": ") for message in audit.unreadable]
    left_out = [(str(one.path), one.reason) for one in index.left_out]
    left_out += [(path, reason) for path, _, reason in unreadable]
    below = [{"file": _below(path, root), "reason": reason} for path, reason in left_out]
    pairs = [
        {"files": [_about(*file, root) for file in twin.files], "identical": twin.identical} for twin in audit.pairs
    ]
    return {
        "images": {name: len(one.paths) for name, one in sorted(audit.sets.items())},
        "reading": reading.describe() or "as seen",
        "read": in_words(reading, image_size),
        "used_levels": [asdict(used) for used in audit.used()],
        "range_warning": audit.range_warning(),
        "left_out": {"count": len(below), "reasons": _reasons(below), "files": below},
        "duplicates": {"policy": audit.policy, "count": len(pairs), "dropped": audit.dropped, "pairs": pairs},
        "split": guarantees(index, audit),
    }


def in_words(reading: Reading, image_size: int) -> list[str]:
    """How image files became arrays, in sentences for whoever took the images."""
    return [
        _channels(reading),
        {
            "refuse": "A file of several planes or frames is not taken.",
            "first": "Of several planes or frames the first one was taken.",
            "max": "Of several planes the greatest value of each pixel was taken (maximum projection).",
        }[reading.stack],
        _range(reading),
        "Each image was turned upright, cut to the square in its middle, and resized to "
        f"{image_size}×{image_size} pixels (Lanczos) where it had another size. Colour profiles are ignored.",
    ]


def _channels(reading: Reading) -> str:
    if reading.channels == (AUTO,):
        return "Colours are those of the files; grey was put into all three. A file with other channels is not taken."
    if reading.channels == (COMPOSITE,):
        return "All channels were added up, each in its colour (that of the file's OME data, else ImageJ's)."
    listed = ", ".join(reading.channels)
    if reading.count == 1:
        return f"Of each file channel {listed} was taken, as grey."
    shown = {2: "red and green", 3: "red, green and blue", 4: "red, green and blue, and the fourth in grey"}
    return f"Of each file the channels {listed} were taken; images here show them as {shown[reading.count]}."


def _range(reading: Reading) -> str:
    percent = f"{reading.saturated:g} % of the values"
    match reading.range:
        case "set":
            pairs = [f"{low:g} and {high:g}" for low, high in reading.limits]
            if len(pairs) > 1:
                names = reading.channels if reading.named else range(1, len(pairs) + 1)
                pairs = [f"{pair} in channel {name}" for pair, name in zip(pairs, names, strict=True)]
            return (
                f"Black and white are the values {', '.join(pairs)}: in the training images, {percent} are darker and "
                "as many brighter."
            )
        case "image":
            return f"Black and white are those of each image by itself: {percent} are darker and as many brighter."
        case "type":
            return "Black and white are the least and the greatest value that the files' type of number can hold."
        case _:
            return (
                "Black and white are as each file declares them: by its number of bits, or the window of a DICOM file."
            )


def _about(name: str, label: str, path: Path, root: Path) -> dict[str, str]:
    return {"set": name, "class": label, "file": _below(str(path), root)}


def _reasons(files: list[dict[str, str]]) -> dict[str, int]:
    return dict(Counter(one["reason"] for one in files).most_common())


def _below(path: str, root: Path) -> str:
    """A path relative to the folder of the images, where it lies there."""
    one = Path(path)
    return str(one.relative_to(root)) if one.is_relative_to(root) else path


def guarantees(index: FolderIndex, audit: Audit) -> list[str]:
    """What the split guarantees, in sentences."""
    out = [BY_GROUPS if index.groups is not None else ONE_BY_ONE]
    if len(index.parts) > 1:
        out.insert(0, GIVEN.format(parts=", ".join(f"{part}/" for part in index.parts)))
    match audit.policy:
        case "ignore":
            out.append("Nobody looked for duplicates (data.on_duplicates is ignore).")
        case "drop" if audit.pairs:
            out.append(f"{audit.dropped:,} images with a duplicate in another set or class were left out.")
        case _ if audit.pairs:
            out.append(
                f"{len(audit.pairs):,} images have an identical or nearly identical one in another set or class, and "
                "were kept: accuracy, and what attacks score, are too good by these."
            )
        case _:
            out.append("No image has an identical or nearly identical one in another set or class.")
    return out
