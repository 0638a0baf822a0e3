"""What the methods tell a restoration network, in the units in which it works.

torch is imported by the functions: the methods are used without it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MIDDLE, SCALE = 127.5, 64.0  # grey levels to network units


def units(values: "Tensor") -> "Tensor":
    """Grey levels of 0..255 in network units, near 0 and of size 1."""
    return (values - MIDDLE) / SCALE


def block_mean(values: "Tensor", k: int) -> "Tensor":
    """The mean of each k×k block, at all of its pixels; (B, C, H, W)."""
    from torch.nn.functional import avg_pool2d

    return avg_pool2d(values, k).repeat_interleave(k, dim=2).repeat_interleave(k, dim=3)


def blocks_of(values: "Tensor", k: int) -> "Tensor":
    """Images (B, C, H, W) by blocks, (B, C, k*k, H/k, W/k)."""
    from torch.nn.functional import pixel_unshuffle

    batch, channels, height, width = values.shape
    return pixel_unshuffle(values, k).reshape(batch, channels, k * k, height // k, width // k)


def sorted_values(values: "Tensor", k: int, reversed_at: float | None = None) -> "Tensor":
    """All values of each block, sorted, (B, C·k·k, H/k, W/k).

    Args:
        reversed_at: of v and `reversed_at` - v the smaller one is taken; None: v.
    """
    blocks = blocks_of(values, k)
    if reversed_at is not None:
        blocks = blocks.minimum(reversed_at - blocks)
    return blocks.flatten(1, 2).sort(dim=1).values


def sorted_nibbles(image: "Tensor", k: int) -> "Tensor":
    """The nibbles of each block, of v and 15 - v the smaller one, sorted; from network units to -1..1."""
    from torch import cat

    levels = (image * SCALE + MIDDLE).round()
    upper = (levels / 16).floor()
    return sorted_values(cat([upper, levels - 16 * upper], dim=1), k, 15.0) / 3.5 - 1
