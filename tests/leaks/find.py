"""Originals in what was decoded: by similarity, so that a resized, recompressed, mirrored or noisy copy is found.

finder = Finder(originals)
finder.best(image).score >= THRESHOLD

Two images are compared by the correlation of their details: both at 32×32, what a Gaussian blur of 1.5 pixels leaves
taken away. A perturbed image keeps its colours and coarse shapes by design (block means are no secret); its details
are what a key hides. Within figures and sheets the place is sought first by the plain correlation of small templates at
every scale, then refined at full resolution, and the patch found there is compared like an image of its own.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

# Correlation of details, 1 for the same image. tests/leaks/test_find.py has what it is for copies (0.7 and more) and
# for what is none: other images, perturbed images, our figures (0.45 and less).
THRESHOLD = 0.55
SIDE = 32  # images are compared at this size
BLUR = 1.5  # pixels of SIDE
COARSE = 10  # side of the templates that seek a place
SMALLEST = 24  # pixels: a smaller copy in a figure is not sought
STEP = 1.15  # between the scales that are tried
CANDIDATES = 6  # places in a figure that are looked at closely, at each scale: letters on white look like much
CLOSE = 48  # pixels: a larger patch is looked at closely at this size
LINES = 0.5  # fraction of pixels of three levels: a curve, an axis, letters or the fields of a matrix, and no image
FLAT = 6.0  # levels of standard deviation: less is no image


@dataclass(frozen=True)
class Match:
    """The nearest original: correlation of details, and which original it is."""

    score: float
    original: int


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (N, D) without their means, of length 1; a row without any variation is 0."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def grey(image: NDArray[np.float32]) -> Grey:
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def details(image: Grey) -> NDArray[np.float32]:
    """What a blur leaves of a grey image at SIDE×SIDE, flat."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return (small - cv2.GaussianBlur(small, (0, 0), BLUR)).ravel()


def turned(image: Grey) -> list[Grey]:
    """A square image and its mirror images and turns."""
    turns = [np.rot90(image, n) for n in range(4)]
    return [np.ascontiguousarray(view) for turn in turns for view in (turn, turn[:, ::-1])]


def lines(patch: Grey) -> bool:
    """Whether a patch of a figure is drawn and not an image: most of it has one of three levels."""
    levels = np.bincount(np.rint(patch).clip(0, 255).astype(np.int64).ravel())
    return bool(np.sort(levels)[-3:].sum() > LINES * patch.size)


class Finder:
    """Looks for images among originals, uint8 (N, H, W, 3)."""

    def __init__(self, originals: NDArray[np.uint8]) -> None:
        self.greys = [grey(image.astype(np.float32)) for image in originals]
        views = [turned(image) for image in self.greys]
        self.count = len(views[0])
        self.views = [view for one in views for view in one]
        self.details = unit(np.stack([details(view) for view in self.views]))
        # Inverted copies are found by the sign; mirrored ones are sought in figures too, turned ones as images only.
        coarse = [cv2.resize(view, (COARSE, COARSE), interpolation=cv2.INTER_AREA) for one in views for view in one[:2]]
        self.coarse = unit(np.stack([small.ravel() for small in coarse]))

    def best(self, image: NDArray[np.float32]) -> Match:
        """The best match of an image, (H, W) or (H, W, 3) of values in about 0..255, or of any part of it, where it
        is larger than an original."""
        planes = [grey(image)]
        if image.ndim == 3:
            planes += [np.ascontiguousarray(image[..., c]) for c in range(3)]
        found = self.whole(planes)
        larger = max(image.shape[:2]) > 1.5 * max(self.greys[0].shape)
        if larger and (patches := self.places(planes[0])):
            found = max(found, self.whole(patches), key=lambda match: match.score)
        return found

    def whole(self, planes: list[Grey]) -> Match:
        """The best match of grey images taken as a whole."""
        looked = unit(np.stack([details(plane) for plane in planes]))
        scores = np.abs(looked @ self.details.T)
        at = int(scores.argmax())
        return Match(float(scores.flat[at]), at % len(self.details) // self.count)

    def places(self, plane: Grey) -> list[Grey]:
        """Patches of a figure that look most like originals."""
        found: list[tuple[float, int, int, float, int]] = []
        size = float(SMALLEST)
        while size <= min(plane.shape):
            found += self._at_scale(plane, size)
            size *= STEP
        patches = [self._refined(plane, y, x, size, view) for _, y, x, size, view in found]
        return [patch for patch in patches if not lines(patch)]

    def _at_scale(self, plane: Grey, size: float) -> list[tuple[float, int, int, float, int]]:
        """The best places for originals of `size` pixels: (correlation, y, x, size, view)."""
        scale = COARSE / size
        small = cv2.resize(plane, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if min(small.shape) < COARSE:
            return []
        windows = np.lib.stride_tricks.sliding_window_view(small, (COARSE, COARSE))
        near = slice(COARSE // 2, COARSE // 2 + windows.shape[0]), slice(COARSE // 2, COARSE // 2 + windows.shape[1])
        mean, square = (cv2.blur(power, (COARSE, COARSE))[near] for power in (small, small * small))
        ys, xs = np.nonzero(square - mean * mean > FLAT**2)
        if not len(ys):
            return []
        scores = np.abs(unit(windows[ys, xs].reshape(len(ys), -1)) @ self.coarse.T)
        best, view = scores.max(axis=1), scores.argmax(axis=1)
        chosen: list[tuple[float, int, int, float, int]] = []
        for i in np.argsort(-best)[: 16 * CANDIDATES]:
            if all(abs(ys[i] - y) + abs(xs[i] - x) > COARSE // 3 for _, y, x, _, _ in chosen):
                chosen.append((float(best[i]), int(ys[i]), int(xs[i]), size, int(view[i])))
            if len(chosen) == CANDIDATES:
                break
        return [(score, round(y / scale), round(x / scale), size, view) for score, y, x, size, view in chosen]

    def _refined(self, plane: Grey, y: int, x: int, size: float, view: int) -> Grey:
        """The patch near a place that correlates best with a view of an original, over near sizes and shifts."""
        margin = max(4, int(size * 0.15))
        area = plane[max(0, y - margin) : y + int(size) + margin, max(0, x - margin) : x + int(size) + margin]
        if size > CLOSE:
            area = cv2.resize(area, None, fx=CLOSE / size, fy=CLOSE / size, interpolation=cv2.INTER_AREA)
            size = CLOSE
        original = self.views[view // 2 * self.count + view % 2]
        best, patch = -1.0, area
        for side in range(max(SMALLEST - 2, int(size * 0.9)), int(size * 1.12) + 2):
            if side > min(area.shape):
                break
            template = cv2.resize(original, (side, side), interpolation=cv2.INTER_LINEAR)
            scores = np.abs(cv2.matchTemplate(area, template, cv2.TM_CCOEFF_NORMED))
            at = np.unravel_index(scores.argmax(), scores.shape)
            if np.isfinite(scores[at]) and scores[at] > best:
                best, patch = float(scores[at]), area[at[0] : at[0] + side, at[1] : at[1] + side]
        return np.ascontiguousarray(patch)
