"""All randomness of the transformations, derived from one 256-bit secret.

Every permutation, filter and noise field is a function of the secret and a label that names its purpose
(for example `("block_scramble", 4, "image", "train", 17)`), through SHAKE-256 (FIPS 202, an extendable-output
function). So results do not depend on the order, the chunks or the threads in which images are handled, and
what an attacker learns of one image's randomness tells nothing about another's.
"""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from privpipe.errors import PrivpipeError

SECRET_BYTES = 32
DERIVATION = "shake256/1"  # a change of anything in this file that changes results gets a new name


@dataclass(frozen=True)
class KeyStream:
    """Random values that follow from a secret and a label.

    Args:
        secret: the key, exactly 32 bytes. Never shown in `repr`.
        label: what the values are for; two different labels give independent values.
    """

    secret: bytes
    label: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise PrivpipeError(
                f"a key is {SECRET_BYTES} bytes; got {len(self.secret)}. Make one with the keygen stage."
            )

    def __repr__(self) -> str:
        return f"KeyStream(label={self.label})"

    def child(self, *label: str | int) -> "KeyStream":
        """The stream for a finer purpose."""
        return KeyStream(self.secret, self.label + label)

    def bytes(self, count: int) -> bytes:
        """`count` bytes. A longer request begins with the bytes of a shorter one."""
        # JSON of a list of strings and integers is injective: no two labels share an encoding.
        label = json.dumps([DERIVATION, *self.label], separators=(",", ":")).encode()
        return hashlib.shake_256(self.secret + label).digest(count)

    def permutations(self, rows: int, n: int) -> NDArray[np.int32]:
        """`rows` independent uniform permutations of 0..n-1, int32 (rows, n)."""
        return order(np.frombuffer(self.bytes(8 * rows * n), dtype="<u8").reshape(rows, n))

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Independent N(0, 1) values, float64 of `shape`, by inversion of the normal distribution."""
        count = int(np.prod(shape))
        bits = np.frombuffer(self.bytes(4 * count), dtype="<u4")
        values: NDArray[np.float64] = ndtri((bits + 0.5) / 2.0**32)
        return values.reshape(shape)


def order(keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Uniform permutations from random 64-bit numbers: the order of each row of n, int32 of the same shape.

    Two numbers of a row are equal with probability under n² / 2^65; then their order is the library's choice.
    """
    return np.argsort(keys, axis=-1).astype(np.int32)
