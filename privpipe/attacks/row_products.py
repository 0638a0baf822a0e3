"""Find the key of disguised_rmt from known pairs: an orthogonal matrix changes no product of two rows of a block.

The products tell which block of an original went where, by linear assignment over all pairs. Then the matrix of each
place is the orthogonal one that turns the originals' rows into those seen, with least squares: U Vᵀ of the singular
value decomposition of the sum of their products (P. Schönemann, "A generalized solution of the orthogonal Procrustes
problem", Psychometrika, 1966).
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from privpipe.attacks.base import AdversaryView, Attack, Outcome
from privpipe.errors import PrivpipeError
from privpipe.perturb import Perturbation
from privpipe.perturb.base import Array, to_blocks
from privpipe.perturb.disguised_rmt import DisguisedRmt
from privpipe.perturb.distances import squared_distances
from privpipe.perturb.values import Doubles, Floats, pixel_values

WHITE = 255.0


class RowProducts(Attack):
    """See the module.

    Confidence is the fraction of what varies in the pairs of one half that the key of the other half explains. Of a
    single pair its own key is all there is to ask, which also a key of that image alone would explain.
    """

    name = "row_products"
    levels = ("L2",)
    seeks_key = True
    order = 91

    def applies(self, method: Perturbation) -> bool:
        return isinstance(method, DisguisedRmt) and method.scope == "dataset"

    def run(self, view: AdversaryView) -> Outcome:
        method, pairs = view.transformation, view.pairs
        if pairs is None or not isinstance(method, DisguisedRmt):
            raise PrivpipeError(
                f"{self.name} needs known pairs of disguised_rmt; got others or none. Run it at level L2."
            )
        before = pairs.originals.astype(np.float32) + np.float32(method.noise / 2)
        after = pixel_values(pairs.perturbed)
        key = solve(before, after, method)
        images = np.clip(method.invert(view.targets, key), 0, np.float32(WHITE)).astype(np.float32)
        return Outcome(images, _confidence(before, after, method), key)


def solve(before: Floats, after: Floats, method: DisguisedRmt) -> Floats:
    """The key, as `DisguisedRmt.dataset_key`.

    Args:
        before: originals with the mean of the noise, in grey levels, (m, H, W, C).
        after: what became of them.
    """
    shown, asked = (method.row_products(images).swapaxes(0, 1) / WHITE**2 for images in (after, before))
    places = linear_sum_assignment(squared_distances(shown, asked))[1]
    rows, turned = (_rows(images, method.k) for images in (before, after))
    left, _, right = np.linalg.svd(rows[places].swapaxes(1, 2) @ turned)
    matrices = (left @ right).reshape(len(places), -1)
    return np.concatenate([places[:, None], matrices], axis=1).astype(np.float32)


def _rows(images: Array, k: int) -> Doubles:
    """The rows of each block, of all images and colours, (blocks, rows, k)."""
    blocks = to_blocks(images, k)
    rows = blocks.reshape(len(images), blocks.shape[1], k, k, -1).transpose(1, 0, 2, 4, 3)
    return np.asarray(rows.reshape(blocks.shape[1], -1, k), np.float64)


def _confidence(before: Floats, after: Floats, method: DisguisedRmt) -> float:
    halves = [slice(0, None, 2), slice(1, None, 2)] if len(before) > 1 else [slice(None)]
    left, total = 0.0, 0.0
    for fitted, judged in zip(halves, reversed(halves), strict=True):
        key = solve(before[fitted], after[fitted], method)
        rows, turned = _rows(before[judged], method.k), _rows(after[judged], method.k)
        expected = rows[key[:, 0].astype(np.intp)] @ key[:, 1:].reshape(-1, method.k, method.k)
        left += float(np.square(turned - expected).sum())
        total += float(np.square(turned - turned.mean(axis=1, keepdims=True)).sum())
    return max(0.0, 1 - left / max(total, 1e-9))
