"""Blur, pixelation and noise are restored to some extent; the confidence tells right hypotheses from wrong ones."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.wiener import Wiener, log_ratios
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.values import pixel_values

SIZE, STOLEN, TARGETS = 16, 500, 20
PRIVATE, PUBLIC = STOLEN + TARGETS, 1000  # images of the fixtures
KEY = KeyStream(bytes(range(32)))
Pixels = NDArray[np.uint8]
# method, k, scope, sigma
RIGHT = [
    ("gaussian_blur", 3, "dataset", 0.0),
    ("gaussian_blur", 7, "dataset", 0.0),
    ("pixelate", 4, "dataset", 0.0),
    ("gaussian_noise", 1, "image", 25.0),
    ("gaussian_noise", 1, "dataset", 25.0),
    ("correlated_noise", 5, "image", 25.0),
]
Setting = tuple[str, int, str, float]


def view(private: Pixels, true: Setting, public: Pixels | None, believed: Setting | None = None) -> AdversaryView:
    method, k, scope, sigma = true
    perturbed = PERTURBATIONS[method](SIZE, k, scope, sigma, KEY).apply(private)
    return AdversaryView(*(believed or true), stolen=perturbed[:STOLEN], targets=perturbed[STOLEN:], public=public)


@pytest.mark.parametrize("true", RIGHT)
@pytest.mark.parametrize("level", ["L0", "L1"])
def test_comes_nearer_to_the_originals_and_knows_it(private: Pixels, public: Pixels, true: Setting, level: str) -> None:
    held = view(private, true, public if level == "L1" else None)
    attempt = Wiener().run(held)
    assert attempt.images is not None and attempt.images.dtype == np.float32
    before, after = (
        float(((images - private[STOLEN:]) ** 2).mean())
        for images in (np.clip(pixel_values(held.targets), 0, 255), attempt.images)
    )
    assert after < 0.85 * before
    assert attempt.confidence is not None and attempt.confidence > (0.9 if level == "L1" else 0.6)


@pytest.mark.parametrize("believed", RIGHT)
@pytest.mark.parametrize(
    "true",
    [
        ("none", 1, "dataset", 0.0),
        ("gaussian_blur", 5, "dataset", 0.0),
        ("gaussian_blur", 15, "dataset", 0.0),
        ("pixelate", 8, "dataset", 0.0),
        ("gaussian_noise", 1, "image", 8.0),
    ],
)
@pytest.mark.parametrize("level", ["L0", "L1"])
def test_a_wrong_hypothesis_gives_no_confidence(
    private: Pixels, public: Pixels, true: Setting, believed: Setting, level: str
) -> None:
    held = view(private, true, public if level == "L1" else None, believed)
    found = Wiener().run(dataclasses.replace(held, targets=held.targets[:1])).confidence
    assert found is not None and found < 0.1


def test_noise_for_images_gives_no_confidence(public: Pixels) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (100, SIZE, SIZE, 3), np.uint8)
    for believed in RIGHT:
        assert (
            Wiener().run(AdversaryView(*believed, stolen=noise, targets=noise[:1], public=public)).confidence or 0
        ) < 0.01


def test_black_images_give_no_confidence() -> None:
    black = np.zeros((5, SIZE, SIZE, 3), np.uint8)
    attempt = Wiener().run(AdversaryView("gaussian_blur", 5, "dataset", 0.0, stolen=black, targets=black))
    assert attempt.confidence == pytest.approx(0, abs=1e-6)


def test_brightness_and_gradients_from_edge_to_edge_say_nothing() -> None:
    """The two lowest bands are left out; the others are compared, one by one."""
    rows, columns = np.indices((SIZE, SIZE))
    noise = np.random.default_rng(0).normal(0, 1, (2000, SIZE, SIZE))
    # The cosine of half a cycle is in the first band.
    slopes = 50 * np.cos(np.pi * (rows + 0.5) / SIZE) * np.random.default_rng(1).normal(size=(2000, 1, 1))
    for added in (0, 100.0, slopes):
        ratios = log_ratios(noise + added, np.eye(SIZE * SIZE))
        assert ratios.shape == (SIZE - 2,) and np.abs(ratios).max() < 0.1
    waves = 5 * np.cos(np.pi * 4 * (columns + 0.5) / SIZE) * np.random.default_rng(2).normal(size=(2000, 1, 1))
    ratios = log_ratios(noise + waves, np.eye(SIZE * SIZE))
    assert np.flatnonzero(ratios > 0.5).tolist() == [2]  # the band of four half cycles


def test_works_on_grey_images(private: Pixels) -> None:
    grey = private[..., 1:2]
    held = view(grey, ("gaussian_blur", 5, "dataset", 0.0), None)
    attempt = Wiener().run(held)
    assert attempt.images is not None and attempt.images.shape == (TARGETS, SIZE, SIZE, 1)


def test_applies_to_what_needs_no_key() -> None:
    assert [m for m in PERTURBATIONS if Wiener().applies(PERTURBATIONS[m](SIZE, 1, "image"))] == [
        m for m in PERTURBATIONS if m in ("gaussian_blur", "pixelate", "gaussian_noise", "correlated_noise", "dp_pix")
    ]
