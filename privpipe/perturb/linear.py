"""Operators on images as sparse matrices, pixels row by row."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from privpipe.perturb.base import to_blocks
from privpipe.perturb.values import Doubles

DENSE_FRACTION = 0.05  # of weights that are not zero, from which a dense product is faster than a sparse one


def identity(image_size: int) -> csr_array:
    """Every pixel as it is, (P, P)."""
    return correlation(np.ones((1, 1)), image_size)


def correlation(weights: Doubles, image_size: int) -> csr_array:
    """Correlation with weights (k, k), borders reflected without repeating the edge, as a matrix (P, P)."""
    k, pixels = len(weights), image_size * image_size
    order, first, columns, rows = _taps(k, image_size)
    data = np.add.reduceat(np.tile(weights.ravel(), pixels)[order], first)
    return csr_array((data, columns, rows), shape=(pixels, pixels))


@lru_cache(maxsize=4)
def _taps(k: int, image_size: int) -> tuple[NDArray[np.intp], ...]:
    """The structure of a `correlation`, which each image with a kernel of its own would have computed anew.

    Returns:
        The k² weights of every pixel in the order of rows and columns, the first of those that meet the same pixel (at
        borders it may be met twice), the columns of what is then left, and where its rows start.
    """
    pixels = image_size * image_size
    places = np.pad(np.arange(pixels).reshape(image_size, image_size), k // 2, mode="reflect")
    sources = sliding_window_view(places, (k, k)).reshape(-1)
    flat = np.repeat(np.arange(pixels), k * k) * pixels + sources
    order = np.argsort(flat, kind="stable")
    taken, first = np.unique(flat[order], return_index=True)
    rows = np.searchsorted(taken, np.arange(pixels + 1) * pixels)
    return order, first, taken % pixels, rows


def block_places(image_size: int, k: int) -> NDArray[np.int64]:
    """Where in an image, row by row, the pixels of each k×k block lie, (blocks, k*k)."""
    places: NDArray[np.int64] = to_blocks(np.arange(image_size**2).reshape(1, image_size, image_size, 1), k)[0, :, :, 0]
    return places


def block_diagonal(weights: Doubles, image_size: int, k: int) -> csr_array:
    """Block b of k*k pixels times weights[b], as a matrix (Q, P); weights are (blocks, values for each block, k*k).

    With k*k values for each block, these take the places of its pixels; with fewer, they stand block after block.
    """
    blocks, values, n = weights.shape
    places = block_places(image_size, k)
    rows = places if values == n else np.arange(blocks * values).reshape(blocks, values)
    shape = (blocks, values, n)
    at = (np.broadcast_to(rows[:, :, None], shape).ravel(), np.broadcast_to(places[:, None], shape).ravel())
    return csr_array((weights.ravel(), at), shape=(blocks * values, image_size * image_size))


def block_means(image_size: int, k: int) -> csr_array:
    """The mean of each k×k block, (blocks, P)."""
    return block_diagonal(np.full(((image_size // k) ** 2, 1, k * k), 1 / (k * k)), image_size, k)


def smoothed_covariance(row: Doubles, sigma: float, image_size: int) -> Doubles:
    """(P, P): covariance of independent values smoothed by `row` (k,) along both axes and scaled to `sigma` again."""
    smoothing = fast(correlation(np.outer(row, row), image_size))
    covariance = smoothing @ smoothing.T
    return (sigma / float((row**2).sum())) ** 2 * dense(covariance)


def fast(matrix: csr_array) -> Any:
    """Dense where a product with a dense matrix is then faster."""
    return matrix.toarray() if matrix.nnz > DENSE_FRACTION * matrix.shape[0] * matrix.shape[1] else matrix


def dense(matrix: Any) -> Doubles:
    """A sparse or dense matrix as a dense one."""
    return np.asarray(matrix.toarray() if issparse(matrix) else matrix)
