"""How much of a block scramble the learned descrambler layer found (section 5 of the study, figure 13)."""

from dataclasses import dataclass
from math import comb, factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from privpipe.errors import PrivpipeError
from privpipe.nn.bundle import Bundle
from privpipe.nn.fitted import network_called
from privpipe.owner.key import Key
from privpipe.perturb import PERTURBATIONS

METRICS = (
    "blocks_exact",
    "blocks_none",
    "pixels_right",
    "chance_blocks_exact",
    "chance_blocks_none",
    "chance_pixels_right",
)


@dataclass(frozen=True)
class DescramblerScore:
    """How the inferred descrambler compares with the true one.

    Args:
        metrics: the fractions of blocks that are exact, of blocks without one right pixel, and of right pixels,
            each with what a random permutation would get; all None where nothing was measured.
        right: number of right pixels of each block, int64 (blocks,); empty where nothing was measured.
        pixels: pixels of a block; 0 where nothing was measured.
        reason: why nothing was measured; None where it was.
    """

    metrics: dict[str, float | None]
    right: NDArray[np.int64]
    pixels: int
    reason: str | None = None

    def histogram(self) -> list[tuple[int, int, float]]:
        """Rows (right pixels, blocks, blocks expected by chance), one for each possible number of right pixels."""
        if not self.pixels:
            return []
        counts = np.bincount(self.right, minlength=self.pixels + 1)
        return [(r, int(counts[r]), len(self.right) * chance_right(self.pixels, r)) for r in range(self.pixels + 1)]


def nearest_permutations(weights: NDArray[Any]) -> NDArray[np.int64]:
    """For each matrix the permutation matrix nearest to it in l2: the inferred descrambler.

    |W - P|² = |W|² + n - 2·sum(W[i, p(i)]), so it is the assignment that maximises the sum.

    Args:
        weights: (blocks, n, n); output pixel i is the sum over j of weights[b, i, j] times input pixel j.

    Returns:
        int64 (blocks, n): output pixel i of block b is input pixel `result[b, i]`.
    """
    return np.stack([linear_sum_assignment(matrix, maximize=True)[1] for matrix in weights]).astype(np.int64)


def chance_right(n: int, right: int) -> float:
    """Probability that a random permutation of n items has exactly `right` fixed points (rencontres numbers)."""
    rest = n - right
    derangements = sum((-1) ** i * (factorial(rest) // factorial(i)) for i in range(rest + 1))
    return float(comb(n, right) * derangements / factorial(n))


def score(bundle: Bundle, key: Key) -> DescramblerScore:
    """Compare the descrambler layer of a model with the inverse of the key's permutations.

    The score is None throughout, with the reason, where there is no one true permutation or no layer.

    Raises:
        PrivpipeError: the model has no finite descrambler weights of the expected shape.
    """
    reason = _not_measured(bundle)
    if reason is not None:
        return DescramblerScore(dict.fromkeys(METRICS), np.empty(0, np.int64), 0, reason)
    scramble = PERTURBATIONS[bundle.method](bundle.architecture.image_size, bundle.k, bundle.scope, stream=key.stream)
    truth = np.argsort(np.asarray(scramble.dataset_key), axis=1)
    weights = bundle.model.get_submodule("bfc").get_parameter("weight").detach().numpy()
    if weights.shape != (*truth.shape, truth.shape[1]):
        raise PrivpipeError(
            f"the model's descrambler has shape {weights.shape}; the key's permutations {truth.shape}. "
            "Train again with `dvc repro train`."
        )
    if not np.isfinite(weights).all():
        raise PrivpipeError("the model's descrambler has NaN or infinite weights. Train again with `dvc repro train`.")
    right = (nearest_permutations(weights) == truth).sum(axis=1)
    n = truth.shape[1]
    values = (
        float((right == n).mean()),
        float((right == 0).mean()),
        float(right.mean() / n),
        chance_right(n, n),
        chance_right(n, 0),
        1 / n,
    )
    return DescramblerScore(dict(zip(METRICS, values, strict=True)), right, n)


def _not_measured(bundle: Bundle) -> str | None:
    network = network_called(bundle.architecture.arch)
    if network is None or not network.descrambles:
        return f"model.arch is {bundle.architecture.arch}: it has no descrambler layer"
    if bundle.method not in PERTURBATIONS or not PERTURBATIONS[bundle.method].permutes_within_blocks:
        return f"perturb.method is {bundle.method}: it permutes no pixels within blocks"
    if bundle.scope != "dataset":
        return "perturb.scope is image: every image has its own permutations, so there is no one true descrambler"
    return None
