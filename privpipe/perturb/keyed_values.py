"""What several published schemes have in common: a key changes the values of an image, by blocks.

A value is a byte, or one of the two nibbles of a byte. Values are counted block by block: the pixels of a block row by
row, of each pixel its colours; the upper nibbles of a block come before its lower ones. In most schemes values change
places and some are reversed: v becomes 255 - v, or 15 - v, so that all of its bits flip. Then

    output[j] = input[source[j]] xor flip[j]

and the scheme says which sources and flips it draws.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, BlockPerturbation, Images, cached, from_blocks, to_blocks
from privpipe.perturb.keystream import Bytes, Copies
from privpipe.perturb.values import Doubles

COLOURS = 3
INDEX_BYTES = 8
NIBBLE_BITS, NIBBLE = 4, 15


class Change(ABC):
    """What a key does, to all images or to each of n."""

    @abstractmethod
    def of(self, rows: slice) -> Self:
        """The same for some of the images."""

    @abstractmethod
    def apply(self, values: Bytes) -> Bytes:
        """The values (n, Q, m) changed; the m of one place are treated alike."""

    @abstractmethod
    def inverse(self) -> "Change":
        """What undoes it."""


@dataclass(frozen=True)
class Moves(Change):
    """Where the values of images come from, and which of them are reversed; of all images, or of each of n.

    Args:
        sources: intp (1, Q) or (n, Q), a permutation in each row.
        flips: uint8 of the same shape: all bits of a value where it is reversed, else 0.
    """

    sources: NDArray[np.intp]
    flips: Bytes

    @classmethod
    def signed(cls, keys: Array, levels: int) -> "Moves":
        """From keys (n, Q): value j comes from value keys[j], or from the reverse of value keys[j] - Q."""
        reverse = keys >= keys.shape[1]
        return cls(keys - keys.shape[1] * reverse.astype(np.intp), reverse * np.uint8(levels - 1))

    def of(self, rows: slice) -> "Moves":
        return self if len(self.sources) == 1 else Moves(self.sources[rows], self.flips[rows])

    def apply(self, values: Bytes) -> Bytes:
        if len(self.sources) == 1:
            moved: Bytes = values.take(self.sources[0], axis=1)
        else:
            rows = values.shape[1] * np.arange(len(values))[:, None]
            moved = values.reshape(-1, values.shape[2]).take(self.sources + rows, axis=0)
        moved ^= self.flips[..., None]
        return moved

    def inverse(self) -> "Moves":
        back = np.empty_like(self.sources)
        np.put_along_axis(back, self.sources, np.arange(self.sources.shape[1])[None], axis=1)
        return Moves(back, np.take_along_axis(self.flips, back, axis=1))


class KeyedValues(BlockPerturbation):
    """See the module; a scheme defines the abstract members.

    Attributes:
        nibbles: whether the values are nibbles rather than bytes.
        alike: whether one key moves the values of all blocks; else it moves those of the whole image.
        standing: whether values, bytes of blocks that are `alike`, stay where they are. Then they are changed as they
            lie in an image, by rows of blocks.
    """

    keyed = True
    exact = True
    undone_by_key = True
    nibbles: ClassVar[bool] = False
    standing: ClassVar[bool] = False

    @abstractmethod
    def key_bytes(self, channels: int) -> int:
        """How many random bytes a key takes for images of so many colours."""

    @abstractmethod
    def drawn(self, stream: Bytes, channels: int) -> Array:
        """Keys (n, ...) in the form of `dataset_key` from random bytes (n, key_bytes)."""

    @abstractmethod
    def change(self, keys: Array, channels: int) -> Change:
        """What keys (n, ...) do to the values of a block where blocks are `alike`, else to those of an image.

        Where values are `standing`, what they do to those of a row of blocks (`across`).
        """

    @property
    def block_size(self) -> int:
        """Pixels along a side of what counts as a block."""
        return self.k

    @property
    def n_blocks(self) -> int:
        return (self.image_size // self.block_size) ** 2

    @property
    def levels(self) -> int:
        """One more than the largest value."""
        return 1 << NIBBLE_BITS if self.nibbles else 256

    def block_values(self, channels: int) -> int:
        """Values of a block."""
        return (2 if self.nibbles else 1) * self.block_size**2 * channels

    @property
    def dataset_key(self) -> Array:
        """The key of all images of three colours (`scope: dataset`), as the method describes it."""
        return self.shared_key(COLOURS)

    def shared_key(self, channels: int) -> Array:
        key: Array = self._shared(channels)[0]
        return key

    def image_keys(self, images: Images, copies: Copies | None = None) -> Array:
        """The same of each image (`scope: image`), (N, ...)."""
        channels = images.shape[-1]
        return self.drawn(self.own_streams(images, self.key_bytes(channels), copies).draw(images), channels)

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        channels = images.shape[-1]
        if self.scope == "dataset":
            return self._moved(images, self.change(self._shared(channels), channels))
        out, own = np.empty_like(images), self.own_streams(images, self.key_bytes(channels), copies)
        for rows in self._rows(images):
            keys = self.drawn(own.draw(images[rows]), channels)
            out[rows] = self._moved(images[rows], self.change(keys, channels))
        return out

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        keys, channels = self.given(keys, "permutation"), perturbed.shape[-1]
        form = self.key_form(channels)
        if keys.shape == form:
            return self._moved(perturbed, self.change(keys[None], channels).inverse())
        if keys.shape[1:] != form or len(keys) != len(perturbed):
            raise PrivpipeError(
                f"a key of {self.name} for images of {channels} colours has the shape {form}, and those of "
                f"{len(perturbed)} images one axis more; got {keys.shape}. Pass dataset_key or image_keys."
            )
        out = np.empty_like(perturbed)
        for rows in self._rows(perturbed):
            out[rows] = self._moved(perturbed[rows], self.change(keys[rows], channels).inverse())
        return out

    def values(self, images: Array) -> Bytes:
        """The values of images, whole grey levels of 0..255, as uint8 (N, blocks, values of a block)."""
        blocks: Bytes = (
            to_blocks(images, self.block_size).reshape(len(images), self.n_blocks, -1).astype(np.uint8, order="C")
        )
        return np.concatenate([blocks >> NIBBLE_BITS, blocks & NIBBLE], axis=2) if self.nibbles else blocks

    def images(self, values: Bytes, channels: int) -> Images:
        """What `values` were cut from."""
        if self.nibbles:
            upper, lower = np.split(values, 2, axis=2)
            values = (upper << np.uint8(NIBBLE_BITS)) | lower
        return from_blocks(values.reshape(*values.shape[:2], -1, channels), self.image_size, self.block_size)

    def columns(self, images: Array) -> Bytes:
        """`values` in another order: what stands at each place of a block, in all blocks, (N, n, blocks)."""
        return np.ascontiguousarray(self.values(images).swapaxes(1, 2))

    def across(self, places: Bytes) -> Bytes:
        """What is said of each value of a block (n, k²·C), of each of a row of blocks, as they lie in an image."""
        lines = places.reshape(len(places), self.block_size, -1)
        return np.tile(lines, self.image_size // self.block_size).reshape(len(places), -1)

    def folded(self, images: Array) -> Bytes:
        """`values`, of v and its reverse the smaller one: what no reversal changes."""
        values = self.values(images)
        smaller: Bytes = np.minimum(values, values ^ np.uint8(self.levels - 1))
        return smaller

    def reverses(self, rows: Callable[[Array], Doubles]) -> Callable[[Array], Iterator[Doubles]]:
        """The two forms of values that `rows` takes from images: as they are, and reversed."""

        def forms(images: Array) -> Iterator[Doubles]:
            values = rows(images)
            yield values
            yield self.levels - 1 - values

        return forms

    def _shared(self, channels: int) -> Array:
        """The key of all images, (1, ...)."""
        return self.drawn(self.shared_bytes(self.key_bytes(channels)), channels)

    def _rows(self, images: Array) -> Iterator[slice]:
        """Images to handle at a time where each has a key of its own."""
        moved = self.block_values(images.shape[-1]) * (1 if self.alike else self.n_blocks)
        image = math.prod(images.shape[1:])
        return cached(len(images), max(INDEX_BYTES * moved, self.key_bytes(images.shape[-1]), image))

    def _moved(self, images: Array, change: Change) -> Array:
        out = np.empty_like(images)
        for rows in cached(len(images), 4 * math.prod(images.shape[1:])):
            own, some = change.of(rows), images[rows]
            if self.standing:
                lines = some.astype(np.uint8, copy=False).reshape(len(some), self.image_size // self.block_size, -1)
                out[rows] = own.apply(lines.swapaxes(1, 2)).swapaxes(1, 2).reshape(some.shape)
            elif self.alike:
                moved = own.apply(self.columns(some)).swapaxes(1, 2)
                out[rows] = self.images(moved, images.shape[-1])
            else:
                values = self.values(some)
                moved = own.apply(values.reshape(len(values), -1, 1)).reshape(values.shape)
                out[rows] = self.images(moved, images.shape[-1])
        return out
