"""Additive Gaussian noise, independent for every pixel and colour.

The random values are those of `privpipe.perturb.keystream.noise`: close to N(0, 1). All arithmetic is single float32
multiplications and additions in a fixed order, so the noise is the same on every machine.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array

from privpipe.perturb.base import Array, Images, Perturbation, cached, to_unit_float16
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.equations import Added, Equations
from privpipe.perturb.keys import KeyRecovery, chance_of_direction, of_directions
from privpipe.perturb.keystream import NOISE_END, NOISE_GAP, Bytes, Copies, OwnStreams, noise
from privpipe.perturb.linear import identity
from privpipe.perturb.method import Drawing
from privpipe.perturb.shared_noise import TOGETHER, matched
from privpipe.perturb.values import Doubles, Floats, pixel_values

WHITE = np.float32(255)
STEP = np.float32(1 / 255)  # of a grey level, where white is 1
COLOURS = 3
FLOAT_BYTES = 4


class GaussianNoise(Perturbation):
    """image · (1/255) + sigma/255 · N(0, 1), independent for every pixel and colour, never clipped.

    Under `scope: dataset` one noise field is added to all images (it subtracts out for whoever holds two);
    under `scope: image` every image has its own. With the key the inverse subtracts it. What comes out is a multiple of
    `step`, whatever the image is: last digits of floating-point numbers tell what was added to the noise (Mironov, "On
    Significance of the Least Significant Bits For Differential Privacy", CCS 2012).
    """

    name = "gaussian_noise"
    summary = "independent Gaussian noise is added to every pixel and colour"
    keyed = True
    noisy = True
    undone_by_key = True
    operator_without_key = True
    noise_is_key = True
    falls_up_to = 10**6  # a shared noise field falls with any k
    colour = "#2f855a"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    @property
    def dataset_key(self) -> Floats:
        """The noise of all images of three colours (`scope: dataset`), float32 (H, W, 3), in grey levels of 0..255."""
        return self.shared_key(COLOURS)

    def shared_key(self, channels: int) -> Floats:
        return np.asarray(self._shared(channels) * WHITE)

    def image_keys(self, images: Images, copies: Copies | None = None) -> Floats:
        """The noise of each image, float32 (N, H, W, C), in grey levels."""
        keys, own = np.empty(images.shape, np.float32), self._own_streams(images, copies)
        for rows in self._rows(keys):
            keys[rows] = self._fields(own.draw(images[rows]), images.shape[-1]) * WHITE
        return keys

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty(images.shape, np.float16)
        channels = images.shape[-1]
        own = self._own_streams(images, copies) if self.scope == "image" else None
        field = self._shared(channels) if own is None else np.empty(0, np.float32)
        most = 1 + self.sigma / 255 * NOISE_END * self._gain
        to_grid = np.float32(1.5 * 2**23 * self.step)  # a float32 sum with it is a multiple of the step
        for rows in self._rows(images):
            noisy = images[rows].astype(np.float32)
            noisy *= STEP
            noisy += field if own is None else self._fields(own.draw(images[rows]), channels)
            noisy += to_grid
            noisy -= to_grid
            to_unit_float16(noisy, self.name, most, out[rows])
        return out

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        """The images as float32 in 0..255, (N, H, W, C), not rounded."""
        images = perturbed.astype(np.float32)
        images *= WHITE
        images -= self.given(keys, "noise")
        return images

    @property
    def step(self) -> float:
        """Of what comes out, where white is 1: that of float16 below white, or twice the gap in `noise` about 0."""
        gap = 2 * NOISE_GAP * self.sigma / 255
        return 2.0 ** max(-12, math.ceil(math.log2(gap))) if gap else 2.0**-12

    def _rows(self, images: Array) -> Iterator[slice]:
        """Rows to handle at a time."""
        return cached(len(images), FLOAT_BYTES * math.prod(images.shape[1:]))

    def _shared(self, channels: int) -> Floats:
        """The field of `scope: dataset`, in units where white is 1, (H, W, C)."""
        size = self.image_size * self.image_size * channels
        field: Floats = self._fields(self.shared_bytes(FLOAT_BYTES * size), channels)[0]
        return field

    def _own_streams(self, images: Images, copies: Copies | None) -> OwnStreams:
        return self.own_streams(images, FLOAT_BYTES * math.prod(images.shape[1:]), copies)

    def _fields(self, stream: Bytes, channels: int) -> Floats:
        """Noise in units where white is 1, (n, H, W, C), from random bytes (n, 4 * H * W * C)."""
        return noise(stream, self.sigma / 255).reshape(len(stream), self.image_size, self.image_size, channels)

    @property
    def _gain(self) -> float:
        """How many times the noise may exceed the largest of the values drawn."""
        return 1.0

    def operator(self, key: Array | None) -> csr_array:
        """The identity: without its field, noise is what `noise_covariance` says."""
        return identity(self.image_size)

    def noise_covariance(self) -> Doubles | None:
        return self.sigma**2 * np.eye(self.image_size * self.image_size)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.image_size, self.image_size, channels)

    def key_equations(self) -> Equations:
        return Added(self.sigma, float(WHITE) * self.step)

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_directions(estimate, truth, 3)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_direction(self.image_size**2 * channels)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """By the squared distance, for all pixels have the same variance; of uploads of one key by `shared_noise`."""
        seen = pixel_values(targets)
        if 0 < self.told_together <= len(targets):
            return matched(seen.reshape(len(seen), -1), gallery.reshape(len(gallery), -1), self.sigma)
        return -squared_distances(seen, gallery)

    @property
    def told_together(self) -> int:
        return TOGETHER if self.scope == "dataset" else 0

    def noise_row(self) -> Doubles | None:
        return np.ones(1)

    def drawing(self) -> Drawing:
        return Drawing(f"{self.name}, sigma = {self.sigma:g}", self.dataset_key[..., 0])
