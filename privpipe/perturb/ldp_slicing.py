"""LDP-Slicing: randomised response on every bit of an image without its low frequencies."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from privpipe.perturb.base import ZERO, Array, Images, Perturbation, cached
from privpipe.perturb.equations import Equations, Flipped
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.keystream import Bytes, Copies
from privpipe.perturb.knowledge import ANY_OUTPUT
from privpipe.perturb.linear import identity
from privpipe.perturb.method import Drawing
from privpipe.perturb.settings import setting
from privpipe.perturb.shared_noise import FEW, ROUNDS, TOGETHER
from privpipe.perturb.values import Doubles, Floats

WHITE = 255
COLOURS = 3
BITS = 8
DIGITS = 12  # of a probability
COMPARED = 1 << 23  # bits of images that are compared at a time: 32 MB
# Of red, green and blue in Y, Cb - 128 and Cr - 128, and back (ITU-T T.871, as JPEG has it), in steps of 2^-14: then
# sums of products with whole levels are exact in float32, in whatever order a library adds.
STEPS = 1 << 14
TO_YCC = np.rint(STEPS * np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]))
TO_RGB = np.rint(STEPS * np.array([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]]))
TO_YCC, TO_RGB = TO_YCC / STEPS, TO_RGB / STEPS
GREY = 128
EXACT_ERROR = 0.5  # grey levels of red, green and blue, for a value that is cut to a whole number in Y, Cb and Cr
CUT_ERROR = 100.0  # the same of pixels that were cut: 75 to 90 on drawn images
SURE, SURE_SHARE = 4.6, 0.98  # logarithms of odds, and shares of ones, that few images tell at most
IMPORTANCE = (4.0, 1.0, 1.0)  # of Y, Cb, Cr


@dataclass(frozen=True)
class LdpSlicing(Perturbation):
    """Every bit of an image in Y, Cb and Cr is told truly with probability e^ε/(e^ε + 1), else flipped.

    From red, green and blue to Y, Cb, Cr; of each the mean of every 2×2 pixels is taken away (the LL band of a Haar
    transform is set to 0) and 128 added, cut to 0..255 and to whole numbers below; then the bits are flipped; then back
    to red, green and blue, cut and rounded. Of bit b = 0..7 of a colour of importance w (4 of Y, 1 of Cb and Cr) ε is
    `epsilon` · sqrt(w·2^b) over the sum of these, so that the 24 bits of a pixel have `epsilon` together. Images of
    other than three colours stay in their colours, which are equally important.

    Source: Y. Cao, C. Li and W. He, "LDP-Slicing: Local Differential Privacy for Images via Randomized Bit-Plane
    Slicing", CVPR 2026, arXiv 2603.03711.

    `epsilon` is of a pixel of the image without its low frequencies. A pixel of the image itself changes the mean of
    its 2×2 pixels and with it all four, so that a change of one is private with 4·`epsilon`. Of a whole image, which is
    what re-identification feels, it is H·W·`epsilon`. Under `scope: dataset` the same bits are flipped in all images,
    and there is no promise. Probabilities have 12 binary digits; the epsilons of the guarantee follow from these.
    """

    epsilon: float = setting(20.0, "epsilon of a pixel, of all its bits together", above=0, most=48)

    name = "ldp_slicing"
    summary = "each bit of the image without its low frequencies is flipped with some probability"
    keyed = True
    exact = True
    not_counted = ANY_OUTPUT
    colour = "#285e61"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    @property
    def dataset_key(self) -> Bytes:
        """Which bits are flipped in all images of three colours, uint8 (H, W, 3): those of Y, Cb, Cr."""
        return self.shared_key(COLOURS)

    def shared_key(self, channels: int) -> Bytes:
        flips: Bytes = self._flips(self.shared_bytes(self._size(channels)), self._masks(channels))[0]
        return flips

    def image_keys(self, images: Images, copies: Copies | None = None) -> Bytes:
        """The same of each image, uint8 (N, H, W, C)."""
        channels, keys = images.shape[3], np.empty_like(images)
        own, masks = self.own_streams(images, self._size(channels), copies), self._masks(channels)
        for rows in cached(len(images), self._size(channels)):
            keys[rows] = self._flips(own.draw(images[rows]), masks)
        return keys

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out, size, masks = np.empty_like(images), self._size(images.shape[3]), self._masks(images.shape[3])
        own = self.own_streams(images, size, copies) if self.scope == "image" else None
        shared = self._flips(self.shared_bytes(size), masks) if own is None else None
        for rows in cached(len(images), size):
            flips = shared if own is None else self._flips(own.draw(images[rows]), masks)
            out[rows] = to_colours(np.bitwise_xor(details(images[rows]), np.asarray(flips)))
        return out

    def thresholds(self, channels: int) -> NDArray[np.int64]:
        """The probability with which each bit is flipped, times 2^12, (C, 8), the lowest bit first."""
        weights = np.array(IMPORTANCE if channels == COLOURS else [1.0] * channels)
        roots = np.sqrt(weights[:, None] * 2.0 ** np.arange(BITS))
        epsilons = self.epsilon * roots / roots.sum()
        return np.asarray(np.maximum(np.rint((1 << DIGITS) / (np.exp(epsilons) + 1)), 1), np.int64)

    def _size(self, channels: int) -> int:
        """Random bytes for an image."""
        return DIGITS * self.image_size**2 * channels

    def _flips(self, stream: Bytes, masks: Array) -> Bytes:
        """Which bits to flip, (n, H, W, C), from random bytes (n, 12·H·W·C) and `_masks`.

        A bit is 1 with a probability of binary digits d1 d2 ... by one random bit for each digit, the last digit first:
        what was found so far is kept where random bit and digit differ, else it becomes the digit.
        """
        digits = stream.reshape(len(stream), DIGITS, -1).view(masks.dtype)
        flips: Array = np.zeros(digits[:, 0].shape, masks.dtype)
        for i, mask in enumerate(masks):
            drawn = digits[:, i]
            flips &= drawn | mask
            flips |= drawn & mask
        return flips.view(np.uint8).reshape(
            len(stream), self.image_size, self.image_size, stream.shape[1] // self._size(1)
        )

    def _masks(self, channels: int) -> Array:
        """The digits of the probabilities, the last first, the bits of a value in one byte, (12, bytes of an image).

        Many bytes at a time, as numbers of 64 bits, where they are enough for that.
        """
        digits = self.thresholds(channels) >> np.arange(DIGITS)[:, None, None] & 1
        values = (digits << np.arange(BITS)).sum(axis=2).astype(np.uint8)
        masks = np.tile(values, self.image_size**2)
        return masks.view(np.uint64) if masks.shape[1] % 8 == 0 else masks

    def operator(self, key: Array | None) -> csr_array:
        """An image without the mean of every 2×2 pixels, (H*W, H*W): what is left once the flips are undone."""
        size = self.image_size
        y, x = np.divmod(np.arange(size * size), size)
        last = size - 1 if size % 2 else size  # the row and column that count twice
        weights = np.where(y == last, 2, 1) * np.where(x == last, 2, 1) / 4
        tiles, side = y // 2 * ((size + 1) // 2) + x // 2, (size + 1) // 2
        means = csr_array((weights, (tiles, y * size + x)), (side * side, size * size))
        return csr_array(identity(size) - means[tiles])

    def decoded(self, perturbed: Array, key: Array) -> tuple[Floats, Floats]:
        """With the flips undone. Of pixels that were cut on the way to colours the bits are mostly wrong."""
        values = from_colours(perturbed) ^ key
        told = values.astype(np.float32) + np.float32(1 / 2)  # details are cut to whole numbers below
        told -= GREY
        if values.shape[3] == COLOURS:
            told = np.asarray(told @ TO_RGB.T.astype(np.float32))
        return told, np.where(told_exactly(perturbed), EXACT_ERROR, CUT_ERROR).astype(np.float32)

    def key_equations(self) -> Equations:
        return Flipped(details, from_colours, told_exactly)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.image_size, self.image_size, channels)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        """The fraction of bits of which it is right whether they are flipped."""
        wrong = np.unpackbits(estimate.astype(np.uint8) ^ truth.astype(np.uint8)).mean()
        return KeyRecovery(1 - float(wrong), None)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        flipped = self.thresholds(channels) / (1 << DIGITS)
        return KeyRecovery(float((flipped**2 + (1 - flipped) ** 2).mean()), None)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the bits: each that is as in the candidate adds the logarithm of the odds that it is told truly.

        But for a constant that is the logarithm of the probability of the bits, which are flipped independently. The
        bits of an upload in red, green and blue are those of its Y, Cb and Cr, rounded. They are the bits that were
        made where red, green and blue were not cut to 0..255; of pixels that were cut, the nearest that can be told.

        In uploads of one key the same bits are flipped: how often a bit is 1 in them, against candidates, tells whether
        it is. Then the likeliest candidates stand for the originals and tell it anew, a few times.
        """
        flipped = self.thresholds(gallery.shape[3]) / (1 << DIGITS)
        odds = np.tile(np.log((1 - flipped) / flipped).ravel(), self.image_size**2)
        seen, asked = (images.reshape(len(images), -1) for images in (from_colours(targets), details(gallery)))
        if not 0 < self.told_together <= len(targets):
            return agreement(seen, asked, odds)
        few = seen[:FEW]
        shares = bit_counts(asked[:FEW]) / len(asked[:FEW])
        shares = np.clip(shares, 1 - SURE_SHARE, SURE_SHARE)
        told = (2 * bit_counts(few) - len(few)) * np.log(shares / (1 - shares))
        likeness = np.zeros((len(seen), len(asked)))
        for _ in range(ROUNDS):
            likeness = agreement(seen, asked, np.clip(odds + told, -SURE, SURE))
            likeliest = asked[likeness[: len(few)].argmax(axis=1)]
            told = len(few) - 2 * bit_counts(few ^ likeliest)
        return likeness

    @property
    def told_together(self) -> int:
        return TOGETHER if self.scope == "dataset" else 0

    def epsilons(self, channels: int) -> tuple[float, float] | None:
        flipped = self.thresholds(channels) / (1 << DIGITS)
        pixel = float(np.log((1 - flipped) / flipped).sum())
        return 4 * pixel, pixel * self.image_size**2

    def drawing(self) -> Drawing:
        truly = 1 - self.thresholds(COLOURS) / (1 << DIGITS)
        return Drawing("probability that a bit is told truly: Y, Cb, Cr, the lowest bit first", truly)


def details(images: Images) -> Images:
    """Y, Cb, Cr of images without the mean of each 2×2 pixels, plus 128, (N, H, W, C), whole numbers, cut to 0..255.

    At the edge of an odd size the last row and column count twice.
    """
    count, height, width, channels = images.shape
    values: Array = images.astype(np.float32)
    if channels == COLOURS:
        values = cv2.transform(values.reshape(count * height, width, channels), TO_YCC).reshape(images.shape)
    odd = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    values = np.pad(values, odd, mode="edge") if height % 2 or width % 2 else values
    tiles = values.reshape(count, values.shape[1] // 2, 2, values.shape[2] // 2, 2, channels)
    rows = tiles.sum(axis=2, keepdims=True)
    tiles *= 4  # four times the differences to the mean have 24 digits: nothing is rounded
    tiles -= rows[..., :1, :] + rows[..., 1:, :]
    tiles *= np.float32(1 / 4)
    tiles += GREY
    np.clip(tiles, 0, 255, out=tiles)
    return np.asarray(tiles.astype(np.uint8).reshape(values.shape)[:, :height, :width])


def to_colours(values: Images) -> Images:
    """Red, green and blue of Y, Cb, Cr, rounded to the nearest whole number, ties to even, and cut to 0..255."""
    count, height, width, channels = values.shape
    if channels != COLOURS:
        return values
    shifted = np.hstack([TO_RGB, -GREY * TO_RGB[:, 1:].sum(axis=1, keepdims=True)])
    colours: Array = cv2.transform(values.reshape(count * height, width, channels).astype(np.float32), shifted)
    rounded: Images = cv2.subtract(colours.reshape(1, -1), ZERO, dtype=cv2.CV_8U)  # type: ignore[assignment]  # by dtype
    return rounded.reshape(values.shape)


def from_colours(images: Images) -> Images:
    """Y, Cb, Cr of red, green and blue, rounded and cut to 0..255: the way back from `to_colours`.

    It gives the same values again where none of red, green and blue was cut.
    """
    if images.shape[3] != COLOURS:
        return images
    shifted, rows = np.column_stack([TO_YCC, [0, GREY, GREY]]), images.reshape(-1, images.shape[2], COLOURS)
    values: Array = cv2.transform(rows.astype(np.float32), shifted)
    return np.asarray(np.rint(values.clip(0, 255)).astype(np.uint8).reshape(images.shape))


def told_exactly(images: Images) -> NDArray[np.bool_]:
    """Of which pixels `from_colours` gives what was there before `to_colours`, (N, H, W)."""
    if images.shape[3] != COLOURS:
        return np.ones(images.shape[:3], bool)
    return np.asarray(((images > 0) & (images < WHITE)).all(axis=3))


def signs(values: Images) -> Floats:
    """The bits of values (n, values), 1 or -1, the lowest bit of each first, float32 (n, 8·values)."""
    bits = np.unpackbits(np.ascontiguousarray(values), axis=1, bitorder="little").astype(np.float32)
    bits *= 2
    bits -= 1
    return bits


def bit_counts(values: Images) -> NDArray[np.int64]:
    """In how many rows of values (n, values) each bit is 1, the lowest of each value first, (8·values,)."""
    return np.asarray(
        np.unpackbits(np.ascontiguousarray(values), axis=1, bitorder="little").sum(axis=0, dtype=np.int64)
    )


def agreement(one: Images, other: Images, odds: Doubles) -> Doubles:
    """The sum of `odds` over the bits that are the same, less a constant, for all pairs of rows of values, (T, G)."""
    out = np.zeros((len(one), len(other)))
    step = max(1, COMPARED // (BITS * max(len(one), len(other))))  # values, so that memory stays bounded
    for first in range(0, one.shape[1], step):
        mine, others = (signs(values[:, first : first + step]) for values in (one, other))
        mine *= (odds[BITS * first :][: mine.shape[1]] / 2).astype(np.float32)  # ±1 are 2 apart
        out += mine @ others.T
    return out
