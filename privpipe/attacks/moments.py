"""Means and covariances over more images than fit into memory as numbers: sums over a part at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from privpipe.perturb.distances import exact_products
from privpipe.perturb.values import Array, Doubles, Images

CHUNK_VALUES = 4 << 20  # numbers that are worked on at a time: 16 MB of float32


def parts_of(images: Array, values: int = CHUNK_VALUES) -> Iterator[Array]:
    """`images` (N, ...), as many at a time as have at most `values` numbers, and one at least."""
    step = max(1, values // max(1, images[:1].size))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def squares(parts: Iterable[Array], dtype: type[np.floating[Any]] = np.float64) -> Array:
    """The sum of xᵀ x over parts x (..., n, P), one at least: (..., P, P).

    Args:
        dtype: of the sum; a part is multiplied in its own.
    """
    total: Array | None = None
    for x in parts:
        total = _added(total, x.swapaxes(-1, -2) @ x, dtype)
    assert total is not None
    return total


def _added(total: Array | None, term: Array, dtype: type[np.floating[Any]]) -> Array:
    """`total` with `term` added in place; a sum of type `dtype` begins with None."""
    term = term.astype(dtype, copy=False)
    return term if total is None else np.add(total, term, out=total)


def _products(part: Array) -> Array:
    """xᵀ x of each x of a part (C, n, P)."""
    if part.dtype == np.int8:
        return np.stack([exact_products(rows.T, rows.T) for rows in part])
    return np.asarray(part.swapaxes(1, 2) @ part)


@dataclass(frozen=True)
class Sums:
    """Sums over images: how many, of the values (C, P) in float64, and of the products of two of them (C, P, P).

    C counts colours, P the pixels. Values are counted from a middle of their range, so that little cancels when the
    mean is taken off.
    """

    count: int
    values: Array
    products: Array

    @classmethod
    def of(cls, parts: Iterable[Array], dtype: type[np.floating[Any]]) -> "Sums":
        """Of parts (C, n, P), one at least.

        Args:
            parts: floats, whose products are made in their own type; or int8, whose products are exact, where
                `privpipe.perturb.distances.faster_in_8_bits`.
            dtype: of the sums of products.
        """
        count, values, products = 0, None, None
        for part in parts:
            count += part.shape[1]
            values = _added(values, part.sum(axis=1, dtype=np.float64), np.float64)
            products = _added(products, _products(part), dtype)
        assert values is not None and products is not None
        return cls(count, values, products)

    def __add__(self, other: "Sums") -> "Sums":
        """Of both sets, counted from the same middle."""
        return Sums(self.count + other.count, self.values + other.values, self.products + other.products)

    @property
    def mean(self) -> Array:
        """(C, P), float64."""
        return np.asarray(self.values / self.count)

    def covariances(self) -> Array:
        """(C, P, P), in the type of the products."""
        mean = self.mean.astype(self.products.dtype)
        return np.asarray(self.products / self.products.dtype.type(self.count) - mean[:, :, None] * mean[:, None, :])


def principal_axes(public: Images, mean: Doubles) -> Doubles:
    """Rows are the principal axes of colour, (C, C), the one with most variance first; `mean` (H, W, C)."""
    middle = mean.astype(np.float32)
    products = squares((part - middle).reshape(-1, mean.shape[2]) for part in parts_of(public))
    return np.asarray(np.linalg.eigh(products)[1].T[::-1])


def products_along(public: Images, mean: Doubles, axis: Doubles) -> Doubles:
    """Sums over images of the products of two pixels' deviations along an axis of colour, (P, P)."""
    weights = axis.astype(np.float32)
    middle = mean.astype(np.float32) @ weights
    return squares((part @ weights - middle).reshape(-1, middle.size) for part in parts_of(public))
