"""The results of today's keys, frozen: what an owner perturbed once must come out the same in every later version.

A deliberate change of the random numbers needs a new name of their derivation (`DERIVATION`), and then new values here.
Nothing else may change one.
"""

import hashlib

import numpy as np
import pytest
from samples import method

SIZE = 16
# A function of their places, so that they depend on no generator: uint8 (7, 16, 16, 3).
IMAGES = (np.arange(7 * SIZE * SIZE * 3, dtype=np.uint64) * 2654435761 >> 13).astype(np.uint8).reshape(7, SIZE, SIZE, 3)
# SHA-256 of the bytes of the perturbed images, its first 16 digits. Method, k, scope.
ANSWERS = {
    ("none", 1, "dataset"): "eec7f1f8fa51d74c",
    ("gaussian_blur", 3, "dataset"): "b9231e97a4bcdff5",
    ("gaussian_blur", 7, "dataset"): "ab09bfe2724a4f33",
    ("block_scramble", 2, "dataset"): "4fc7e1bacbf05456",
    ("block_scramble", 4, "dataset"): "3884adcae65c9ef2",
    ("block_scramble", 2, "image"): "e9ef4f8b59386e43",
    ("block_scramble", 4, "image"): "be86c4ba48784093",
    ("block_permutation", 4, "dataset"): "2ba68dcd9418a922",
    ("block_permutation", 4, "image"): "e6c75eaf62d674b1",
    ("block_mix", 2, "dataset"): "b13337dccaa1fc2c",
    ("block_mix", 4, "dataset"): "998134001428db76",
    ("block_mix", 2, "image"): "15bfa8d643ee263c",
    ("block_mix", 4, "image"): "dcf3fa445d5a3b56",
    ("block_pixel_shuffle", 4, "dataset"): "9daf257fbb8147cd",
    ("block_pixel_shuffle", 4, "image"): "1148b8e63be47f72",
    ("disguised_rmt", 4, "dataset"): "15674ec041959012",
    ("disguised_rmt", 4, "image"): "cb057b0f6425b8c5",
    ("neuracrypt", 4, "dataset"): "9d7d7e571bb1c3d7",
    ("neuracrypt", 4, "image"): "402ef8f2cc7e433f",
    ("dp_pix", 4, "dataset"): "bb940914d448bd7f",
    ("dp_pix", 4, "image"): "7aaba0beec6b087b",
    ("ldp_slicing", 1, "dataset"): "1d8c18fbb20d438e",
    ("ldp_slicing", 1, "image"): "198356483bc00afa",
    ("encryption_then_compression", 4, "dataset"): "fb2e8cd0b1d8ab37",
    ("encryption_then_compression", 4, "image"): "568956f3542199c3",
    ("extended_learnable_encryption", 4, "dataset"): "16e650be9403b406",
    ("extended_learnable_encryption", 4, "image"): "da97488ae6b40672",
    ("format_preserving", 4, "dataset"): "4730f25a74d86a94",
    ("format_preserving", 4, "image"): "0a322f1355fed313",
    ("learnable_encryption", 4, "dataset"): "0d5f703085b9bd62",
    ("learnable_encryption", 4, "image"): "b3d5506618aa342f",
    ("negative_positive", 4, "dataset"): "7fe6fe000e8b1b69",
    ("negative_positive", 4, "image"): "e3bf7881c88e79ca",
    ("pixel_based_encryption", 1, "dataset"): "d7f169cc381ade20",
    ("pixel_based_encryption", 1, "image"): "5bc7d66ec9a2d976",
    ("value_shuffling", 4, "dataset"): "f5282256c9155cd7",
    ("value_shuffling", 4, "image"): "69f6590ef630a8f1",
    ("gaussian_noise", 1, "dataset"): "04f01bb7a31ce57e",
    ("gaussian_noise", 1, "image"): "25b225d69e710f9d",
    ("correlated_noise", 5, "dataset"): "65d1fef9f7848943",
    ("correlated_noise", 5, "image"): "b457e4787138470b",
    ("pixelate", 4, "dataset"): "a70c3b1bfaae3eb8",
}
# OpenCV may fuse multiplications and additions, as suits the processor, so these are compared in value.
FILTERED = {
    "dataset": [
        [1.227539, 0.85791, 0.867676, 2.044922],
        [0.924805, 0.610352, 0.619141, 0.306885],
        [1.114258, 0.750977, 0.756348, -0.275635],
    ],
    "image": [
        [2.923828, 1.364258, 1.381836, 0.881836],
        [-1.520508, -2.970703, -2.990234, -2.367188],
        [1.118164, 1.761719, 1.77832, 0.772949],
    ],
}


@pytest.mark.parametrize(("name", "k", "scope"), ANSWERS)
def test_every_byte_is_as_it_was(name: str, k: int, scope: str) -> None:
    out = method(name, SIZE, k, scope).apply(IMAGES)
    assert hashlib.sha256(out.tobytes()).hexdigest()[:16] == ANSWERS[name, k, scope]


@pytest.mark.parametrize("scope", FILTERED)
def test_the_random_filter_is_as_it_was_but_for_rounding(scope: str) -> None:
    out = method("random_filter", SIZE, 3, scope).apply(IMAGES)
    np.testing.assert_allclose(out[::3, 5, ::5, 1], FILTERED[scope], rtol=2**-10, atol=1e-5)
