"""The likelihood is lowest near the true kernel, and the search finds it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from privpipe.attacks.kernel_search import EXACT, Effort, KernelLikelihood, descend, search
from privpipe.data.synthetic import draw
from privpipe.perturb.base import Images
from privpipe.perturb.keystream import KeyStream
from privpipe.perturb.random_filter import RandomFilter

SIZE, K = 32, 3
IMAGES = draw(320, SIZE, rng=np.random.default_rng(4)).images
PUBLIC, PRIVATE = IMAGES[:300], IMAGES[300:]
MODEL = KernelLikelihood.of(PUBLIC, K)


def filtered(images: Images) -> tuple[Tensor, Tensor]:
    """Images (N, C, n, n) and the kernels that they were filtered with, (N, k, k), of length 1."""
    method = RandomFilter(SIZE, K, "image", 0.0, KeyStream(bytes(32)))
    kernels = torch.from_numpy(method.image_keys(images)).float()
    seen = torch.from_numpy(method.apply(images).astype(np.float32)).permute(0, 3, 1, 2)
    return seen, F.normalize(kernels.flatten(1), dim=1).reshape(kernels.shape)


def cosines(found: Tensor, true: Tensor) -> Tensor:
    return F.cosine_similarity(found.flatten(1), true.flatten(1)).abs()


def test_the_true_kernel_is_likelier_than_others() -> None:
    """Than its turned self, and than random ones."""
    seen, true = filtered(PRIVATE)
    spectra = MODEL.spectra(seen)
    random = torch.randn(true.shape, generator=torch.Generator().manual_seed(0))
    right, turned, other = (MODEL.cost(kernels, spectra, EXACT) for kernels in (true, true.flip(1, 2), random))
    assert (right < turned).float().mean() >= 0.7
    assert (right < other).float().mean() >= 0.9


def test_gain_and_sign_do_not_matter() -> None:
    seen, true = filtered(PRIVATE)
    cost = MODEL.cost(true, MODEL.spectra(seen), EXACT)
    # The kernel's own gain is not known either: its logarithm is in both terms, once with either sign.
    torch.testing.assert_close(MODEL.cost(-3 * true, MODEL.spectra(seen), EXACT), cost, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(MODEL.cost(true, MODEL.spectra(-3 * seen), EXACT), cost, rtol=1e-4, atol=1e-4)


def test_the_metric_is_the_relative_change_of_the_transfer_function() -> None:
    kernel, change = torch.randn(2, 1, K, K, generator=torch.Generator().manual_seed(1)).double()
    size = kernel.square().sum()
    before, after = (np.fft.fft2(values[0].numpy(), s=(SIZE, SIZE)) for values in (kernel, change))
    expected = np.mean(np.abs(after) ** 2 / (np.abs(before) ** 2 + EXACT * float(size)))
    flat = change.flatten().float()
    got = float(flat @ MODEL.metric(kernel.float(), EXACT)[0] @ flat)
    assert got == pytest.approx(expected, rel=0.02)


def test_a_descent_from_near_the_truth_stays_there() -> None:
    seen, true = filtered(PRIVATE)
    start = true + 0.1 / K * torch.randn(true.shape, generator=torch.Generator().manual_seed(2))
    found, costs = descend(MODEL, start[:, None], MODEL.spectra(seen), 15, EXACT, 0.5)
    assert costs.shape == (len(PRIVATE), 1) and found.shape == (len(PRIVATE), 1, K, K)
    assert cosines(found[:, 0], true).median() > 0.9


def test_the_search_finds_kernels_and_is_the_same_every_time() -> None:
    seen, true = filtered(PRIVATE[:10])
    effort = Effort(starts=12, survivors=4, rounds=2)
    found, costs = search(MODEL, seen, effort, torch.Generator().manual_seed(0))
    again, _ = search(MODEL, seen, effort, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found, again, rtol=0, atol=0)
    assert np.isfinite(costs).all()
    right = cosines(found, true)
    # A random direction of 9 dimensions has a cosine of 0.26 on average.
    assert right.median() > 0.7 and right.mean() > 0.5 > math.sqrt(2 / (math.pi * K * K))


@pytest.mark.parametrize("shape", [(40, 40, 1), (25, 25, 4)])
def test_other_sizes_and_colours(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, *shape), np.uint8)
    model = KernelLikelihood.of(images, K)
    seen = torch.from_numpy(images[:3]).permute(0, 3, 1, 2).float()
    found, costs = search(model, seen, Effort(3, 2, 1), torch.Generator().manual_seed(0))
    assert found.shape == (3, K, K) and np.isfinite(costs).all()
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.ones(3))
