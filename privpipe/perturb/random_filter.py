"""Correlation with a secret k×k kernel of independent N(0, 1) weights.

The paper's "random filter" is `scope: dataset`, its "i.i.d. random filter" is `scope: image`.
"""

import math
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.sparse import csr_array

from privpipe.errors import PrivpipeError
from privpipe.perturb.base import Array, FilterPerturbation, Images, cached, one_by_one, side_by_side, to_unit_float16
from privpipe.perturb.distances import EXACT_SQUARES, MIDDLE, Digits, Whole, centred
from privpipe.perturb.equations import Equations, Linear
from privpipe.perturb.keys import KeyRecovery, chance_of_direction, of_directions
from privpipe.perturb.keystream import NORMAL_END, Copies, OwnStreams, normal
from privpipe.perturb.knowledge import CONTINUUM
from privpipe.perturb.linear import correlation
from privpipe.perturb.method import Drawing
from privpipe.perturb.values import Doubles, Floats

if TYPE_CHECKING:
    from torch import Tensor

WHITE = 255.0
FLOAT_BYTES = 4
NUMBER_BYTES = 4
MIN_EQUATIONS = 512  # pixels and colours that a kernel is fitted to, for `log_likelihood`
EQUATIONS_PER_WEIGHT = 2
CHUNK_VALUES = 4 << 20  # of candidates' copies at a time: 16 MB of float32
PRODUCTS_AT_ONCE = 1 << 18  # of float32, which stay in the cache: 1 MB
FILTER_DIGITS = 2  # of 8 bits of an upload, for `log_likelihood`: float16 has 11 bits of each value
ALIKE = 1e-11  # of the trace of the products of copies, added to their diagonal
BLANK = 1e-3  # likewise, in squared grey levels: copies of a black image are nothing but alike
MAX_KERNEL = 15  # a fit to one candidate takes time with the fourth power and more


class RandomFilter(FilterPerturbation):
    """`cv2.filter2D(image / 255, CV_32F, weights)`, the same weights for the three colours.

    On floats, because 8-bit output saturates and destroys the image; the result is stored as float16.
    It offers no inverse: the map is linear, but for most draws its condition number grows exponentially
    with the image size, so that what float16 rounds away swamps the solution. Estimating the image all
    the same is restoration, an attack.
    """

    name = "random_filter"
    summary = "every pixel becomes a sum of its surroundings with secret random weights"
    keyed = kernel_is_key = True
    falls_up_to = 7
    usual_sizes = (3, 5, 7)
    not_counted = CONTINUUM
    colour = "#c05621"

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The kernel of all images (`scope: dataset`), float64 (k, k)."""
        return normal(self.shared_bytes(NUMBER_BYTES * self.k * self.k)).reshape(self.k, self.k)

    @property
    def dataset_key(self) -> NDArray[np.float64]:
        """`weights`."""
        return self.weights

    def image_keys(self, images: Images, copies: Copies | None = None) -> NDArray[np.float64]:
        """The kernels of each image (`scope: image`), float64 (N, k, k)."""
        return self._kernels(images, self._own(images, copies))

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        out = np.empty(images.shape, np.float16)
        most = 1.001 * NORMAL_END * self.k * self.k  # all weights at their end on a white image; a little for rounding
        if self.scope == "dataset":
            for rows, sheet in side_by_side(images, FLOAT_BYTES):
                shared: Array = cv2.filter2D(sheet.astype(np.float32), cv2.CV_32F, self.weights / WHITE)
                out[rows] = one_by_one(to_unit_float16(shared, self.name, most), images.shape[-1])
            return out
        own = self._own(images, copies)
        for rows in cached(len(images), FLOAT_BYTES * math.prod(images.shape[1:])):
            plain = images[rows].astype(np.float32, order="C")  # OpenCV takes no other layout
            filtered = np.empty_like(plain)
            kernels = self._kernels(images[rows], own) / WHITE
            for image, kernel, result in zip(plain, kernels, filtered, strict=True):
                cv2.filter2D(image, cv2.CV_32F, kernel, result)  # nothing but this is done image by image
            to_unit_float16(filtered, self.name, most, out[rows])
        return out

    def _own(self, images: Images, copies: Copies | None) -> OwnStreams:
        return self.own_streams(images, NUMBER_BYTES * self.k * self.k, copies)

    def _kernels(self, images: Images, own: OwnStreams) -> NDArray[np.float64]:
        """The kernels of images, float64 (N, k, k)."""
        return normal(own.draw(images)).reshape(len(images), self.k, self.k)

    def operator(self, key: Array | None) -> csr_array:
        return correlation(np.asarray(key, np.float64), self.image_size)

    def key_form(self, channels: int) -> tuple[int, ...] | None:
        return (self.k, self.k)

    def key_equations(self) -> Equations:
        """Every pixel and colour is the kernel times its surroundings."""
        k = self.k

        def surroundings(originals: Doubles) -> Doubles:
            radius = k // 2
            padded = np.pad(originals, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="reflect")
            return sliding_window_view(padded, (k, k), axis=(1, 2)).reshape(1, -1, k * k)

        return Linear(
            x=surroundings,
            y=lambda perturbed: perturbed.reshape(1, -1, 1),
            key=lambda weights: weights.reshape(k, k),
            systems=1,
            n=k * k,
            variance=1.0,
            overdetermined=True,
        )

    def key_similarity(self, estimate: Array, truth: Array) -> KeyRecovery:
        return of_directions(estimate, truth, 2)

    def chance_key_similarity(self, channels: int) -> KeyRecovery:
        return chance_of_direction(self.k**2)

    def keys_from_releases(self, other: "RandomFilter", first: Array, second: Array) -> tuple[Array, Array] | None:
        """Both filters, up to scale: each release filtered with the filter of the other is the same.

        So the filters a and b of an image solve: first filtered with b, minus second filtered with a, is 0 (Xu, Liu,
        Tong and Kailath, "A least-squares approach to blind channel identification", IEEE Transactions on Signal
        Processing, 1995). Without the border, where reflected edges make it wrong; None for images too small for that.
        """
        one, two, border = self.k, other.k, max(self.k, other.k) // 2 * 2
        inner = self.image_size - 2 * border
        if inner < 1 or inner**2 * first.shape[3] < one**2 + two**2:
            return None
        solutions = []
        for before, after in zip(first, second, strict=True):
            matrix = np.hstack([_surroundings(before, two, border), -_surroundings(after, one, border)])
            solutions.append(np.linalg.eigh(matrix.T @ matrix)[1][:, 0])
        kernels = np.stack(solutions)
        return kernels[:, two**2 :].reshape(-1, one, one), kernels[:, : two**2].reshape(-1, two, two)

    def log_likelihood(self, targets: Array, gallery: Images) -> Doubles:
        """Squared length of the target's projection on what k×k kernels can make of a candidate.

        With orthonormal columns Q that span the candidate's k² shifted copies X, the best kernel leaves |t|² - |Qᵀt|².
        X are whole numbers: so Xᵀt is computed in 8 bits, and becomes Qᵀt by the inverse of Cholesky's factor of XᵀX.
        The kernel has few unknowns, so a fixed draw of pixels and colours stands for all of them.
        """
        k = self.k
        if k > MAX_KERNEL:
            raise PrivpipeError(
                f"kernels up to {MAX_KERNEL}×{MAX_KERNEL} can be fitted to each candidate; got k = {k}."
            )
        size = targets[0].size
        count = min(size, max(MIN_EQUATIONS, EQUATIONS_PER_WEIGHT * k * k))
        places = np.sort(np.random.default_rng(0).permutation(size)[:count])
        wanted = targets.reshape(len(targets), size)[:, places].astype(np.float32)
        digits = Digits(wanted, FILTER_DIGITS, wanted.size * len(gallery) * k * k)
        # Of each target the product with what was subtracted from the copies.
        middles = MIDDLE * wanted.sum(axis=1, dtype=np.float64).astype(np.float32)
        similarity = np.empty((len(targets), len(gallery)), np.float32)
        step = max(1, CHUNK_VALUES // (count * k * k))
        few = max(1, PRODUCTS_AT_ONCE // (len(targets) * k * k))
        for first in range(0, len(gallery), step):
            copies = shifted(gallery[first : first + step], k, places)
            roots = inverse_roots(copies)
            for start in range(0, len(copies), few):
                part = slice(start, start + few)
                products = digits.times(copies[part].reshape(-1, count), np.float32)
                products += middles[:, None]
                # (candidates, k², k²) times (candidates, k², T): of each candidate Qᵀt.
                parts = roots[part] @ products.reshape(len(wanted), -1, k * k).transpose(1, 2, 0)
                here = slice(first + start, first + start + len(parts))
                similarity[:, here] = np.einsum("gkt,gkt->gt", parts, parts).T
        return similarity.astype(np.float64)

    def network_inputs(self, images: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Standardised, since the filter may have any gain."""
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        spread = images.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
        # Images are positive: a negative mean tells that the filter turned the sign.
        image = (images - mean) / spread * (1.0 - 2.0 * (mean < 0).to(images.dtype))
        return image, image

    def weakness(self) -> str | None:
        if self.k > 1:
            return None
        return "A filter of one weight changes brightness and contrast alone: these are the images."

    def drawing(self) -> Drawing:
        return Drawing(f"random filter, k = {self.k}", self.weights)


def _surroundings(image: Array, k: int, border: int) -> NDArray[np.float64]:
    """The k×k surroundings of each pixel and colour of an image (H, W, C) but those of the border, (pixels, k*k)."""
    windows = sliding_window_view(image.astype(np.float64), (k, k), axis=(0, 1))
    cut = border - k // 2
    return windows[cut : len(windows) - cut, cut : len(windows) - cut].reshape(-1, k * k)


def shifted(images: Images, k: int, places: NDArray[np.int64]) -> Whole:
    """Images (n, H, W, C) less 128, shifted by each offset of a kernel, at `places`: int8 (n, k*k, places)."""
    width, channels = images.shape[2:]
    pixel, colour = np.divmod(places, channels)
    y, x = np.divmod(pixel, width)
    margin = k // 2
    # Borders as the filter has them: reflected, without the edge pixel again.
    padded = np.pad(centred(images), ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
    dy, dx = (offset.reshape(-1, 1) for offset in np.indices((k, k)))
    where = ((y + dy) * padded.shape[2] + x + dx) * channels + colour
    return np.asarray(np.take(padded.reshape(len(images), -1), where, axis=1))


def inverse_roots(copies: Whole) -> Floats:
    """R with R·XᵀX·Rᵀ = 1, float32 (n, k*k, k*k), of copies X of `shifted`, 128 added again.

    Entries of XᵀX are exact. A little is added to its diagonal, for images of which some copies are alike.
    """
    _, weights, places = copies.shape
    floats = copies.astype(np.float32)
    # Sums of up to 1,024 products of 8 bits are exact in float32.
    products = sum(
        (part @ part.transpose(0, 2, 1)).astype(np.float64)
        for part in (floats[..., first : first + EXACT_SQUARES] for first in range(0, places, EXACT_SQUARES))
    )
    sums = floats.sum(axis=2, dtype=np.float64) * MIDDLE
    products += sums[:, :, None] + sums[:, None, :] + places * MIDDLE**2
    traces = np.trace(products, axis1=1, axis2=2)
    products += (ALIKE * traces + BLANK)[:, None, None] * np.eye(weights)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(products)), np.float32)
