"""The forms that a square of pixels can take and still show what it shows: turned, mirrored, negative, recoloured."""

from functools import cache
from itertools import permutations

import numpy as np

from privpipe.perturb.values import Array


@cache
def block_forms(k: int, channels: int) -> Array:
    """All forms of a block, as `Perturbation.block_variants` describes them; those of one effect are one."""
    n = k * k * channels
    values = np.arange(n, dtype=np.int32).reshape(k, k, channels)
    squares = [np.rot90(side, turns) for side in (values, values[:, ::-1]) for turns in range(4)]
    colours = [list(own) for own in permutations(range(channels))]
    forms = [square[..., own].ravel() + n * sign for square in squares for sign in (0, 1) for own in colours]
    return np.array(list(dict.fromkeys(map(tuple, forms))), np.int32)
