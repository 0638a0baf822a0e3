"""NeuraCrypt: patches go through a secret random network, and change places."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from privpipe.perturb.base import Array, BlockPerturbation, Images, cached, to_blocks, to_unit_float16
from privpipe.perturb.keys import KeyRecovery, chance_of_direction, of_directions
from privpipe.perturb.keystream import Bytes, Copies, KeyStream, OwnStreams, looked_up, order, rounded_quantiles
from privpipe.perturb.knowledge import CONTINUUM
from privpipe.perturb.method import Drawing
from privpipe.perturb.patch_order import matched
from privpipe.perturb.settings import setting
from privpipe.perturb.values import Doubles, Floats

COLOURS = 3
NUMBER_BYTES, ORDER_BYTES = 2, 8
FLOAT_BYTES = 4
FLOAT_WHOLE = 2**24  # whole numbers up to this are exact in float32
GREY, STEPS = 128, 64  # what becomes 0, and how many steps of a value are 1, also of one that a layer gives
MOST = 255  # steps: what a layer gives at most
PLACE_END = 4.33  # no number of a place's vector is further from 0
BIAS_LIMIT = 2**14 - 1  # stands for 1/sqrt(inputs)
REFERENCE = 256  # patches that the normalisation is frozen on
SIMULATED = 4  # keys that stand for all, where the key is not known
TOGETHER, MOST_PLACES = 50, 144  # uploads from which on they are compared as those of one key; patches, at most
LEAST_SPREAD = 0.02  # of the logarithm of a length, which keys hardly change


@dataclass(frozen=True)
class Neuracrypt(BlockPerturbation):
    """Each patch of k×k pixels becomes `width` numbers, by one secret random network, and the patches of each image
    change places.

    A. Yala et al., "NeuraCrypt: Hiding Private Health Data via Random Neural Networks for Public Training" (2021, arXiv
    2106.02484), as its authors' code has it: a linear layer and ReLU; `depth` times a linear layer, batch normalisation
    and ReLU; a random normal vector of the patch's place is added; ReLU and a last linear layer. Weights and biases are
    uniform within ±1/sqrt(inputs). The patches of each image are permuted anew, whatever the scope. The authors have
    patches of 16×16, 2,048 numbers and a depth of 4; here patches of 4×4 become 64 numbers unless more are asked for.

    Features, no image: an upload has the shape (H/k, W/k, width), float16, and black and white are no values of it.

    Their normalisation takes mean and variance of whatever is in the batch, so that an image came out differently in
    other company. Here both are frozen, for each key, on 256 patches that are public and drawn by the code: a grey
    level, a slope, a colour and noise, each uniform. Weights and what layers give are whole numbers so small that every
    sum is exact in float32: the bytes depend neither on the library that multiplies nor on the chunks.
    """

    width: int = setting(64, "numbers for each patch", least=1, most=4096, whole=True)
    depth: int = setting(4, "layers with normalisation", least=0, most=16, whole=True)

    name = "neuracrypt"
    summary = "each block becomes numbers, by a secret random network, and the blocks of each image change places"
    keyed = True
    features = True
    pairs_attack = None
    falls_up_to = 4
    usual_sizes = (4, 8)
    not_counted = CONTINUUM
    colour = "#3c366b"

    def output_shape(self, channels: int) -> tuple[int, int, int]:
        side = self.image_size // self.k
        return side, side, int(self.width)

    @property
    def dataset_key(self) -> NDArray[np.int16]:
        """All numbers of the network of images of three colours, in the order of the layers, int16 (numbers,)."""
        return self.shared_key(COLOURS)

    def shared_key(self, channels: int) -> NDArray[np.int16]:
        key: NDArray[np.int16] = self._numbers(self.shared_bytes(self._key_size(channels)), channels)[0]
        return key

    def image_keys(self, images: Images, copies: Copies | None = None) -> NDArray[np.int16]:
        """The same of each image (`scope: image`), int16 (N, numbers)."""
        size, own = self._key_size(images.shape[3]), self._own(images, copies)
        parts = [
            self._numbers(own.draw(images[rows])[:, :size], images.shape[3])
            for rows in cached(len(images), NUMBER_BYTES * size)
        ]
        return np.concatenate(parts) if parts else np.empty((0, size // NUMBER_BYTES), np.int16)

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        channels, own, size = images.shape[3], self._own(images, copies), self._key_size(images.shape[3])
        shared = self._frozen(self.shared_bytes(size), channels) if self.scope == "dataset" else None
        out = np.empty((len(images), self.n_blocks, int(self.width)), np.float16)
        most = 1.001 * (math.sqrt(self.width) * (MOST / STEPS + PLACE_END) + 1)
        for rows in self._rows(images):
            stream = own.draw(images[rows])
            if shared is None:
                network = self._frozen(np.ascontiguousarray(stream[:, :size]), channels)
                stream = np.ascontiguousarray(stream[:, size:])
            else:
                network = shared
            encoded = to_unit_float16(network.encode(self._patches(images[rows])), self.name, most)
            # Patches as rows of all images, which are found faster than along an axis.
            sources = order(stream) + self.n_blocks * np.arange(len(stream))[:, None]
            out[rows] = encoded.reshape(sources.size, -1).take(sources, axis=0)
        return out.reshape(len(images), *self.output_shape(channels))

    def in_place(self, images: Images) -> Floats:
        """What becomes of the patches of images under `scope: dataset`, each at its place, (N, places, width).

        That is no upload: whoever has no key asks it with one of his own.
        """
        channels = images.shape[3]
        network = self._frozen(self.shared_bytes(self._key_size(channels)), channels)
        parts = [network.encode(self._patches(images[rows])) for rows in self._rows(images)]
        return np.concatenate(parts) if parts else np.empty((0, self.n_blocks, int(self.width)), np.float32)

    def with_other_keys(self) -> list["Neuracrypt"]:
        """The same with keys that stand for all others, public ones."""
        secrets = [hashlib.sha256(f"neuracrypt, a key that stands for others, {i}".encode()) for i in range(SIMULATED)]
        return [replace(self, scope="dataset", stream=KeyStream(secret.digest())) for secret in secrets]

    def _patches(self, images: Images) -> Array:
        return np.asarray(to_blocks(images, self.k).reshape(len(images), self.n_blocks, -1))

    def skip(self, images: Images, copies: Copies) -> None:
        self._own(images, copies).skip(images)

    def _inputs(self, channels: int) -> int:
        return self.k * self.k * channels

    def _parts(self, channels: int) -> list[tuple[str, tuple[int, ...], int]]:
        """What the network draws, in turn: its kind, its shape, and of weights the greatest value of an input."""
        width, layers = int(self.width), int(self.depth)
        first = self._inputs(channels)
        parts = [("weights", (first, width), GREY), ("biases", (width,), 0)]
        parts += [("weights", (width, width), MOST)] * layers
        parts += [("places", (self.n_blocks, width), 0)]
        most = MOST + math.ceil(STEPS * PLACE_END)
        return [*parts, ("weights", (width, width), most), ("biases", (width,), 0)]

    def _key_size(self, channels: int) -> int:
        """Random bytes for a network."""
        return NUMBER_BYTES * sum(math.prod(shape) for _, shape, _ in self._parts(channels))

    def _own(self, images: Images, copies: Copies | None) -> OwnStreams:
        """The streams of images: the network under `scope: image`, then the order of the patches."""
        network = self._key_size(images.shape[3]) if self.scope == "image" else 0
        return self.own_streams(images, network + ORDER_BYTES * self.n_blocks, copies)

    def _rows(self, images: Images) -> Iterator[slice]:
        values = self.n_blocks * max(int(self.width), self._inputs(images.shape[3]))
        if self.scope == "image":
            values += REFERENCE * int(self.width) + self._key_size(images.shape[3])
        return cached(len(images), FLOAT_BYTES * values)

    def _numbers(self, stream: Bytes, channels: int) -> NDArray[np.int16]:
        """The numbers of networks, (n, numbers), from random bytes (n, `_key_size`)."""
        out, first = np.empty((len(stream), stream.shape[1] // NUMBER_BYTES), np.int16), 0
        for kind, shape, most in self._parts(channels):
            last = first + math.prod(shape)
            drawn = np.ascontiguousarray(stream[:, NUMBER_BYTES * first : NUMBER_BYTES * last])
            if kind == "places":
                out[:, first:last] = STEPS * looked_up(drawn, rounded_quantiles(1.0, 1 / STEPS))
            else:
                limit = weight_limit(shape[0], most) if kind == "weights" else BIAS_LIMIT
                out[:, first:last] = (drawn.view("<u2").astype(np.int32) * (2 * limit + 1) >> 16) - limit
            first = last
        return out

    def _frozen(self, stream: Bytes, channels: int) -> "_Networks":
        """Networks from random bytes, with their normalisation."""
        numbers, parts, first = self._numbers(stream, channels).astype(np.float32), [], 0
        for _, shape, _ in self._parts(channels):
            last = first + math.prod(shape)
            parts.append(np.ascontiguousarray(numbers[:, first:last]).reshape(len(stream), *shape))
            first = last
        return _Networks(parts, self.k, channels)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self._key_size(channels) // NUMBER_BYTES,)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_directions(estimate, truth, 1)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_direction(self._key_size(channels) // NUMBER_BYTES)

    def spectrum(self, features: Array) -> Doubles:
        """How far the patches of an image lie apart, wherever they went: the logarithms of the singular values of its
        features about their mean, (N, values), largest first.

        Args:
            features: as stored, (N, H/k, W/k, width).
        """
        values = features.reshape(len(features), self.n_blocks, -1).astype(np.float64)
        values -= values.mean(axis=1, keepdims=True)
        values = values if self.n_blocks < self.width else values.swapaxes(1, 2)
        sizes = np.linalg.eigvalsh(values @ values.swapaxes(1, 2))[:, ::-1]
        kept = max(1, min(self.n_blocks - 1, int(self.width)))
        return np.asarray(np.log(np.maximum(sizes[:, :kept], 1e-6)) / 2)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """Under `scope: dataset` by `privpipe.perturb.patch_order.matched`, which takes 50 targets: they share the key.

        Of fewer, or where keys differ, by `spectrum`, whose mean and variance for each candidate are those of keys of
        the adversary's own.
        """
        if 0 < self.told_together <= len(targets):
            uploads = targets.reshape(len(targets), self.n_blocks, -1).astype(np.float32)
            shown = [other.in_place(gallery) for other in self.with_other_keys()]
            return matched(uploads, shown, self._patches(gallery))
        told = np.stack([self.spectrum(other.apply(gallery)) for other in self.with_other_keys()])
        mean, spread = told.mean(axis=0), told.var(axis=0, ddof=1).mean(axis=0) + LEAST_SPREAD**2
        seen = self.spectrum(targets)
        return np.stack([-((one - mean) ** 2 / spread).sum(axis=1) / 2 for one in seen])

    @property
    def told_together(self) -> int:
        return TOGETHER if self.scope == "dataset" and self.in_places() else 0

    def in_places(self) -> bool:
        """Whether there are few enough patches to compare all of them with each other, and more than one."""
        return 1 < self.n_blocks <= MOST_PLACES

    def drawing(self) -> Drawing:
        weights = self._frozen(self.shared_bytes(self._key_size(COLOURS)), COLOURS).parts[0][0]
        return Drawing(f"patches of {self.k}×{self.k}: the weights of the first layer, a column each", weights)


class _Networks:
    """Networks of n keys, with normalisation frozen on `reference` patches.

    Args:
        parts: whole numbers, as `Neuracrypt._parts` lists them, each with n in front.
    """

    def __init__(self, parts: list[Floats], k: int, channels: int) -> None:
        self.parts = parts
        self.scales: list[tuple[Floats, Floats]] = []  # of each layer: what is taken away, and the factor
        hidden = self._first(reference(k, channels)[None].astype(np.float32))
        for weights in parts[2:-3]:
            sums = hidden @ weights
            # Whole numbers under 2^24: their sums are exact in float64, and so are those of their squares about a mean
            # of whole steps, as far as it matters to a factor of float32.
            mean = np.rint(sums.mean(axis=1, keepdims=True, dtype=np.float64))
            variance = np.square(sums.astype(np.float64) - mean).mean(axis=1, keepdims=True)
            factor = STEPS / np.sqrt(np.maximum(variance, 1.0))
            self.scales.append((mean.astype(np.float32), factor.astype(np.float32)))
            hidden = self._normalised(sums, *self.scales[-1])

    def encode(self, patches: NDArray[np.uint8]) -> Floats:
        """Patches (N, places, k·k·C) in numbers, float32 (N, places, width); of one network, or each of its own."""
        count, places, inputs = patches.shape
        alone = len(self.parts[0]) == 1
        hidden = self._first((patches.reshape(1, -1, inputs) if alone else patches).astype(np.float32))
        for weights, scale in zip(self.parts[2:-3], self.scales, strict=True):
            hidden = self._normalised(hidden @ weights, *scale)
        vectors, weights, biases = self.parts[-3:]
        placed = hidden.reshape(count, places, -1) + vectors
        np.maximum(placed, 0, out=placed)
        width = placed.shape[-1]
        out = (placed.reshape(1, -1, width) if alone else placed) @ weights
        # In units where a weight is uniform within ±1/sqrt(width).
        out *= np.float32(1 / (STEPS * weight_limit(width, MOST + math.ceil(STEPS * PLACE_END)) * math.sqrt(width)))
        out = out.reshape(count, places, width)
        out += (biases * np.float32(1 / (BIAS_LIMIT * math.sqrt(width))))[:, None]
        return np.asarray(out)

    def _first(self, patches: Floats) -> Floats:
        """The first layer, in steps."""
        inputs, weights, biases = patches.shape[-1], self.parts[0], self.parts[1]
        patches -= GREY
        sums = patches @ weights
        sums *= np.float32(1 / (weight_limit(inputs, GREY) * math.sqrt(inputs)))  # a value of 64 levels is 1
        sums += (biases * np.float32(STEPS / (BIAS_LIMIT * math.sqrt(inputs))))[:, None]
        return _steps(sums)

    @staticmethod
    def _normalised(sums: Floats, mean: Floats, factor: Floats) -> Floats:
        sums -= mean
        sums *= factor
        return _steps(sums)


def _steps(values: Floats) -> Floats:
    """ReLU of values in steps, which ends at `MOST`, in whole steps."""
    np.rint(values, out=values)
    return np.asarray(np.clip(values, 0, MOST, out=values))


def weight_limit(inputs: int, most: int) -> int:
    """The greatest weight: a power of two less one with which sums over inputs of up to `most` are exact in float32."""
    return max(1, (1 << int(math.log2(min(FLOAT_WHOLE / (inputs * most), 2**14)))) - 1)


@cache
def reference(k: int, channels: int) -> NDArray[np.uint8]:
    """The public patches of the normalisation, (256, k·k·C): a level, a slope, a colour and noise, each uniform."""
    stream = KeyStream(bytes(32), ("neuracrypt", "reference"))
    noise = stream.child("noise").shared(REFERENCE * k * k * channels).reshape(REFERENCE, k, k, channels)
    drawn = stream.child("patch").shared(REFERENCE * (3 + channels)).reshape(REFERENCE, -1, 1, 1, 1).astype(np.int32)
    level, down, right = (drawn[:, i] for i in range(3))
    colour = drawn[:, 3:, 0, 0].reshape(REFERENCE, 1, 1, channels)
    rows, columns = np.arange(k).reshape(-1, 1, 1), np.arange(k).reshape(1, -1, 1)
    slope = ((down - 128) * (2 * rows - k + 1) + (right - 128) * (2 * columns - k + 1)) // (2 * k)
    values = level + slope + (colour - 128) // 4 + (noise.astype(np.int32) - 128) // 8
    return np.asarray(np.clip(values, 0, 255).reshape(REFERENCE, -1), np.uint8)
