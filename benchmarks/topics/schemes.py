"""Published schemes against the loop over images and blocks that their definitions read as: `--only schemes`."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Cell, Outcome, Table, Target
from benchmarks.scheme_loops import instahide_loop, pairs
from benchmarks.setting import Setting, hot_spots
from benchmarks.timing import Spread, faster, side_by_side
from benchmarks.topics.perturbation import Contest, agree
from privpipe.owner.key import new_key
from privpipe.perturb.block_pixel_shuffle import BlockPixelShuffle
from privpipe.perturb.disguised_rmt import DisguisedRmt
from privpipe.perturb.dp_pix import DpPix
from privpipe.perturb.instahide import Instahide
from privpipe.perturb.ldp_slicing import DIGITS, LdpSlicing
from privpipe.perturb.neuracrypt import Neuracrypt
from privpipe.perturb.release import Labelled

TITLE = "Published schemes"
ABOUT = """
Each scheme is measured on arrays in memory against a loop over images and blocks in Python, written from its paper as
its authors' own code is. Where the loop can do the very same, the results were compared before the clock ran; noise
and flips of the loop come from NumPy's generator. Seconds are per image of 32x32, with one key for all images unless
it says "scope image", but with noise, flips and orders of its own for each. NeuraCrypt, a network of six layers for
each of 64 patches, is apart from the bound on 60,000 images; its loop takes one patch at a time. So is InstaHide, of
which an encoding around each image is timed, with its labels.
"""
STREAM = new_key(0).stream
K = 4
ALL = 60_000  # images, in
LIMIT = 4.0  # seconds of CPU
AT_LEAST = 20.0
OF_MIXTURES = 1.0  # no slower than a loop over encodings, which adds up whole images as well
MEAN, SPREAD = 0.0, 5000.0  # that the loop of NeuraCrypt normalises with
APART = ("scheme-neuracrypt", "scheme-instahide")  # from `LIMIT`
Array = NDArray[Any]


def blocks_of(size: int) -> Iterator[tuple[int, slice, slice]]:
    """Each block with its number and its rows and columns."""
    side = size // K
    for b in range(side * side):
        top, left = b // side * K, b % side * K
        yield b, slice(top, top + K), slice(left, left + K)


def shuffle_loop(images: Array, key: Array) -> Array:
    out, cut = np.empty_like(images), list(blocks_of(images.shape[1]))
    p, q = key[: len(cut)], key[len(cut) :]
    for i, image in enumerate(images):
        for b, rows, columns in cut:
            _, from_rows, from_columns = cut[p[b]]
            out[i, rows, columns] = image[from_rows, from_columns].reshape(-1)[q].reshape(K, K, 3)
    return out


def rmt_loop(images: Array, key: Array) -> Array:
    out, cut = np.empty(images.shape, np.float16), list(blocks_of(images.shape[1]))
    for i, image in enumerate(images):
        plain = image / 255
        for b, rows, columns in cut:
            _, from_rows, from_columns = cut[int(key[b, 0])]
            for colour in range(3):
                out[i, rows, columns, colour] = plain[from_rows, from_columns, colour] @ key[b, 1:].reshape(K, K)
    return out


def dp_pix_loop(images: Array, scale: float) -> Array:
    out, rng = np.empty_like(images), np.random.default_rng(0)
    for i, image in enumerate(images):
        for _, rows, columns in blocks_of(len(image)):
            for colour in range(3):
                noisy = image[rows, columns, colour].mean() + rng.laplace(0, scale)
                out[i, rows, columns, colour] = min(255, max(0, round(noisy)))
    return out


def ldp_slicing_loop(images: Array, flipped: Array) -> Array:
    out, rng = np.empty_like(images), np.random.default_rng(0)
    for i, image in enumerate(images):
        red, green, blue = np.moveaxis(image.astype(float), 2, 0)
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        values = np.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], axis=2)
        for top in range(0, len(image), 2):
            for left in range(0, len(image), 2):
                for colour in range(3):
                    block = values[top : top + 2, left : left + 2, colour]
                    whole = np.clip(block - block.mean() + 128, 0, 255).astype(np.uint8)
                    for bit in range(8):
                        whole ^= (rng.random((2, 2)) < flipped[colour, bit]).astype(np.uint8) << np.uint8(bit)
                    values[top : top + 2, left : left + 2, colour] = whole
        luma, blue, red = values[..., 0], values[..., 1] - 128, values[..., 2] - 128
        colours = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
        out[i] = np.clip(np.rint(np.stack(colours, axis=2)), 0, 255)
    return out


def neuracrypt_loop(images: Array, method: Neuracrypt) -> Array:
    """The layers of the authors' encoder, patch by patch, before the patches are permuted."""
    width, cut = int(method.width), list(blocks_of(images.shape[1]))
    shapes = [(K * K * 3, width), (width,), *[(width, width)] * int(method.depth), (len(cut), width), (width, width)]
    sizes = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(method.dataset_key.astype(float), sizes)
    first, bias, *hidden, places, last = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=False))
    out = np.empty((len(images), len(cut), width), np.float16)
    for i, image in enumerate(images):
        for b, rows, columns in cut:
            values = np.maximum(((image[rows, columns].ravel() / 255 - 0.5) @ first + bias) / SPREAD, 0)
            for weights in hidden:
                values = np.maximum((values @ weights - MEAN) / SPREAD, 0)
            out[i, b] = (np.maximum(values + places[b], 0) @ last + parts[-1]) / SPREAD
    return out.reshape(len(images), *method.output_shape(3))


def encodings(images: Array, method: Instahide) -> Array:
    """What InstaHide releases of images of one class."""
    private = Labelled(images, np.zeros(len(images), np.int64))
    return method.release(private, images[:0], None, 1, STREAM)["encodings"]


def contests(size: int) -> Iterator[Contest]:
    """What is compared."""
    shuffle, rmt = BlockPixelShuffle(size, K, stream=STREAM), DisguisedRmt(size, K, stream=STREAM)
    loop = partial(shuffle_loop, key=shuffle.dataset_key)
    yield Contest("scheme-block-pixel-shuffle", f"block_pixel_shuffle k={K}", shuffle.apply, loop, AT_LEAST)
    loop = partial(rmt_loop, key=rmt.dataset_key.astype(float))
    yield Contest("scheme-disguised-rmt", f"disguised_rmt k={K}", rmt.apply, loop, AT_LEAST)
    own = DisguisedRmt(size, K, "image", stream=STREAM)
    what = f"disguised_rmt k={K}, scope image"
    yield Contest("scheme-disguised-rmt-image", what, own.apply, loop, AT_LEAST, same=False)
    network = Neuracrypt(size, K, stream=STREAM)
    loop = partial(neuracrypt_loop, method=network)
    yield Contest("scheme-neuracrypt", f"neuracrypt k={K}", network.apply, loop, AT_LEAST, same=False)
    pix, slicing = DpPix(size, K, "image", stream=STREAM), LdpSlicing(size, 1, "image", stream=STREAM)
    loop = partial(dp_pix_loop, scale=pix.scale)
    yield Contest("scheme-dp-pix", f"dp_pix k={K}, scope image", pix.apply, loop, AT_LEAST, same=False)
    loop = partial(ldp_slicing_loop, flipped=slicing.thresholds(3) / (1 << DIGITS))
    yield Contest("scheme-ldp-slicing", "ldp_slicing, scope image", slicing.apply, loop, AT_LEAST, same=False)
    mixing = Instahide(size, encodings=1)
    loop = partial(instahide_loop, method=mixing, stream=STREAM)
    what = "instahide, an encoding of 4 images"
    yield Contest("scheme-instahide", what, partial(encodings, method=mixing), loop, OF_MIXTURES, same=False)
    for name, what, ours, loop in pairs(size, STREAM):
        # The loop of a key for each image has the one key all the same: the work without the drawing.
        yield Contest(f"scheme-{name}", what, ours, loop, AT_LEAST, same=not name.endswith("-image"))


def measure(setting: Setting) -> Outcome:
    rows: list[list[Cell]] = []
    targets = []
    many, few = setting.images(setting.pick(6000, 500)), setting.images(setting.pick(60, 10))
    for contest in contests(32):
        setting.tell(contest.what)
        if contest.same and not agree(contest.ours(few), contest.loop(few)):
            raise AssertionError(f"{contest.id}: the contenders disagree")
        contenders = {"ours": partial(contest.ours, many), "loop": partial(contest.loop, few)}
        items = {"ours": len(many), "loop": len(few)}
        timings = side_by_side(contenders, setting.pick(7, 3), items=items)
        ratio, seconds = faster(timings, "ours", "loop"), Spread.of(timings["ours"].cpu)
        loop = Spread.of(timings["loop"].wall)
        whole = Spread(*(ALL * value for value in (seconds.median, seconds.low, seconds.high)))
        rows.append([contest.what, seconds.median * 1e6, loop.median * 1e6, ratio, whole])
        bound = hot_spots(contenders["ours"]) if whole.median > LIMIT else ""
        targets += [
            Target(contest.id, f"{contest.what}: against a loop over blocks", "x", ratio, at_least=contest.at_least),
        ]
        if contest.id not in APART:
            what = f"{contest.what}: {ALL:,} images"
            targets.append(Target(f"{contest.id}-all", what, "s", whole, at_most=LIMIT, bound=bound))
    columns = ["scheme", "ours, µs of CPU per image", "loop, µs per image", "ratio", f"CPU for {ALL:,}, s"]
    return Outcome(targets, [Table("Ours and a loop over blocks", columns, rows)])
