"""A noise field that all images share is found and taken off; where there is none, the attack says so."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.restoration import Prior, restore
from privpipe.attacks.shared_field import SharedField, cut_mean
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.base import Array
from privpipe.perturb.values import pixel_values

SIZE, STOLEN, TARGETS, SIGMA = 16, 600, 10, 25.0
PRIVATE, PUBLIC = STOLEN + TARGETS, 1000  # images of the fixtures
KEY = KeyStream(bytes(range(32)))
NOISES = [("gaussian_noise", 1), ("correlated_noise", 3), ("correlated_noise", 7)]
Pixels = NDArray[np.uint8]


def perturbed(private: Pixels, name: str, k: int, scope: str = "dataset", sigma: float = SIGMA) -> Array:
    return PERTURBATIONS[name](SIZE, k, scope, sigma, KEY).apply(private)


def view(images: Array, name: str, k: int, public: Pixels | None) -> AdversaryView:
    return AdversaryView(name, k, "dataset", SIGMA, images[:-TARGETS], images[-TARGETS:], public)


@pytest.mark.parametrize(("name", "k"), NOISES)
@pytest.mark.parametrize(("level", "most"), [("L0", 0.5), ("L1", 0.25)])
def test_finds_the_field(private: Pixels, public: Pixels, name: str, k: int, level: str, most: float) -> None:
    held = view(perturbed(private, name, k), name, k, public if level == "L1" else None)
    attempt = SharedField().run(held)
    field = PERTURBATIONS[name](SIZE, k, "dataset", SIGMA, KEY).dataset_key
    assert attempt.key is not None and attempt.images is not None and field is not None
    assert attempt.key.dtype == np.float32 and attempt.key.shape == (SIZE, SIZE, 3)
    assert ((attempt.key - field) ** 2).mean() ** 0.5 < most * SIGMA
    np.testing.assert_allclose(attempt.images, np.clip(pixel_values(held.targets) - attempt.key, 0, 255))
    assert attempt.confidence is not None and attempt.confidence > 0.6


def test_is_nearer_than_the_plain_difference_of_means(private: Pixels, public: Pixels) -> None:
    few = perturbed(private, "gaussian_noise", 1)[:40]
    field = PERTURBATIONS["gaussian_noise"](SIZE, 1, "dataset", SIGMA, KEY).dataset_key
    plain = pixel_values(few[:-TARGETS]).mean(axis=0) - public.mean(axis=0)
    found = SharedField().run(view(few, "gaussian_noise", 1, public)).key
    assert found is not None and field is not None
    assert ((found - field) ** 2).mean() < 0.8 * ((plain - field) ** 2).mean()


@pytest.mark.parametrize(("name", "k"), NOISES)
@pytest.mark.parametrize("level", ["L0", "L1"])
@pytest.mark.parametrize("truth", ["none", "image", "half of sigma", "blur"])
def test_no_shared_field_gives_no_confidence(
    private: Pixels, public: Pixels, name: str, k: int, level: str, truth: str
) -> None:
    images = {
        "none": private,
        "image": perturbed(private, name, k, "image"),
        "half of sigma": perturbed(private, name, k, sigma=SIGMA / 2),
        "blur": perturbed(private, "gaussian_blur", 5),
    }[truth]
    found = SharedField().run(view(images, name, k, public if level == "L1" else None)).confidence
    assert found is not None and found < (0.35 if truth == "half of sigma" else 0.1)


def test_rough_noise_is_not_taken_for_smooth(private: Pixels, public: Pixels) -> None:
    found = SharedField().run(view(perturbed(private, "gaussian_noise", 1), "correlated_noise", 7, public))
    assert found.confidence is not None and found.confidence < 0.1


def test_works_on_grey_images(private: Pixels) -> None:
    grey = private[..., 1:2]
    found = SharedField().run(view(perturbed(grey, "gaussian_noise", 1), "gaussian_noise", 1, None))
    assert found.key is not None and found.key.shape == (SIZE, SIZE, 1)
    assert found.confidence is not None and found.confidence > 0.6


def test_without_noise_there_is_nothing_to_find(private: Pixels) -> None:
    found = SharedField().run(AdversaryView("gaussian_noise", 1, "dataset", 0.0, private[:50], private[50:60]))
    assert found.confidence == 0


def test_applies_to_noise_that_is_shared() -> None:
    applies = [
        (name, scope)
        for name in PERTURBATIONS
        for scope in ("dataset", "image")
        if SharedField().applies(PERTURBATIONS[name](SIZE, 1, scope))
    ]
    assert sorted(applies) == [(name, "dataset") for name in ("correlated_noise", "dp_pix", "gaussian_noise")]


@pytest.mark.parametrize("key_of", range(3))
@pytest.mark.parametrize("level", ["L0", "L1"])
def test_finds_the_noise_of_cells_also_where_they_were_cut(
    private: Pixels, public: Pixels, level: str, key_of: int
) -> None:
    method = PERTURBATIONS["dp_pix"](SIZE, 4, "dataset", 0.0, KEY.child(key_of), epsilon=4.2, m=16)  # of scale 61
    images, key = method.apply(private), method.dataset_key
    assert 0.1 < ((images == 0) | (images == 255)).mean() < 0.4
    held = AdversaryView(
        "dp_pix", 4, "dataset", 0.0, images[:-TARGETS], images[-TARGETS:], public if level == "L1" else None, None,
        method.settings,
    )  # fmt: skip
    found = SharedField().run(held)
    assert found.key is not None and found.images is not None and found.confidence is not None
    assert found.key.shape == key.shape and found.key.dtype == np.float32
    # Of a cell that was cut in nearly all images nobody sees how strong its noise is.
    met = ((images[:, ::4, ::4] > 0) & (images[:, ::4, ::4] < 255)).mean(axis=0) > 0.1
    assert met.mean() > 0.9
    assert (((found.key - key)[met]) ** 2).mean() ** 0.5 < (0.35 if level == "L0" else 0.1) * method.scale * 2**0.5
    assert found.confidence > 0.4
    prior = Prior.known(held.public, method, 3)
    restored = (found.images, *(restore(held.targets, method, known, prior) for known in (key, None)))
    error, with_key, without = (np.square(one - private[-TARGETS:]).mean() for one in restored)
    assert error < (1.8 if level == "L0" else 1.1) * with_key and error < 0.6 * without
    own = replace(method, scope="image").apply(private)
    alone = SharedField().run(replace(held, stolen=own[:-TARGETS], targets=own[-TARGETS:]))
    assert alone.confidence is not None and alone.confidence < 0.1


def test_the_mean_of_what_is_cut_is_that_of_the_cut_normal_law() -> None:
    means, spreads = np.array([-80.0, 0.0, 130.0, 400.0]), np.array([30.0, 60.0, 5.0, 90.0])
    drawn = np.random.default_rng(0).normal(means, spreads, (400_000, 4)).clip(0, 255)
    np.testing.assert_allclose(cut_mean(means, spreads), drawn.mean(axis=0), atol=0.3)


def test_refuses_too_few_images(private: Pixels) -> None:
    with pytest.raises(PrivpipeError, match=r"at least 4 stolen images; got 3\."):
        SharedField().run(view(perturbed(private[: 3 + TARGETS], "gaussian_noise", 1), "gaussian_noise", 1, None))
