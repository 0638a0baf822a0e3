"""Published schemes as one would write them from their papers: a loop over images and blocks, NumPy within a block.

    for name, what, ours, loop in pairs(32, stream): ...

The loops take what ours drew, so that both give the same images. `python -m benchmarks --only schemes` times them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb import METHODS, KeyStream
from privpipe.perturb.encryption_then_compression import EncryptionThenCompression
from privpipe.perturb.instahide import Instahide
from privpipe.perturb.keyed_values import KeyedValues
from privpipe.perturb.keystream import below

K = 4
Array = NDArray[Any]
Loop = Callable[[Array], Array]


def numbers(method: KeyedValues) -> Array:
    """The random numbers of the key of all images, uint64 (n,)."""
    return method.shared_bytes(method.key_bytes(3))[0].view("<u8")


def corners(size: int) -> list[tuple[int, int]]:
    return [(y, x) for y in range(0, size, K) for x in range(0, size, K)]


def nibbles_moved(block: Array, drawn: Array) -> Array:
    """LE of one block."""
    values = block.ravel()
    nibbles = np.concatenate([values >> 4, values & 15])
    reverse = drawn & 1 == 1
    nibbles[reverse] = 15 - nibbles[reverse]
    nibbles = nibbles[np.argsort(drawn)]
    nibbles[reverse] = 15 - nibbles[reverse]
    upper, lower = np.split(nibbles, 2)
    return (upper << 4 | lower).reshape(block.shape)


def le_loop(images: Array, drawn: Array) -> Array:
    out, places = np.empty_like(images), corners(images.shape[1])
    for i, image in enumerate(images):
        for y, x in places:
            out[i, y : y + K, x : x + K] = nibbles_moved(image[y : y + K, x : x + K], drawn)
    return out


def ele_loop(images: Array, drawn: Array) -> Array:
    out, places = np.empty_like(images), corners(images.shape[1])
    sources, own = np.argsort(drawn[: len(places)]), drawn[len(places) :].reshape(len(places), -1)
    for i, image in enumerate(images):
        for b, (y, x) in enumerate(places):
            top, left = places[sources[b]]
            out[i, y : y + K, x : x + K] = nibbles_moved(image[top : top + K, left : left + K], own[b])
    return out


def pixel_loop(images: Array, key: Array) -> Array:
    out, size = np.empty_like(images), images.shape[1]
    orders, signs = key % 3, key >= 3
    for i, image in enumerate(images):
        for place in range(size * size):
            y, x = divmod(place, size)
            pixel = image[y, x][orders[place]]
            out[i, y, x] = np.where(signs[place], pixel ^ 255, pixel)
    return out


def etc_loop(images: Array, sources: Array, forms: Array) -> Array:
    out, places = np.empty_like(images), corners(images.shape[1])
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for i, image in enumerate(images):
        for b, (y, x) in enumerate(places):
            top, left = places[sources[b]]
            block = image[top : top + K, left : left + K]
            block = np.rot90(block[:, ::-1] if forms[b] >= 48 else block, forms[b] // 12 % 4)
            block = 255 - block if forms[b] // 6 % 2 else block
            out[i, y : y + K, x : x + K] = block[..., list(orders[forms[b] % 6])]
    return out


def block_loop(images: Array, change: Callable[[Array], Array]) -> Array:
    """What SHF, NP and FFX have in common: the values of each block by themselves."""
    out, places = np.empty_like(images), corners(images.shape[1])
    for i, image in enumerate(images):
        for y, x in places:
            out[i, y : y + K, x : x + K] = change(image[y : y + K, x : x + K].ravel()).reshape(K, K, 3)
    return out


def encrypted(values: Array, places: Array, table: Array) -> Array:
    out = values.copy()
    out[places] = table[values[places]]
    return out


def instahide_loop(images: Array, method: Instahide, stream: KeyStream) -> Array:
    """One encoding around each image, one after the other, with signs of NumPy's generator."""
    plan, rng = method.plan(len(images), 0, stream), np.random.default_rng(0)
    out = np.empty((len(plan.weights), *images.shape[1:]), np.float16)
    for row, (members, weights) in enumerate(zip(plan.private, plan.weights, strict=True)):
        mixed = np.zeros(images.shape[1:])
        for member, weight in zip(members, weights, strict=True):
            mixed += weight * (images[member] / 127.5 - 1)
        out[row] = mixed * rng.choice([-1.0, 1.0], mixed.shape)
    return out


def pairs(size: int, stream: KeyStream) -> Iterator[tuple[str, str, Loop, Loop]]:
    """A short name, what it is, ours, and the loop; both from images uint8 (N, size, size, 3) to perturbed ones."""

    def made(name: str) -> KeyedValues:
        method = METHODS[name](size, K, stream=stream)
        assert isinstance(method, KeyedValues)
        return method

    le, ele, pixel = (made(f"{name}_encryption") for name in ("learnable", "extended_learnable", "pixel_based"))
    etc, shf, np_, ffx = (
        made(name)
        for name in ("encryption_then_compression", "value_shuffling", "negative_positive", "format_preserving")
    )
    assert isinstance(etc, EncryptionThenCompression)
    places, forms = np.split(etc.shared_bytes(etc.key_bytes(3)), 2, axis=1)
    n = K * K * 3
    table, half = ffx.dataset_key[n:], ffx.dataset_key[:n] == 1
    flips = np_.dataset_key * np.uint8(255)
    loops: list[tuple[KeyedValues, Loop]] = [
        (le, partial(le_loop, drawn=numbers(le))),
        (ele, partial(ele_loop, drawn=numbers(ele))),
        (pixel, partial(pixel_loop, key=pixel.dataset_key)),
        (etc, partial(etc_loop, sources=np.argsort(places.view("<u8")[0]), forms=below(forms, 96)[0])),
        (shf, partial(block_loop, change=lambda values: values[shf.dataset_key])),
        (np_, partial(block_loop, change=lambda values: values ^ flips)),
        (ffx, partial(block_loop, change=partial(encrypted, places=half, table=table))),
    ]
    for method, loop in loops:
        what = method.name if method.legal_k(size) is None else f"{method.name} k={K}"
        yield method.name.replace("_", "-"), what, method.apply, loop
        own = METHODS[method.name](size, K, "image", stream=stream)
        yield f"{method.name.replace('_', '-')}-image", f"{what}, scope image", own.apply, loop
