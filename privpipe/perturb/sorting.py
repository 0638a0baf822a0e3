"""Many short rows sorted side by side, for comparing what permutations leave alone."""

from collections.abc import Iterator

import numpy as np

from privpipe.perturb.values import Array

LONGEST = 256  # values of a row, for a network: it has about n·log²(n)/4 comparisons
LEAST_ROWS = 1024  # side by side, so that a comparison is worth its call


def sorted_second(values: Array, axis: int) -> Array:
    """(N, ...) sorted along `axis`, which is at least 1 and comes second in what is returned.

    Bytes of many rows are sorted by a network, whose comparisons are the same for all rows, and so are done for all of
    them at once (Batcher, "Sorting networks and their applications", AFIPS 1968; Knuth, The Art of Computer
    Programming 3, algorithm 5.2.2M).
    """
    length = values.shape[axis]
    if values.dtype != np.uint8 or not 1 < length <= LONGEST or values.size < LEAST_ROWS * length:
        return np.moveaxis(np.sort(values, axis=axis), axis, 1)
    places = np.ascontiguousarray(np.moveaxis(values, axis, 0))
    rows, spare = list(places), np.empty_like(places[0])
    for low, high in comparisons(length):
        np.minimum(rows[low], rows[high], out=spare)
        np.maximum(rows[low], rows[high], out=rows[high])
        rows[low], spare = spare, rows[low]
    return np.stack(rows, axis=1)


def comparisons(count: int) -> Iterator[tuple[int, int]]:
    """Places (low, high) of `count` values, which are to be exchanged in turn where they are in the wrong order."""
    top = 1 << (count - 1).bit_length() - 1 if count > 1 else 0
    step = top
    while step:
        reach, apart, wanted = top, step, 0
        while True:
            yield from ((low, low + apart) for low in range(count - apart) if low & step == wanted)
            if reach == step:
                break
            apart, reach, wanted = reach - step, reach // 2, step
        step //= 2
