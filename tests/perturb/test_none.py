"""The yardstick changes nothing."""

import numpy as np
from samples import method, sample_images

IMAGES = sample_images(5, 16)


def test_images_stay_as_they_are() -> None:
    out = method("none", 16, key=None).apply(IMAGES)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, IMAGES)


def test_the_inverse_is_the_identity_too() -> None:
    np.testing.assert_array_equal(method("none", 16, key=None).invert(IMAGES), IMAGES)


def test_k_and_sigma_have_no_meaning() -> None:
    np.testing.assert_array_equal(method("none", 16, k=7, sigma=99.0, key=None).apply(IMAGES), IMAGES)
