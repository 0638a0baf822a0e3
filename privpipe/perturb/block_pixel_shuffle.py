"""Blocks change places, and the values of each block by one permutation for all blocks; some of both may stay."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, BlockPerturbation, Images, cached, from_blocks, to_blocks
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Equations, Nested, Permuted
from privpipe.perturb.keys import KeyRecovery
from privpipe.perturb.keystream import Bytes, Copies, order
from privpipe.perturb.method import Drawing
from privpipe.perturb.settings import setting
from privpipe.perturb.values import Doubles

if TYPE_CHECKING:
    from torch import Tensor

NUMBER_BYTES = 8  # the random numbers whose order is a permutation, one for each item
INDEX_BYTES = 8
COLOURS = 3
Permutations = NDArray[np.int32]


@dataclass(frozen=True)
class BlockPixelShuffle(BlockPerturbation):
    """Value j of block b is value q[j] of block p[b] of the image, blocks and pixels counted row by row, of each pixel
    its colours.

    p permutes the blocks; q the k·k·C values of a block, the same way in all blocks of an image. A fraction of the
    places stays, `blocks_fixed` of the blocks and `pixels_fixed` of the values: so many places, to the nearest number,
    are drawn, and the others are permuted uniformly among themselves. With 0 and 0 it is the block and pixel shuffling
    for vision transformers of Kiya, Iijima and Nagamori ("Block-Wise Encryption for Reliable Vision Transformer
    models", 2023, arXiv 2308.07612). Restricted permutations, drawn for each image and thrown away (`scope: image`),
    are those of Aso, Shiota and Kiya ("Disposable-key-based image encryption for collaborative learning of Vision
    Transformer", 2024, arXiv 2408.05737); see also Horio, Nishikawa and Kiya ("Privacy-Preserving Vision Transformer
    Using Images Encrypted with Restricted Random Permutation Matrices", 2024, arXiv 2408.08529).
    """

    blocks_fixed: float = setting(0.0, "fraction of the blocks that stay where they are", least=0, most=1)
    pixels_fixed: float = setting(0.0, "fraction of the values of a block that stay where they are", least=0, most=1)

    name = "block_pixel_shuffle"
    summary = "blocks change places, and so do the values of each block, all blocks alike, by secret permutations"
    keyed = True
    exact = True
    undone_by_key = True
    alike = True
    usual_sizes = (2, 4, 8)
    colour = "#9f7aea"

    @property
    def dataset_key(self) -> Permutations:
        """p, then q for three colours, of all images (`scope: dataset`), int32 (blocks + 3·k·k,)."""
        return self.shared_key(COLOURS)

    def shared_key(self, channels: int) -> Permutations:
        shared: Permutations = self._shared(channels)[0]
        return shared

    def image_keys(self, images: Images, copies: Copies | None = None) -> Permutations:
        """p, then q, of each image (`scope: image`), int32 (N, blocks + C·k·k)."""
        return self._drawn(self.own_streams(images, self._size(images.shape[3]), copies).draw(images))

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out, own = np.empty_like(images), None
        if self.scope == "image":
            own = self.own_streams(images, self._size(images.shape[3]), copies)
        shared = self._shared(images.shape[3]) if own is None else None
        for rows in cached(len(images), INDEX_BYTES * math.prod(images.shape[1:])):
            keys = self._drawn(own.draw(images[rows])) if own is not None else shared
            assert keys is not None
            out[rows] = self._moved(images[rows], keys)
        return out

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        parts = self._parts(np.atleast_2d(self.given(keys, "permutations")))
        back = np.concatenate([np.argsort(part, axis=1) for part in parts], axis=1)
        out = np.empty_like(perturbed)
        for rows in cached(len(perturbed), INDEX_BYTES * math.prod(perturbed.shape[1:])):
            out[rows] = self._moved(perturbed[rows], back if len(back) == 1 else back[rows])
        return out

    def _parts(self, keys: Array) -> tuple[Array, Array]:
        """p (..., blocks) and q (..., values of a block) of keys."""
        return keys[..., : self.n_blocks], keys[..., self.n_blocks :]

    def _moved(self, images: Array, keys: Array) -> Array:
        """Images (n, H, W, C) as one key (1, ...) or one for each (n, ...) has them."""
        channels = images.shape[3]
        places = np.arange(math.prod(images.shape[1:])).reshape(1, *images.shape[1:])
        cut = to_blocks(places, self.k).reshape(self.n_blocks, -1)  # where the values of each block lie
        p, q = self._parts(keys)
        # A value lies as far from the first of its block in every block.
        sources = cut[p, 0][:, :, None] + (cut[0] - cut[0, 0])[q][:, None, :]
        sources = from_blocks(sources.reshape(len(keys), self.n_blocks, -1, channels), self.image_size, self.k)
        if len(keys) == 1:  # with the images side by side, a value moves with those of all
            sheet = cv2.transpose(images.reshape(len(images), -1)).take(sources.ravel(), axis=0)
            return np.asarray(cv2.transpose(sheet)).reshape(images.shape)
        sources += places.size * np.arange(len(images))[:, None, None, None]
        return images.reshape(-1).take(sources)

    def _counts(self, channels: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """How many items p and q permute, and how many of them stay."""
        values = self.k * self.k * channels
        return (
            (self.n_blocks, round(self.blocks_fixed * self.n_blocks)),
            (values, round(self.pixels_fixed * values)),
        )

    def _size(self, channels: int) -> int:
        """Random bytes for a key."""
        return NUMBER_BYTES * sum(n for n, _ in self._counts(channels))

    def _shared(self, channels: int) -> Permutations:
        """The key of all images, (1, blocks + C·k·k)."""
        return self._drawn(self.shared_bytes(self._size(channels)))

    def _drawn(self, stream: Bytes) -> Permutations:
        """Keys (n, blocks + C·k·k) from random bytes (n, 8 * so many)."""
        blocks = NUMBER_BYTES * self.n_blocks
        channels = (stream.shape[1] - blocks) // (NUMBER_BYTES * self.k * self.k)
        parts = zip((stream[:, :blocks], stream[:, blocks:]), self._counts(channels), strict=True)
        return np.concatenate([restricted(np.ascontiguousarray(part), fixed) for part, (_, fixed) in parts], axis=1)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.n_blocks + self.k * self.k * channels,)

    def key_equations(self) -> Equations:
        """A permutation of the blocks, by their sorted values; then one of the values of every moved block."""

        def blocks(images: Array) -> Doubles:
            values = np.sort(self._blocks(images), axis=2).transpose(0, 2, 1)
            return np.ascontiguousarray(values.reshape(1, -1, self.n_blocks), dtype=np.float64)

        def values(images: Array) -> Doubles:
            cut = self._blocks(images)
            return np.ascontiguousarray(cut.reshape(1, -1, cut.shape[2]), dtype=np.float64)

        def moved(images: Array, permutation: Array) -> Array:
            return from_blocks(to_blocks(images, self.k)[:, permutation], self.image_size, self.k)

        outer, inner = (Permuted(rows, lambda permutations, _: permutations[0]) for rows in (blocks, values))
        return Nested(outer, moved, inner, lambda p, q: np.concatenate([p, q]))

    def _blocks(self, images: Array) -> Array:
        """The values of each block, (n, blocks, k*k*C)."""
        return to_blocks(images, self.k).reshape(len(images), self.n_blocks, -1)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        """The fraction of right entries, over p and q together."""
        return KeyRecovery(float((estimate == truth).mean()), None)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        counts = self._counts(channels)
        right = sum(n * chance_of_restricted(n, fixed) for n, fixed in counts)
        return KeyRecovery(right / sum(n for n, _ in counts), None)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the sorted values of each block, the blocks sorted: no key changes these."""
        return -squared_distances(self._sorted(targets), self._sorted(gallery))

    def _sorted(self, images: Array) -> Array:
        blocks = np.sort(self._blocks(images), axis=2)
        return np.stack([own[np.lexsort(own.T)] for own in blocks])

    def orbit(self, images: Images) -> Array:
        """The image as a table, a row for each block and a column for each place in one, both sorted (`canonical`)."""
        if self.blocks_fixed or self.pixels_fixed:
            raise PrivpipeError(
                f"{self.name} has keys that form no group where some places stay fixed: two images may have an "
                "output in common, and not be equally likely to be its original."
            )
        return np.stack([canonical(table, self.name) for table in self._blocks(images)])

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """The guess is the mean of each block, at the place to which it went."""
        from privpipe.perturb.network_inputs import block_mean, units

        image = units(images)
        return block_mean(image, self.k), image

    def invariants(self, image: "Tensor") -> "Tensor | None":
        """The values of each block, sorted."""
        from privpipe.perturb.network_inputs import blocks_of

        return blocks_of(image, self.k).flatten(1, 2).sort(dim=1).values

    def weakness(self) -> str | None:
        if self.blocks_fixed == 1 and self.pixels_fixed == 1:
            return "All places stay fixed: these are the images."
        return "Blocks of one pixel: all pixels change their colours alike." if self.k == 1 else None

    def drawing(self) -> Drawing:
        side = self.image_size // self.k
        title = f"blocks of {self.k}×{self.k}: the block that each place receives"
        return Drawing(title, self._parts(self.dataset_key)[0].reshape(side, side), whole=True)


def restricted(stream: Bytes, fixed: int) -> Permutations:
    """Permutations (n, m) of which `fixed` places, drawn at random, stay, from random bytes (n, 8·m).

    The order of the m little-endian numbers is a uniform arrangement of the places. Its first ones stay; the others, in
    the order of their places, receive from one another as the arrangement has them.
    """
    drawn = order(stream)
    keys = np.broadcast_to(np.arange(drawn.shape[1], dtype=np.int32), drawn.shape).copy()
    np.put_along_axis(keys, np.sort(drawn[:, fixed:], axis=1), drawn[:, fixed:], axis=1)
    return keys


def chance_of_restricted(n: int, fixed: int) -> float:
    """The probability that two such permutations have the same source for a place."""
    moving = n - fixed
    if moving == 0:
        return 1.0
    stays = fixed / n
    # Both move a place: the sources are the same if they are one of the places that both may take it from.
    common = 1 + (moving - 1) ** 2 / (n - 1) if n > 1 else 1.0
    return stays**2 + 2 * stays * (1 - stays) / moving + (1 - stays) ** 2 * common / moving**2


ROUNDS = 3  # of refinement
MOST_BRANCHES = 1000


def canonical(table: Array, name: str) -> Array:
    """A table (rows, columns), uint8, of which the order of the rows and that of the columns are forgotten.

    Rows and columns are numbered by what stands in them and by the numbers of what crosses them, in rounds. Where lines
    differ and have one number, each of them in turn is given another, and the least of the tables is taken.

    Raises:
        PrivpipeError: that takes too long.
    """
    best, branches = None, 0
    open_numbers = [(np.zeros((len(table), 1), np.uint64), np.zeros((1, table.shape[1]), np.uint64))]
    while open_numbers:
        rows, columns = _refined(table, *open_numbers.pop())
        tied = _tied(table, rows[:, 0]), _tied(table.T, columns[0])
        branches += 1
        if branches + len(open_numbers) > MOST_BRANCHES:
            raise PrivpipeError(
                f"{name} has images here in which many blocks, or places, differ by their order alone: to tell what "
                "its keys make of them is a problem of graph isomorphism, and takes too long."
            )
        for row in tied[0]:
            other = rows.copy()
            other[row] += np.uint64(1)
            open_numbers.append((other, columns))
        for column in tied[1] if not len(tied[0]) else ():
            other = columns.copy()
            other[:, column] += np.uint64(1)
            open_numbers.append((rows, other))
        if not len(tied[0]) and not len(tied[1]):
            found = table[np.argsort(rows[:, 0], kind="stable")][:, np.argsort(columns[0], kind="stable")]
            best = found if best is None or found.tobytes() < best.tobytes() else best
    assert best is not None
    return best


Numbers = NDArray[np.uint64]


def _refined(table: Array, rows: Numbers, columns: Numbers) -> tuple[Numbers, Numbers]:
    """Numbers of the rows (R, 1) and columns (1, C) that follow from those before, whatever the order of either."""
    values = _mixed(table.astype(np.uint64))
    for _ in range(ROUNDS):
        rows = _mixed(rows + _mixed(_mixed(values + columns).sum(axis=1, keepdims=True)))
        columns = _mixed(columns + _mixed(_mixed(values + rows).sum(axis=0, keepdims=True)))
    return rows, columns


def _tied(lines: Array, numbers: Numbers) -> NDArray[np.intp]:
    """The lines that have the least number of those which several have that differ; none where there is no such one."""
    order_of_lines = np.argsort(numbers, kind="stable")
    one, next_one = order_of_lines[:-1], order_of_lines[1:]
    differ = (numbers[one] == numbers[next_one]) & (lines[one] != lines[next_one]).any(axis=1)
    return np.flatnonzero(numbers == numbers[one[differ][0]]) if differ.any() else np.empty(0, np.intp)


def _mixed(numbers: Numbers) -> Numbers:
    """Numbers that look drawn, the same for the same ones (the finaliser of SplitMix64; Steele, Lea and Flood 2014)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))
