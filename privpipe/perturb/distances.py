"""Distances between all images of two sets, and the products that they are made of.

Values of 8 bits are compared exactly: products of whole numbers of 8 bits are summed in 32 bits, for which processors
with VNNI or AMX have instructions that do many times as much as those for float64. Real numbers are written in digits
of 8 bits for that (`Digits`), as many as they are worth; without such instructions all is done in floating point.
"""

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.values import Array, Doubles, Floats

if TYPE_CHECKING:
    from torch import Tensor

Whole = NDArray[np.int8]
DISTANCE_VALUES = 4 << 20  # compared at a time
WORTH_TORCH = 1 << 35  # multiplications in float64 that take about as long as importing torch
AT_ONCE = 1 << 16  # products of 8 bits whose sum surely fits into 32 bits
EXACT_SQUARES = 1 << 10  # squares of 8 bits with a sign, whose sum is exact in float32
MIDDLE = 128  # is subtracted from values of 0..255, which distances do not change with


class Digits:
    """Rows of real numbers as whole numbers of 8 bits: row = scale · (d0 + 256·d1 + ... ), -128 <= d <= 127.

    A number is off by up to about 2^-8n of the largest of its row, n being how many digits there are.

    Args:
        rows: float32 (T, D).
        count: n, up to 3; float32 itself is worth 3.
        multiplications: by how many it is used; where they are few, or 8 bits are not faster, the rows stay as they
            are.
    """

    def __init__(self, rows: Floats, count: int, multiplications: int):
        self.rows = rows
        self.digits: list[Whole] = []
        if not faster_in_8_bits(multiplications):
            return
        largest = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))
        most = (1 << 8 * count - 1) - (1 << 8 * (count - 1))
        self.scales = np.where(largest > 0, largest, 1).astype(np.float64) / most
        numbers = rows * (1 / self.scales[:, None]).astype(np.float32)
        shifted = np.rint(numbers, out=numbers).astype("<i4", order="C")
        # A byte of value + 128 at each place is a digit with its sign, plus 128.
        shifted += sum(MIDDLE << 8 * place for place in range(count))
        places = shifted.view(np.uint8).reshape(*rows.shape, 4)
        self.digits = [centred(np.ascontiguousarray(places[..., place])) for place in range(count)]

    def times(self, whole: Whole, dtype: Any = np.float64) -> Array:
        """Products of each of these rows with each row of `whole`, int8 (G, D), `dtype` (T, G)."""
        if not self.digits:
            return np.asarray(self.rows.astype(dtype) @ whole.T.astype(dtype))
        out = np.zeros((), dtype)
        for place, digit in enumerate(self.digits):
            part = exact_products(digit, whole).astype(dtype)
            part *= (self.scales[:, None] * 256**place).astype(dtype)
            out = part if not place else np.add(out, part, out=part)
        return out


@cache
def int8_product() -> Callable[[Whole, Whole], NDArray[np.int32]] | None:
    """a·bᵀ of int8 (N, D) and (M, D), int32 (N, M), exactly; None where the processor is not made for it."""
    import torch

    multiply = getattr(torch, "_int_mm", None)
    # torch documents no public names for these.
    if multiply is None or not torch.cpu._is_vnni_supported():
        return None

    def product(one: Whole, other: Whole) -> NDArray[np.int32]:
        if one.shape[1] == 1:  # torch 2.13 gives other numbers
            return one.astype(np.int32) * other.T
        a, b = (torch.from_numpy(_in_one_piece(values)) for values in (one, other))
        result: Tensor = multiply(a, b.T)
        return np.asarray(result.numpy())

    # Of sums that instructions of 16 bits would cut off, and of columns that lie beside each other, to be sure.
    extreme = np.where(np.random.default_rng(0).integers(0, 2, (32, 256)) == 1, 127, -128).astype(np.int8)
    right = extreme.astype(np.int32) @ extreme.T.astype(np.int32)
    columns = np.asfortranarray(extreme)
    return product if all(np.array_equal(product(rows, rows), right) for rows in (extreme, columns)) else None


def _in_one_piece(values: Whole) -> Whole:
    """The same values with rows or columns beside each other, as they are where either is so."""
    return values if values.flags.f_contiguous else np.ascontiguousarray(values)


def squared_distances(targets: Array, gallery: Array) -> Doubles:
    """|t - g|² for all pairs, (T, G).

    Of uint8 it is exact. If the targets alone are real numbers they are taken as precisely as float32 has them; else
    all is done in float64.
    """
    t, g = (values.reshape(len(values), -1) for values in (targets, gallery))
    multiplications = len(t) * g.size
    if g.dtype != np.uint8 or not faster_in_8_bits(multiplications):
        return _in_doubles(t, g)
    other = centred(g)
    if t.dtype == np.uint8:
        one = centred(t)
        out, lengths = np.multiply(exact_products(one, other), -2.0), _lengths(one)
    else:
        rows = t.astype(np.float32) - np.float32(MIDDLE)
        out, lengths = (
            Digits(rows, 3, multiplications).times(other),
            np.einsum("nd,nd->n", rows, rows, dtype=np.float64),
        )
        out *= -2
    out += lengths[:, None]
    out += _lengths(other)
    return np.asarray(out)


def centred(values: NDArray[np.uint8]) -> Whole:
    """Values of 0..255 less 128."""
    return np.asarray((values ^ np.uint8(MIDDLE)).view(np.int8))


def exact_products(one: Whole, other: Whole) -> NDArray[Any]:
    """a·b of all rows, int8 (N, D) and (M, D): whole numbers, int32 (N, M), or float64 where D is large."""
    multiply = int8_product()
    assert multiply is not None
    parts = [slice(first, first + AT_ONCE) for first in range(0, one.shape[1], AT_ONCE)]
    sums = multiply(one[:, parts[0]], other[:, parts[0]])
    for part in parts[1:]:
        sums = sums + multiply(one[:, part], other[:, part]).astype(np.float64)
    return sums


def _lengths(rows: Whole) -> Doubles:
    """|row|² exactly, float64 (N,)."""
    floats = rows.astype(np.float32)
    out = np.zeros(len(rows))
    for first in range(0, rows.shape[1], EXACT_SQUARES):
        part = floats[:, first : first + EXACT_SQUARES]
        out += np.einsum("nd,nd->n", part, part)
    return out


def _in_doubles(t: Array, g: Array) -> Doubles:
    """`squared_distances` of rows, in float64, where sums of squared grey levels are exact."""
    out = np.zeros((len(t), len(g)))
    step = max(1, DISTANCE_VALUES // max(len(t), len(g)))  # so that memory stays bounded
    for first in range(0, t.shape[1], step):
        one, other = (values[:, first : first + step].astype(np.float64) for values in (t, g))
        out += (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * (one @ other.T)
    return out


def faster_in_8_bits(multiplications: int) -> bool:
    """Whether the processor is made for it, and torch is there or importing it is less work than doing without."""
    return ("torch" in sys.modules or multiplications >= WORTH_TORCH) and int8_product() is not None
