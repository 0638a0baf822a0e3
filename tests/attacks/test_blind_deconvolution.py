"""Blind deconvolution restores images with kernels that it finds, believes itself only where it may, and repeats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from privpipe.attacks.base import AdversaryView, Budget
from privpipe.attacks.blind_deconvolution import BlindDeconvolution
from privpipe.attacks.kernel_restoration import Restorer, filtered, inverse_filtered, least_squares, oriented
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.base import Array, Images
from privpipe.perturb.random_filter import RandomFilter

SIZE, K, PUBLIC, TARGETS, STOLEN = 32, 3, 60, 12, 60
IMAGES = draw(PUBLIC + STOLEN, SIZE, rng=np.random.default_rng(1)).images
KNOWN, PRIVATE = IMAGES[:PUBLIC], IMAGES[PUBLIC:]
ATTACK = BlindDeconvolution(epochs=1, seed=0, threads=1, device="cpu")


def view(known: Images = KNOWN, private: Images = PRIVATE, k: int = K) -> AdversaryView:
    method = RandomFilter(private.shape[1], k, "image", 0.0, KeyStream(bytes(range(32))))
    stolen = method.apply(private)
    return AdversaryView("random_filter", k, "image", 0.0, stolen, stolen[:TARGETS], known)


def tensors(k: int, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """Images with white 1, as they are filtered, and the kernels."""
    images = PRIVATE[:TARGETS, :size, :size]
    method = RandomFilter(size, k, "image", 0.0, KeyStream(bytes(range(32))))
    seen, kernels = method.apply(images), method.image_keys(images)
    return (
        torch.from_numpy(images).permute(0, 3, 1, 2) / 255,
        torch.from_numpy(seen.astype(np.float32)).permute(0, 3, 1, 2),
        torch.from_numpy(kernels).float(),
    )


def error(images: Array, originals: Images) -> float:
    return float(np.square(images.astype(np.float64) - originals).mean())


@pytest.mark.parametrize(("k", "size"), [(3, 32), (5, 28), (7, 32)])
def test_filtering_is_that_of_the_method(k: int, size: int) -> None:
    images, seen, kernels = tensors(k, size)
    # float16 has 11 bits
    torch.testing.assert_close(filtered(images, kernels), seen, rtol=2**-11, atol=1e-3)


@pytest.mark.parametrize("k", [3, 5, 7])
def test_least_squares_finds_the_kernel_of_a_known_image(k: int) -> None:
    images, seen, kernels = tensors(k)
    found = least_squares(images, seen, torch.zeros_like(kernels), ridge=1e-7)
    assert torch.cosine_similarity(found.flatten(1), kernels.flatten(1)).min() > 0.99
    # What is not determined by the image stays as it was.
    blank = torch.full_like(images, 0.5)
    kept = least_squares(blank, filtered(blank, kernels), kernels)
    torch.testing.assert_close(kept, kernels, rtol=1e-2, atol=1e-2)


def test_an_inverse_filter_undoes_a_filter_that_is_far_from_zero() -> None:
    kernel = torch.tensor([[0.0, 0.1, 0.0], [0.0, 1.0, 0.2], [0.0, 0.1, 0.0]])[None]
    image = torch.zeros(1, 1, 24, 24)
    image[:, :, 6:18, 6:18] = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    (restored,) = inverse_filtered(filtered(image, kernel), kernel, (1e-6,))
    torch.testing.assert_close(restored, image, rtol=0, atol=1e-3)


def test_the_sign_makes_images_positive() -> None:
    _, seen, kernels = tensors(5)
    unit = oriented(-kernels, seen)
    torch.testing.assert_close(unit, oriented(kernels, seen))
    torch.testing.assert_close(unit.flatten(1).norm(dim=1), torch.ones(len(unit)))
    assert (unit.sum(dim=(1, 2)) * seen.mean(dim=(1, 2, 3)) >= 0).all()


def test_the_gain_is_learned() -> None:
    _, seen, kernels = tensors(3)
    lengths = kernels.flatten(1).norm(dim=1)
    restorer = Restorer(3, torch.Generator().manual_seed(0))
    restorer.fit_gain(oriented(kernels, seen), seen, lengths)
    found = restorer.scaled(5 * kernels, seen).flatten(1).norm(dim=1)
    assert (found / lengths).log().abs().mean() < 0.8 * (lengths / lengths.log().mean().exp()).log().abs().mean()


def test_restores_better_than_no_attack() -> None:
    given = view()
    # 60 images are one step of the networks, so that it takes many passes; the search has two rounds as well.
    attempt = replace(ATTACK, epochs=40, rounds=2).run(given)
    assert attempt.images is not None and attempt.confidence is not None and attempt.key is None
    assert attempt.images.shape == given.targets.shape and attempt.images.dtype == np.float32
    assert attempt.images.min() >= 0 and attempt.images.max() <= 255
    blank = np.broadcast_to(KNOWN.mean(axis=0), given.targets.shape)
    assert error(attempt.images, PRIVATE[:TARGETS]) < 0.8 * error(blank, PRIVATE[:TARGETS])
    assert 0.1 < attempt.confidence <= 1


def test_is_the_same_every_time() -> None:
    given = view(KNOWN[:24], PRIVATE[:4])
    first, second = (ATTACK.run(given) for _ in range(2))
    np.testing.assert_array_equal(first.images, second.images)
    assert first.confidence == second.confidence


def test_the_confidence_is_low_on_other_data() -> None:
    """Images that were scrambled, though a filter is claimed."""
    scrambled = PERTURBATIONS["block_scramble"](SIZE, 4, "image", 0.0, KeyStream(bytes(32))).apply(PRIVATE)
    other = (scrambled / 255).astype(np.float16)
    attempt = ATTACK.run(replace(view(KNOWN[:40]), stolen=other, targets=other[:TARGETS]))
    assert attempt.confidence is not None and attempt.confidence < 0.1


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (40, 3), (72, 4)])
def test_other_sizes_and_colours(size: int, channels: int) -> None:
    images = draw(34, size, rng=np.random.default_rng(2)).images
    images = np.ascontiguousarray(images[..., [0, 1, 2, 0][:channels]])
    attempt = ATTACK.run(view(images[:30], images[30:]))
    assert attempt.images is not None and attempt.images.shape == (4, size, size, channels)
    assert np.isfinite(attempt.images).all() and attempt.confidence is not None and 0 <= attempt.confidence <= 1


def test_applies_where_each_image_has_a_small_kernel_of_its_own() -> None:
    applies = {
        (name, scope, k)
        for name, kind in PERTURBATIONS.items()
        for scope in ("dataset", "image")
        for k in (1, 3, 5, 7, 9)
        if ATTACK.applies(kind(SIZE, k, scope))
    }
    assert applies == {("random_filter", "image", k) for k in (3, 5, 7)}
    assert BlindDeconvolution.within(Budget()) is None
    assert BlindDeconvolution.within(Budget(3, 5, 1, "cpu")) == replace(ATTACK, epochs=3, seed=5)


def test_refuses_what_it_cannot_learn_from() -> None:
    for public, count in ((None, 0), (KNOWN[:21], 21)):
        with pytest.raises(PrivpipeError, match=f"at least 22 public images; got {count}\\. Raise data\\.public, or"):
            ATTACK.run(replace(view(), public=public))
    for size in (20, 30):
        cut = view(KNOWN[:, :size, :size], PRIVATE[:, :size, :size])
        with pytest.raises(PrivpipeError, match=f"multiple of 4 pixels, at least 24; got {size}\\. Resize them"):
            ATTACK.run(cut)
