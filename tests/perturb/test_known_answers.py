"""The results of today's keys, frozen: what an owner perturbed once must come out the same in every later version.

A deliberate change of the random numbers needs a new name of their derivation (`DERIVATION`, `FIELDS`, `HALVES`), and
then new values here. Nothing else may change one.
"""

import hashlib

import numpy as np
import pytest
from samples import method

SIZE = 16
# A function of their places, so that they depend on no generator: uint8 (7, 16, 16, 3).
IMAGES = (np.arange(7 * SIZE * SIZE * 3, dtype=np.uint64) * 2654435761 >> 13).astype(np.uint8).reshape(7, SIZE, SIZE, 3)
# SHA-256 of the bytes of images 5 .. 11 of the validation set, its first 16 digits. Method, k, scope.
ANSWERS = {
    ("none", 1, "dataset"): "eec7f1f8fa51d74c",
    ("gaussian_blur", 3, "dataset"): "b9231e97a4bcdff5",
    ("gaussian_blur", 7, "dataset"): "ab09bfe2724a4f33",
    ("block_scramble", 2, "dataset"): "a7ce2ac4ada56e35",
    ("block_scramble", 4, "dataset"): "83040a196fd3fc2f",
    ("block_scramble", 2, "image"): "bdc464f600269320",
    ("block_scramble", 4, "image"): "8fa7666b545ec7b2",
    ("block_mix", 2, "dataset"): "ff4e784713607950",
    ("block_mix", 4, "dataset"): "2ee33fc658c9d75c",
    ("block_mix", 2, "image"): "4be11a6f680aebd8",
    ("block_mix", 4, "image"): "0ec1c4d43f39960f",
    ("gaussian_noise", 1, "dataset"): "df491673c084aa4d",
    ("gaussian_noise", 1, "image"): "7cb02e34fe11fbb3",
    ("correlated_noise", 5, "dataset"): "5bb78df1b8c4149a",
    ("correlated_noise", 5, "image"): "3c6755b98e48f40f",
    ("pixelate", 4, "dataset"): "a70c3b1bfaae3eb8",
}
# OpenCV may fuse multiplications and additions, as suits the processor, so these are compared in value.
FILTERED = {
    "dataset": [
        [0.069641, 0.635254, 0.644531, 1.330078],
        [1.094727, 1.631836, 1.639648, 0.171143],
        [1.205078, 1.270508, 1.275391, 0.597656],
    ],
    "image": [
        [-0.338379, -0.642578, -0.636719, -0.054871],
        [-0.816895, -1.134766, -1.143555, -2.423828],
        [-0.662598, -0.570801, -0.578125, -1.333984],
    ],
}


@pytest.mark.parametrize(("name", "k", "scope"), ANSWERS)
def test_every_byte_is_as_it_was(name: str, k: int, scope: str) -> None:
    out = method(name, SIZE, k, scope).apply(IMAGES, "val", 5)
    assert hashlib.sha256(out.tobytes()).hexdigest()[:16] == ANSWERS[name, k, scope]


@pytest.mark.parametrize("scope", FILTERED)
def test_the_random_filter_is_as_it_was_but_for_rounding(scope: str) -> None:
    out = method("random_filter", SIZE, 3, scope).apply(IMAGES, "val", 5)
    np.testing.assert_allclose(out[::3, 5, ::5, 1], FILTERED[scope], rtol=2**-10, atol=1e-5)
