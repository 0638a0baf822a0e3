"""Maps from images to vectors that depend on public images alone.

- `PatchFeatures` needs public images, no labels: filters are random patches of them, whitened (Coates and Ng, "The
  importance of encoding versus training with sparse coding and vector quantization", ICML 2011).
- `NetworkFeatures` needs their labels too: a small network is trained on them (`privpipe.statistics.network`).
- `Projection` brings the vectors of either to few dimensions and to norms of about 1, by public images.

The same public images and seed give the same map, but for rounding, which decides the signs of a projection's
directions: another processor or number of threads has others. Sizes of images may be any that a patch fits into.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from privpipe.errors import PrivpipeError
from privpipe.statistics.network import PublicNetwork, network_features, train_network
from privpipe.statistics.values import Doubles, Floats, Images, Labels, batches, to_tensor

SAMPLED = 20_000  # patches for the covariance
FLAT = 10.0  # added to the variance of a patch, in levels² of 0..255: flat patches are not blown up (Coates and Ng)
WHITENING = 0.1  # added to the eigenvalues of the covariance of normalised patches (likewise)
THRESHOLD = 0.25  # of the soft threshold, in units of a whitened patch's filter response
POOLED = 3  # regions along each side
STRIDE = 2
ROOT = 1e-3  # added before the square root
FLAT_FEATURE = 1e-6  # a feature that varies less is left out
SOFT = 1e-3  # added to the eigenvalues before whitening, in units of their sum: what is weaker is mostly noise
TOGETHER = 16  # images at a time: their responses, 5 MB of 32×32, stay in the cache
SPARE = 50  # further directions while principal components are sought, for their precision


class FeatureMap(Protocol):
    """From images to vectors."""

    def of(self, images: Images) -> Floats:
        """uint8 (N, H, W, C) to float32 (N, F)."""
        ...

    def arrays(self) -> dict[str, Floats]:
        """All that defines the map; its class makes it again of them (`from_arrays`)."""
        ...


@dataclass(frozen=True)
class PatchFeatures:
    """Responses of whitened random patches, thresholded softly in both directions and averaged over regions.

    Every patch of an image is brought to mean 0 and variance 1 and correlated with the filters. Of a response r,
    max(0, r - a) and max(0, -r - a) are averaged over 3×3 regions and over the image and its mirror image; of each mean
    the square root is taken, which evens out their variances.

    Args:
        filters: float32 (K, C, S, S), whitening included.
        offsets: float32 (K,), what the mean patch gives.
    """

    filters: Floats
    offsets: Floats

    @classmethod
    def fit(cls, images: Images, count: int = 400, size: int = 6, seed: int = 0) -> "PatchFeatures":
        """Filters made of public images, uint8 (N, H, W, C).

        Args:
            count: K, how many filters; there are 18 features for each.
            size: S, of a patch.
            seed: draws the patches.

        Raises:
            PrivpipeError: images are smaller than a patch.
        """
        if min(images.shape[1:3]) < size:
            raise PrivpipeError(f"patches of {size}×{size} pixels do not fit into images of {images.shape[1:3]}.")
        rng = np.random.default_rng(seed)
        patches = _standardised(_random_patches(images, SAMPLED, size, rng))
        mean = patches.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(patches.T))
        whitening = (vectors / np.sqrt(np.maximum(values, 0) + WHITENING)) @ vectors.T
        drawn = (_standardised(_random_patches(images, count, size, rng)) - mean) @ whitening
        filters = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) @ whitening
        shape = (count, images.shape[3], size, size)
        return cls(filters.reshape(shape).astype(np.float32), (filters @ mean).astype(np.float32))

    @torch.no_grad()
    def of(self, images: Images) -> Floats:
        parts = []
        for rows in batches(len(images), TOGETHER):
            values = to_tensor(images[rows])
            mean = (self._pooled(values) + self._pooled(values.flip(3))) / 2
            parts.append(torch.sqrt(mean + ROOT))
        return torch.cat(parts).numpy()

    def arrays(self) -> dict[str, Floats]:
        return {"filters": self.filters, "offsets": self.offsets}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Floats]) -> "PatchFeatures":
        """What `arrays` gave."""
        return cls(arrays["filters"], arrays["offsets"])

    def _pooled(self, values: Tensor) -> Tensor:
        """Of images (n, C, H, W), float32 (n, 18·K): both directions, each of all filters and regions."""
        count, _, size, _ = self.filters.shape
        places = [(length - size) // STRIDE + 1 for length in values.shape[2:]]
        patches = F.unfold(values, size, stride=STRIDE)  # (n, C·S·S, places)
        patches -= patches.mean(1, keepdim=True)
        patches *= torch.rsqrt((patches * patches).mean(1, keepdim=True) + FLAT)
        filters, offsets = torch.from_numpy(self.filters).reshape(count, -1), torch.from_numpy(self.offsets)
        responses = torch.baddbmm(-offsets[:, None], filters.expand(len(values), -1, -1), patches)
        shrunk = F.softshrink(responses, THRESHOLD).view(len(values), count, *places)
        # What is left below 0 is the positive part less all of it.
        whole = F.adaptive_avg_pool2d(shrunk, POOLED)
        positive = F.adaptive_avg_pool2d(shrunk.relu_(), POOLED)
        return torch.cat([positive.flatten(1), (positive - whole).clamp_min(0).flatten(1)], 1)


@dataclass(frozen=True)
class NetworkFeatures:
    """What the layers of a small network see that was trained on public images with their labels."""

    network: PublicNetwork

    @classmethod
    def fit(
        cls, images: Images, labels: Labels, classes: int, seed: int = 0, epochs: int | None = None
    ) -> "NetworkFeatures":
        """A network trained on public images; see `train_network`."""
        chosen = {} if epochs is None else {"epochs": epochs}
        return cls(train_network(images, labels, classes, seed, **chosen))

    def of(self, images: Images) -> Floats:
        return network_features(self.network, images)

    def arrays(self) -> dict[str, Floats]:
        return {name: value.numpy() for name, value in self.network.state_dict().items() if value.is_floating_point()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Floats]) -> "NetworkFeatures":
        """What `arrays` gave."""
        width, channels = arrays["first.0.weight"].shape[:2]
        network = PublicNetwork(channels, len(arrays["head.bias"]), width)
        state = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        network.load_state_dict(state, strict=False)  # without the counters of batches, which nothing reads
        return cls(network.eval())


@dataclass(frozen=True)
class Projection:
    """Principal components of public vectors, softly whitened, and divided by a quantile of their norms.

    Args:
        mean: float32 (F,), of the public vectors.
        matrix: float32 (F, d).
    """

    mean: Floats
    matrix: Floats

    @classmethod
    def fit(cls, public: Floats, dims: int, weights: Floats | None = None) -> "Projection":
        """
        Every feature is brought to variance 1 (times its weight), before and apart from whitening.

        Args:
            public: vectors of public images, float32 (P, F).
            dims: d; fewer where there are not twice as many images or features.
            weights: float32 (F,), positive; None: 1 each.
        """
        mean, deviation = public.mean(axis=0), public.std(axis=0)
        scale = np.where(deviation > FLAT_FEATURE, 1 / np.maximum(deviation, FLAT_FEATURE), 0)
        scale = scale if weights is None else scale * weights
        centred = (public - mean) * scale
        dims = min(dims, min(public.shape) // 2)
        with torch.random.fork_rng(devices=[]):  # the singular vectors are found from random ones
            torch.manual_seed(0)
            spread = torch.svd_lowrank(torch.from_numpy(centred), q=dims + SPARE, niter=2)
        values, vectors = spread[1][:dims].numpy() ** 2, spread[2][:, :dims].numpy()
        matrix = scale[:, None] * vectors / np.sqrt(values + SOFT * (centred * centred).sum())
        matrix = matrix / np.median(np.linalg.norm((public - mean) @ matrix, axis=1))
        return cls(mean.astype(np.float32), matrix.astype(np.float32))

    def of(self, vectors: Floats) -> Floats:
        """float32 (N, F) to float32 (N, d), half of them longer than 1."""
        return np.asarray((vectors - self.mean) @ self.matrix, np.float32)


def _random_patches(images: Images, count: int, size: int, rng: np.random.Generator) -> Doubles:
    """Patches drawn from images, (count, C·size·size), the colours one after another."""
    which = rng.integers(len(images), size=count)[:, None, None]
    rows, columns = (rng.integers(length - size + 1, size=count) for length in images.shape[1:3])
    near = np.arange(size)
    patches = images[which, (rows[:, None] + near)[:, :, None], (columns[:, None] + near)[:, None, :]]
    return np.asarray(patches.transpose(0, 3, 1, 2).reshape(count, -1), np.float64)


def _standardised(patches: Doubles) -> Doubles:
    centred = patches - patches.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + FLAT))
