"""What comes out of the image files that laboratories write: a table of kinds and outcomes.

    python -m benchmarks.lab_formats                       # all layouts, about a minute
    python -m benchmarks.lab_formats --csv out/layouts.csv # and one line for each
    python -m benchmarks.lab_formats --only "ImageJ CYX"   # those whose name has this

Each layout is written by tifffile, pydicom, Pillow, OpenCV or scikit-image, read by privpipe, and compared with what
its own library reads. Every file must come in as it is seen, or be refused for the true reason. Exit code 1 if one
comes in wrong, or is refused for another reason or against expectation.
"""

import csv
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np

from benchmarks.lab import dicom, other, tiff
from benchmarks.lab.layout import SIZE, Layout
from privpipe.data.image_files import read_image
from privpipe.errors import PrivpipeError

SEEN, REFUSED, WRONG, UNEXPECTED = "as seen", "refused, true reason", "WRONG", "refused, unexpected"
OUTCOMES = (SEEN, REFUSED, WRONG, UNEXPECTED)
LIBRARIES = ("tifffile", "imagecodecs", "pydicom", "pillow", "opencv-python-headless", "scikit-image")


def layouts() -> Iterator[Layout]:
    """Every layout of every library."""
    yield from tiff.layouts()
    yield from dicom.layouts()
    yield from other.layouts()


def outcome(layout: Layout, folder: Path) -> tuple[str, str]:
    """What comes out of one layout, and the reason or the greatest difference."""
    path = folder / f"x{layout.suffix}"
    path.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of writers, on purpose of odd files
        layout.write(path)
        expected = layout.expected(path) if layout.expected else None
    try:
        pixels = read_image(path, SIZE, layout.reading)
    except PrivpipeError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return (REFUSED if expected is None and layout.refusal in reason else UNEXPECTED), reason
    if expected is None:
        return WRONG, "read, though it must be refused"
    if pixels.shape != expected.shape:
        return WRONG, f"shape {pixels.shape}, expected {expected.shape}"
    difference = int(np.abs(pixels.astype(int) - expected).max())
    return (SEEN if difference <= layout.tolerance else WRONG), f"differs by {difference}"


@click.command(help=__doc__)
@click.option("--only", default="", help="words of the names of the layouts to take")
@click.option("--csv", "table", type=click.Path(dir_okay=False, path_type=Path), help="write one line for each layout")
def main(only: str, table: Path | None) -> None:
    counts: dict[tuple[str, str], Counter[str]] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for layout in layouts():
            if only not in layout.name:
                continue
            result, detail = outcome(layout, Path(folder))
            counts.setdefault((layout.library, layout.kind), Counter())[result] += 1
            rows.append([layout.library, layout.kind, layout.name, result, detail])
            if result in (WRONG, UNEXPECTED):
                print(f"{result}: {layout.library}, {layout.kind}, {layout.name}: {detail}", file=sys.stderr)
    print(", ".join(f"{name} {version(name)}" for name in LIBRARIES))
    print(f"{'library':<14}{'kind':<28}{''.join(f'{name:>22}' for name in OUTCOMES)}")
    for (library, kind), count in counts.items():
        print(f"{library:<14}{kind:<28}{''.join(f'{count[name]:>22}' for name in OUTCOMES)}")
    total = Counter(row[3] for row in rows)
    print(f"{len(rows)} layouts: " + ", ".join(f"{total[name]} {name}" for name in OUTCOMES))
    if table is not None:
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([["library", "kind", "layout", "outcome", "detail"], *rows])
    sys.exit(1 if total[WRONG] or total[UNEXPECTED] else 0)


if __name__ == "__main__":
    main()
