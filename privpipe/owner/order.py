"""Which image stands in which row, and salts of raw files: what only the key tells, where there is a real one."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from privpipe.data.split import Shuffler
from privpipe.owner.key import Key
from privpipe.perturb.keystream import KeyStream, order
from privpipe.salt import SALT_DIGITS


@dataclass
class KeyedOrder:
    """Orders that follow from a secret, so that nobody without it tells which file is in which row.

    NumPy's generators are made for statistics: from a part of an order that is known, the rest could be computed.

    Args:
        stream: of these orders alone; the n-th one comes from its child n.
    """

    stream: KeyStream
    drawn: int = field(default=0, init=False)

    def permutation(self, x: NDArray[np.int64], /) -> NDArray[np.int64]:
        """The values of `x` (n,) in an order of their own."""
        self.drawn += 1
        shuffled: NDArray[np.int64] = x[order(self.stream.child(self.drawn).shared(8 * len(x)))[0]]
        return shuffled


def shuffler(key: Key | None, split_seed: int, public: np.random.SeedSequence) -> Shuffler:
    """What draws the split: a real key does, with a number for different splits; without one, the public seed.

    Args:
        key: None or a research key where anybody may make the split again.
    """
    if key is None or key.research:
        return np.random.default_rng(public)
    return KeyedOrder(key.stream.child("order", split_seed))


def salt_of(key: Key | None, what: str) -> str:
    """The salt of a file of raw images (see `privpipe.salt`): 32 hexadecimal digits, empty without a real key."""
    if key is None or key.research:
        return ""
    return key.stream.child("salt", what).bytes(SALT_DIGITS // 2).hex()
