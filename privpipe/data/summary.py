"""What came of a set of images: what was not taken and why, duplicates, and what the split guarantees."""

from collections import Counter
from pathlib import Path
from typing import Any

from privpipe.data.audit import Audit
from privpipe.data.folder import FolderIndex
from privpipe.reading import Reading

ONE_BY_ONE = (
    "Images were split one by one. Those of one patient, specimen or scene may lie in several sets, and accuracy is "
    "then too good; data.groups keeps them together."
)
BY_GROUPS = "Images were split by groups (data.groups): no group has images in two of the sets."
GIVEN = "The parts are those of the folders {parts}; what they lack was drawn from train/."


def summary(index: FolderIndex, audit: Audit, reading: Reading, root: Path) -> dict[str, Any]:
    """All of it, ready for JSON. It names files: it stays with the images."""
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
        "used_levels": audit.used_levels(),
        "left_out": {"count": len(below), "reasons": _reasons(below), "files": below},
        "duplicates": {"policy": audit.policy, "count": len(pairs), "dropped": audit.dropped, "pairs": pairs},
        "split": guarantees(index, audit),
    }


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
