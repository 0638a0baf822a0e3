"""What all topics of `python -m benchmarks` share: how large to measure, on which images, and where to put files."""

import cProfile
import pstats
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.images import name, sample_images
from privpipe.data.split import write_images
from privpipe.data.synthetic import draw

T = TypeVar("T")
DRAWN = 4000  # images that are drawn or read; larger sets repeat them
SIGMA = 25.0  # of noise methods, in levels


@dataclass(frozen=True)
class Setting:
    """One run.

    Args:
        quick: small sizes; nothing is written.
        source: images as `benchmarks.images.images` takes them; None: drawn.
        scratch: a folder on the disk of the checkout, for files that are not kept.
        tell: shows progress.
        sgemm: GFLOP/s by number of threads, from `benchmarks.machine.sgemm`.
        facts: what the topics before this one found, and earlier runs, see `benchmarks.results.Outcome`.
    """

    quick: bool
    source: Path | None
    scratch: Path
    tell: Callable[[str], None]
    sgemm: dict[str, float]
    facts: dict[str, float]
    _drawn: dict[int, NDArray[np.uint8]] = field(default_factory=dict)

    def pick(self, full: T, quick: T) -> T:
        """The one of two sizes that this run has."""
        return quick if self.quick else full

    @property
    def images_name(self) -> str:
        return name(self.source)

    def images(self, count: int, size: int = 32, most: int = DRAWN) -> NDArray[np.uint8]:
        """uint8 (count, size, size, 3): up to `most` different ones over and over; of 32 pixels from the source."""
        different = min(count, self.pick(most, 500)) if size == 32 else min(count, 200)
        if len(self._drawn.get(size, ())) < different:
            from_source = size == 32
            self._drawn[size] = (
                sample_images(self.source, different)
                if from_source
                else draw(different, size, rng=np.random.default_rng(0)).images
            )
        return np.resize(self._drawn[size], (count, size, size, 3))

    def labels(self, count: int) -> NDArray[np.int64]:
        """Labels of ten classes that say nothing of the images: what is measured is time."""
        return np.random.default_rng(1).integers(0, 10, count)

    def folder(self, what: str) -> Path:
        """An empty folder for files that are not kept."""
        path = self.scratch / what
        shutil.rmtree(path, ignore_errors=True)  # there is none yet, or an earlier round's
        path.mkdir(parents=True)
        return path

    def raw_file(self, path: Path, count: int, size: int = 32) -> Path:
        """Raw images as the download stage writes them: a sixth of `count` to test, as CIFAR-10 has it."""
        from privpipe.data.images import RawImages

        images = RawImages(self.images(count, size), self.labels(count), tuple("abcdefghij"))
        rows = np.arange(count)
        cut = {"train": rows[: count * 49 // 60], "val": rows[count * 49 // 60 : count * 5 // 6]}
        write_images(path, images, images, {**cut, "test": rows[count * 5 // 6 :]})
        return path


def hot_spots(call: Callable[[], Any], most: int = 3) -> str:
    """Where the time of a call goes, as words: the functions with the largest own time, by cProfile."""
    profile = cProfile.Profile()
    profile.runcall(call)
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # typeshed lacks it
    total = sum(entry[2] for entry in stats.values()) or 1.0
    largest = sorted(stats.items(), key=lambda item: -item[1][2])[:most]
    parts = [f"{100 * entry[2] / total:.0f} % in {_function(where)}" for where, entry in largest]
    return "by cProfile, of its time " + ", ".join(parts)


def _function(where: tuple[str, int, str]) -> str:
    file, _, function = where
    if file == "~":  # of a C library: "<built-in method x.y>" or "<method 'y' of 'z' objects>"
        return function.strip("<>").removeprefix("built-in method ")
    return f"{Path(file).stem}.{function}"
