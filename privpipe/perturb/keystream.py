"""All randomness of the transformations, derived from one 256-bit secret.

Every permutation and filter is a function of the secret and a label that names its purpose (for example
`("block_scramble", 4, "image", "train", 17)`), through SHAKE-256 (FIPS 202, an extendable-output function). So results
do not depend on the order, the chunks or the threads in which images are handled, and what an attacker learns of one
image's randomness tells nothing about another's.

Noise and the weights of block_mix are millions of numbers, for which SHAKE-256 and the normal quantile are too slow.
`KeyStream.fields` and `KeyStream.halves` have one seekable stream of AES-256 in counter mode (NIST SP 800-38A), whose
key is SHAKE-256 of secret and label, and tables of quantiles. What belongs to an image is the same whichever others
are made with it, and, since tables and one addition are all the arithmetic there is, on every machine.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray
from scipy.special import ndtri

from privpipe.errors import PrivpipeError

SECRET_BYTES = 32
DERIVATION = "shake256/1"  # a change of anything in this file that changes results gets a new name
FIELDS, HALVES = "aes256ctr/1", "aes256ctr16/1"  # the same for the methods of these names, alone in their labels
AES_BLOCK = 16  # bytes


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
        return hashlib.shake_256(self.secret + encoded(self.label)).digest(count)

    def numbered(self, start: int, count: int, size: int) -> NDArray[np.uint8]:
        """`child(i).bytes(size)` for i = `start` .. `start + count - 1`, uint8 (count, size), and faster than that."""
        shared = hashlib.shake_256(self.secret + encoded((*self.label, 0))[: -len("0]")])
        parts = []
        for i in range(start, start + count):
            one = shared.copy()
            one.update(b"%d]" % i)
            parts.append(one.digest(size))
        return np.frombuffer(b"".join(parts), np.uint8).reshape(count, size)

    def permutations(self, rows: int, n: int) -> NDArray[np.int32]:
        """`rows` independent uniform permutations of 0..n-1, int32 (rows, n)."""
        return order(np.frombuffer(self.bytes(8 * rows * n), dtype="<u8").reshape(rows, n))

    def normal(self, *shape: int) -> NDArray[np.float64]:
        """Independent N(0, 1) values, float64 of `shape`, by inversion of the normal distribution."""
        return normal(np.frombuffer(self.bytes(4 * int(np.prod(shape))), np.uint8)).reshape(shape)

    def fields(self, start: int, count: int, size: int) -> NDArray[np.float32]:
        """Fields `start` .. `start + count - 1` of `size` values each, independent and close to N(0, 1).

        The keystream is AES-256 in counter mode under `child(FIELDS, size).bytes(32)`. A field takes 4 bytes per
        value, padded up to whole blocks of 16 bytes, and the counter is the number of the block: field i begins with
        block i times the blocks of a field. A value is table[low 16 bits] + table[high 16 bits] of its little-endian
        32 bits, `table` as `quantiles` returns it.

        That is the sum of two independent draws from 65,536 equally likely normal quantiles, so not quite normal: its
        mean is 0 and its variance 1, its excess kurtosis -0.0004, it ends at 6.12, and P(|x| > t) is 0.9995, 0.984 and
        0.833 times the normal law's at t = 3, 4 and 5. The quantile of 32 bits is truer to the normal law, but takes
        twenty times as long, and its last digits depend on the machine.

        Returns:
            float32 (count, size).
        """
        halves = self._counted(FIELDS, start, count, size, 4)
        if not halves.size:  # OpenCV refuses empty arrays
            return np.empty((count, size), np.float32)
        looked_up = cv2.LUT(halves.reshape(count, size, 2), quantiles())
        return np.asarray(looked_up[..., 0] + looked_up[..., 1])

    def halves(self, start: int, count: int, size: int) -> NDArray[np.uint16]:
        """Rows `start` .. `start + count - 1` of `size` independent uniform numbers 0..65,535 each, (count, size).

        As in `fields`, with 2 bytes per number and `child(HALVES, size)`.
        """
        return self._counted(HALVES, start, count, size, 2)

    def _counted(self, name: str, start: int, count: int, size: int, width: int) -> NDArray[np.uint16]:
        """`count` rows of `size` values of `width` bytes, as 16-bit numbers, (count, size * width / 2)."""
        blocks = -(-width * size // AES_BLOCK)
        key, counter = self.child(name, size).bytes(32), (start * blocks).to_bytes(AES_BLOCK, "big")
        stream = Cipher(AES(key), CTR(counter)).encryptor().update(bytes(count * blocks * AES_BLOCK))
        numbers = np.frombuffer(stream, "<u2").astype(np.uint16, copy=False)
        return numbers.reshape(count, blocks * AES_BLOCK // 2)[:, : size * width // 2]


def encoded(label: Iterable[str | int]) -> bytes:
    """The label as bytes."""
    # JSON of a list of strings and integers is injective: no two labels share an encoding.
    return json.dumps([DERIVATION, *label], separators=(",", ":")).encode()


def order(keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Uniform permutations from random 64-bit numbers: the order of each row of n, int32 of the same shape.

    Two numbers of a row are equal with probability under n² / 2^65; then their order is the library's choice.
    """
    return np.argsort(keys, axis=-1).astype(np.int32)


def normal(stream: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Independent N(0, 1) values from random bytes, (..., 4 * n) to float64 (..., n): quantiles of 32-bit numbers."""
    values: NDArray[np.float64] = ndtri((stream.view("<u4") + 0.5) / 2.0**32)
    return values


@cache
def quantiles() -> NDArray[np.float32]:
    """65,536 quantiles of the normal law, at (i + 1/2) / 65,536, scaled so that two of them sum to variance 1."""
    values = _quantiles()
    return np.asarray(values / math.sqrt(2), np.float32)


@cache
def rounded_quantiles(deviation: float, step: float) -> NDArray[np.float32]:
    """65,536 quantiles of N(0, `deviation`²), rounded to multiples of `step`, a power of two; float32."""
    return np.asarray(np.rint(_quantiles() * (deviation / step)) * step, np.float32)


def _quantiles() -> NDArray[np.float64]:
    """65,536 quantiles of the normal law, at (i + 1/2) / 65,536, scaled to variance 1; they end at 4.32."""
    values = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    # fsum rounds once, so that the scale does not depend on the order in which a processor adds.
    scaled: NDArray[np.float64] = values / math.sqrt(math.fsum(values * values) / len(values))
    return scaled
