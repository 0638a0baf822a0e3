"""Sums over images that several runs of an attack share: at another level, and of fewer of the same images.

prefixes = Prefixes(sums_of)
even, odd = prefixes.halves(stolen)          # sums over all
even, odd = prefixes.halves(stolen[:3000])   # takes up what is known of the first images
"""

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from privpipe.perturb.base import Images


class Addable(Protocol):
    """Sums over some images, to which those over others are added."""

    def __add__(self, other: Any) -> Any: ...


S = TypeVar("S", bound=Addable)

MARKS = (10_000, 30_000)  # images: the largest numbers of `privpipe.attacks.suite.COUNTS` in a set such as CIFAR-10
KEPT = 4  # prefixes: those at the marks, all images, and the one before
MOST_PIXELS = 32 * 32  # of images whose sums are kept: those of larger ones would take up the memory


class Prefixes(Generic[S]):
    """Sums over the even and over the odd rows of the first images of a set, some of them kept for the next call.

    Args:
        sums_of: what sums images (N, H, W, C), N at least 1.
    """

    def __init__(self, sums_of: Callable[[Images], S]):
        self._sums_of = sums_of
        self._images: Images | None = None
        self._kept: dict[int, tuple[S, S]] = {}

    def halves(self, images: Images) -> tuple[S, S]:
        """The sums over `images` (N, H, W, C), N at least 2, the even rows and the odd rows apart.

        They differ in rounding alone from those that are not taken up from others.
        """
        if not self._same_set(images):
            self._images, self._kept = images, {}
        count = len(images)
        if count in self._kept:
            return self._kept[count]
        # Behind an odd number of images even rows would be odd ones.
        done = max((known for known in self._kept if known < count and known % 2 == 0), default=0)
        halves = self._kept.get(done)
        keeps = images[0, :, :, 0].size <= MOST_PIXELS
        for stop in [*(mark for mark in MARKS if keeps and done < mark < count - 1), count]:
            more = self._sums_of(images[done:stop:2]), self._sums_of(images[done + 1 : stop : 2])
            halves = more if halves is None else (halves[0] + more[0], halves[1] + more[1])
            done = stop
            if keeps:
                self._keep(stop, halves)
        assert halves is not None
        return halves

    def _same_set(self, images: Images) -> bool:
        """Whether these are the first rows of the same array as before, which is held so that none takes its place."""
        before = self._images
        return (
            before is not None
            and images.ctypes.data == before.ctypes.data
            and (images.shape[1:], images.strides, images.dtype) == (before.shape[1:], before.strides, before.dtype)
        )

    def _keep(self, count: int, halves: tuple[S, S]) -> None:
        if len(self._kept) == KEPT:
            del self._kept[min(self._kept)]
        self._kept[count] = halves
