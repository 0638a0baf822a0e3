"""All randomness of the transformations, derived from one 256-bit secret and bound to what it is used for.

A stream belongs to a label, which names the method, all its settings and the purpose, for example
`("block_scramble", "image_size", 32, "k", 4, "scope", "dataset")`. Its bytes are AES-256 in counter mode (NIST SP
800-38A, section 6.5) under a key of its own, SHAKE-256 of secret and label (FIPS 202). Two labels have keys that are
independent for whoever does not know the secret, and so are their bytes.

- `KeyStream.shared` is one stream for all images (`scope: dataset`). It starts at counter 0.
- `KeyStream.own` is a stream for each image (`scope: image`). An image starts at a counter block of its own: 96 bits
  that follow from its pixels, then 32 bits that count. So an image has the same stream wherever it stands, and no
  stream ever masks two different images: that would take two images of one label whose 96 bits agree, which has
  probability 2^-57 among a million of them, 2^-33 among 2^32.

The 96 bits are a pseudo-random function of the pixels, made as AES-GCM-SIV (RFC 8452) makes its tags: a universal hash
under a secret key, then AES. The hash is GMAC (NIST SP 800-38D, section 6.4) with a fixed nonce, which is safe because
nobody sees what it gives: two different images of n blocks of 16 bytes agree in it with probability n/2^128 at most
(McGrew and Viega, "The security and performance of the Galois/Counter Mode", INDOCRYPT 2004). A universal hash followed
by a pseudo-random function is one (Carter and Wegman, 1981). SHA-256 took four times as long as GMAC.

Equal images would get equal streams, and so equal outputs, by which duplicates would show. So the images of a release
are numbered among their equals (`Copies`): what AES is applied to is hash and number, two blocks, by CBC-MAC, which is
a pseudo-random function of messages of one length (Bellare, Kilian and Rogaway, CRYPTO 1994).

What becomes of the bytes is integers, tables of quantiles and single additions, so that it is the same on every
machine, and the same whichever other images are handled with an image.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

import cv2
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from numpy.typing import NDArray

from privpipe.errors import PrivpipeError

SECRET_BYTES = 32
DERIVATION = "shake256-aes256ctr-content/2"  # a change of anything in this file that changes results gets a new name
AES_KEY_BYTES = 32
BLOCK_BYTES, NAME_BYTES = 16, 12  # of AES, and those of a counter block that name an image
FIXED_NONCE = bytes(12)
SHORT = 1024  # streams of up to so many bytes are made for all images in one call
Bytes = NDArray[np.uint8]


@dataclass
class Copies:
    """Numbers equal images in the order in which they come: 0 for the first, 1 for its first copy, and so on.

    One object serves one transformation, whose key it takes to tell images apart, and one pass over a release; pass
    it to each `apply` or `image_keys`. It holds about 150 bytes for each image.
    """

    _counts: dict[bytes, int] = field(default_factory=dict, repr=False)

    def number(self, hashed: bytes) -> int:
        """How many images of this hash came before."""
        number = self._counts.get(hashed, 0)
        self._counts[hashed] = number + 1
        return number

    def copy(self) -> "Copies":
        """Another one that goes on from here."""
        return Copies(self._counts.copy())


@dataclass(frozen=True)
class KeyStream:
    """Random bytes that follow from a secret and a label.

    Args:
        secret: the key, exactly 32 bytes. Never shown in `repr`.
        label: what the bytes are for; two different labels give independent bytes.
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
        """`count` bytes of SHAKE-256. A longer request begins with the bytes of a shorter one."""
        return hashlib.shake_256(self.secret + encoded(self.label)).digest(count)

    def shared(self, size: int) -> Bytes:
        """The stream of all images: AES-256 under `child("shared", size).bytes(32)` from counter 0, uint8 (1, size)."""
        key = self.child("shared", size).bytes(AES_KEY_BYTES)
        stream = Cipher(AES(key), CTR(bytes(BLOCK_BYTES))).encryptor().update(bytes(size))
        return np.frombuffer(bytearray(stream), np.uint8)[None]

    def own(self, shape: tuple[int, ...], size: int, copies: Copies) -> "OwnStreams":
        """The streams of images of `shape` (H, W, C), each of `size` bytes; `copies` numbers equal images."""
        return OwnStreams(self.child("own", *shape), size, copies)


class OwnStreams:
    """A stream for each image, as the module's description says; made by `KeyStream.own` for one pass over images.

    With K(purpose) = `child("own", H, W, C, purpose).bytes(32)`, image x, its number r among its equals as 16 bytes,
    big-endian, and AES(key, block) for AES-256 of a block:

        hash = GMAC(K("hash"), nonce 0, x)
        name = AES(K("name"), AES(K("name"), hash) xor r)

    and the stream is AES-256 in counter mode under K("stream"), from the counter block of the first 12 bytes of the
    name and 4 zero bytes.
    """

    def __init__(self, stream: KeyStream, size: int, copies: Copies):
        hashing, naming, streaming = (stream.child(name).bytes(AES_KEY_BYTES) for name in ("hash", "name", "stream"))
        self.size, self.copies = size, copies
        self._hash = AESGCM(hashing).encrypt
        self._name = Cipher(AES(naming), ECB()).encryptor().update
        # A call for each image would cost more than short streams do.
        self._short = size <= SHORT
        self._streams = Cipher(AES(streaming), ECB() if self._short else CTR(bytes(BLOCK_BYTES))).encryptor()

    def draw(self, images: NDArray[np.uint8]) -> Bytes:
        """The streams of `images` (N, H, W, C), uint8 (N, size)."""
        if not images.size:
            return np.empty((len(images), self.size), np.uint8)
        hashes = self._hashes(images)
        numbers = np.zeros((len(images), 2), ">u8")
        numbers[:, 1] = [self.copies.number(hashed) for hashed in hashes]
        first = np.frombuffer(self._name(b"".join(hashes)), np.uint8)
        names = np.frombuffer(self._name((first ^ numbers.view(np.uint8).ravel()).data), np.uint8)
        names = names.reshape(-1, BLOCK_BYTES)[:, :NAME_BYTES]
        return self._together(names) if self._short else self._one_by_one(names)

    def skip(self, images: NDArray[np.uint8]) -> None:
        """Count `images` as `draw` does, without their streams."""
        for hashed in self._hashes(images):
            self.copies.number(hashed)

    def _hashes(self, images: NDArray[np.uint8]) -> list[bytes]:
        """A secret for each image, the same for equal ones, 16 bytes."""
        pixels, width = np.ascontiguousarray(images).reshape(-1).data, math.prod(images.shape[1:])
        return [self._hash(FIXED_NONCE, b"", pixels[i : i + width]) for i in range(0, len(pixels), width)]

    def _together(self, names: Bytes) -> Bytes:
        """The counter blocks of all images, encrypted in one call: what counter mode adds to the zeros."""
        blocks = np.empty((len(names), -(-self.size // BLOCK_BYTES), BLOCK_BYTES), np.uint8)
        blocks[..., :NAME_BYTES] = names[:, None]
        blocks[..., NAME_BYTES:] = np.arange(blocks.shape[1], dtype=">u4").view(np.uint8).reshape(-1, 4)
        stream = np.frombuffer(self._streams.update(blocks.reshape(-1).data), np.uint8)
        return np.ascontiguousarray(stream.reshape(len(names), -1)[:, : self.size])

    def _one_by_one(self, names: Bytes) -> Bytes:
        out, size = np.empty((len(names), self.size), np.uint8), self.size
        target, zeros = out.reshape(-1).data, bytes(size)
        for i, name in enumerate(names):
            self._streams.reset_nonce(name.tobytes() + bytes(BLOCK_BYTES - NAME_BYTES))
            self._streams.update_into(zeros, target[i * size : (i + 1) * size])
        return out


def encoded(label: Iterable[str | int]) -> bytes:
    """The label as bytes."""
    # JSON of a list of strings and integers is injective: no two labels share an encoding.
    return json.dumps([DERIVATION, *label], separators=(",", ":")).encode()


def order(stream: Bytes) -> NDArray[np.int32]:
    """Uniform permutations from random bytes, (..., 8 * n) to int32 (..., n): the order of little-endian numbers.

    Two numbers of a row are equal with probability under n² / 2^65; then their order is the library's choice.
    """
    return np.argsort(stream.view("<u8"), axis=-1).astype(np.int32)


def below(stream: Bytes, n: int) -> NDArray[np.int32]:
    """Integers 0..n - 1 from random bytes, (..., 8 * m) to int32 (..., m): n times little-endian 64-bit fractions.

    Each comes with probability 1/n, to within 2^-64 (Lemire, "Fast random integer generation in an interval", 2019).
    """
    words = stream.view("<u4").astype(np.uint64)
    whole, low = words[..., 1::2] * np.uint64(n), words[..., 0::2] * np.uint64(n)
    return ((whole + (low >> np.uint64(32))) >> np.uint64(32)).astype(np.int32)


def normal(stream: Bytes) -> NDArray[np.float64]:
    """Independent N(0, 1) values from random bytes, (..., 4 * n) to float64 (..., n): quantiles of 32-bit numbers.

    They end at ±6.34.
    """
    from scipy.special import ndtri  # here: half of the stages draw no noise, and it is a third of what they import

    values: NDArray[np.float64] = ndtri((stream.view("<u4") + 0.5) / 2.0**32)
    return values


def fine_normal(stream: Bytes) -> NDArray[np.float64]:
    """As `normal`, from 8 * n bytes: quantiles of a 63-bit number, and a sign.

    They end at ±9.16, and up to 7 they are dense: more than 10^5 of them fall into each 1/1024.
    """
    from scipy.special import ndtri  # here: as in `normal`

    numbers = stream.view("<u8")
    values: NDArray[np.float64] = ndtri(((numbers >> np.uint64(1)) + 0.5) / 2.0**64)
    np.negative(values, out=values, where=(numbers & np.uint64(1)).astype(bool))
    return values


def looked_up(stream: Bytes, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of a table from random bytes, (n, 2 * size) to float32 (n, size): entries of little-endian numbers.

    Args:
        table: 65,536 values.
    """
    numbers = stream.view("<u2").astype(np.uint16, copy=False)
    if not numbers.size:  # OpenCV refuses empty arrays
        return np.empty(numbers.shape, np.float32)
    return np.asarray(cv2.LUT(numbers, table), np.float32)


def noise(stream: Bytes, deviation: float) -> NDArray[np.float32]:
    """Independent values close to N(0, `deviation`²) from random bytes, (n, 4 * size) to float32 (n, size).

    Value j is table[a] + table[b], a the j-th little-endian 16-bit number of the first half of the bytes, b that of the
    second half, and `table` as `half_quantiles(deviation)` returns it.

    That is the sum of two independent draws from 65,536 equally likely normal quantiles, so not quite normal: its mean
    is 0 and its variance 1 (in units of `deviation`), its excess kurtosis -0.0004, it ends at 6.12, and P(|x| > t) is
    0.9995, 0.984 and 0.833 times the normal law's at t = 3, 4 and 5. The quantile of 32 bits is truer to the normal
    law, but takes twenty times as long, and its last digits depend on the machine.
    """
    values = looked_up(stream, half_quantiles(deviation))
    size = values.shape[1] // 2
    if not size or not len(values):
        return np.empty((len(values), size), np.float32)
    return np.asarray(cv2.add(values[:, :size], values[:, size:]), np.float32)


NOISE_END = 6.13  # no value of `noise` is further from 0, in units of the deviation
NORMAL_END = 6.35  # likewise of `normal`
NOISE_GAP = 2.7e-5  # `noise` is 0 once in 2^16, and else this far from 0 at least, in units of the deviation
NOISE_DENSE = 5.3  # from here on values of `noise` lie further apart than float16 numbers, and these are missed
FINE_DENSE = 8.0  # up to here 1/1024 of a deviation has dozens of values of `fine_normal`


@cache
def quantiles() -> NDArray[np.float32]:
    """65,536 quantiles of the normal law, at (i + 1/2) / 65,536, scaled so that two of them sum to variance 1."""
    return np.asarray(_quantiles() / math.sqrt(2), np.float32)


@cache
def half_quantiles(deviation: float) -> NDArray[np.float32]:
    """`quantiles` times `deviation`: a single product of float32 numbers, the same on every machine."""
    return quantiles() * np.float32(deviation)


@cache
def rounded_quantiles(deviation: float, step: float) -> NDArray[np.float32]:
    """65,536 quantiles of N(0, `deviation`²), rounded to multiples of `step`, a power of two; float32."""
    return np.asarray(np.rint(_quantiles() * (deviation / step)) * step, np.float32)


def _quantiles() -> NDArray[np.float64]:
    """65,536 quantiles of the normal law, at (i + 1/2) / 65,536, scaled to variance 1; they end at 4.32."""
    from scipy.special import ndtri  # here: as in `normal`

    values = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    # fsum rounds once, so that the scale does not depend on the order in which a processor adds.
    scaled: NDArray[np.float64] = values / math.sqrt(math.fsum(values * values) / len(values))
    return scaled
