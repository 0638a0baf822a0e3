"""What a second release tells: material that is reused must show in the score, material that is not must not."""

from dataclasses import replace

import numpy as np
import pytest

from privpipe.data.synthetic import draw
from privpipe.perturb import METHODS, PERTURBATIONS, Copies, KeyStream, Perturbation
from privpipe.perturb.base import Array, Images
from privpipe.perturb.gaussian_noise import GaussianNoise
from privpipe.scores.release_table import table
from privpipe.scores.second_release import NAMES, _keys_found, another_setting, second_release

IMAGES = draw(120, 16, rng=np.random.default_rng(0)).images
KEY = KeyStream(bytes(range(32)))
KEYED = [name for name in METHODS if METHODS[name].keyed]
SIZES = {"random_filter": 3, "correlated_noise": 3}


def owner(name: str, scope: str = "image", sigma: float = 100.0) -> Perturbation:
    return METHODS[name](16, SIZES.get(name, 4), scope, sigma, KEY)


class TwoTimePad(GaussianNoise):
    """Noise as it must not be: named by the place of an image, and in proportion to sigma."""

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        assert self.stream is not None
        seed = int.from_bytes(self.stream.child().bytes(8), "big")
        noise = self.sigma * np.random.default_rng(seed).standard_normal(images.shape)
        return ((images + noise) / 255).astype(np.float16)


@pytest.mark.parametrize("name", KEYED)
def test_nothing_is_gained_over_independent_material(name: str) -> None:
    found = second_release(owner(name), IMAGES)
    if PERTURBATIONS[name].features:
        assert found == {**dict.fromkeys(found), "second_release_problem": found["second_release_problem"]}
        assert found["second_release_problem"] == f"{name} gives features, which are not compared with the images"
        return
    if METHODS[name].noisy or METHODS[name].legal_k(16) or METHODS[name].own_settings():
        assert found["second_release_problem"] is None
        assert found["second_release_gain_db"] == pytest.approx(found["second_release_independent_gain_db"], abs=0.15)
        assert found["second_release_gain_db"] < 1.0
    else:
        assert found["second_release_problem"] == f"{name} has no other setting with a secret"
    assert found["grown_release_changed"] == 0
    assert abs(found["grown_release_gain_db"]) < 0.15


@pytest.mark.parametrize("sigma", [10.0, 100.0])
def test_noise_of_two_strengths_is_no_better_than_one_decibel(sigma: float) -> None:
    # Unbiased, 1/sigma² adds up: 1 + 1/4, which is 0.97 dB.
    found = second_release(owner("gaussian_noise", sigma=sigma), IMAGES)
    assert 0 < found["second_release_gain_db"] < 1.0


def test_a_two_time_pad_is_noticed() -> None:
    found = second_release(TwoTimePad(16, 1, "image", 100.0, KEY), IMAGES)
    assert found["second_release_gain_db"] > 30 > 1 > found["second_release_independent_gain_db"]
    assert found["grown_release_changed"] == 1
    assert found["grown_release_gain_db"] > 30


@pytest.mark.parametrize(("k", "scope"), [(3, "image"), (5, "dataset")])
def test_two_sizes_of_random_filters_give_each_other_away(k: int, scope: str) -> None:
    images = draw(30, 32, rng=np.random.default_rng(0)).images
    found = second_release(METHODS["random_filter"](32, k, scope, 0.0, KEY), images)
    assert found["second_release_filters_found"] > 0.999
    # With no second release of the same images there is nothing to solve.
    noise = np.random.default_rng(0).normal(size=images.shape)
    one, two = (METHODS["random_filter"](32, size, scope, 0.0, KEY) for size in (3, 5))
    assert _keys_found(one, two, images, one.apply(images), noise) < 0.8


@pytest.mark.parametrize("name", [name for name in KEYED if name != "random_filter"])
def test_no_filters_are_found_where_there_are_none(name: str) -> None:
    assert second_release(owner(name), IMAGES)["second_release_filters_found"] is None


def test_filters_too_large_for_the_image_are_not_sought() -> None:
    assert second_release(replace(owner("random_filter"), k=9), IMAGES)["second_release_filters_found"] is None


def test_shared_noise_subtracts_out_of_two_rows() -> None:
    found = second_release(owner("gaussian_noise", "dataset"), IMAGES)
    assert found["grown_release_changed"] == 0 and found["grown_release_gain_db"] > 30
    assert found["second_release_gain_db"] < 1.0


@pytest.mark.parametrize(
    ("name", "k", "expected"),
    [("block_scramble", 4, 8), ("block_scramble", 16, 8), ("random_filter", 1, 3), ("random_filter", 15, 13)],
)
def test_the_other_setting_is_the_next_larger_k_or_else_the_next_smaller(name: str, k: int, expected: int) -> None:
    assert another_setting(replace(owner(name), k=k)).k == expected


def test_noise_is_doubled() -> None:
    other = another_setting(owner("correlated_noise"))
    assert (other.sigma, other.k) == (200.0, 3)
    assert second_release(owner("correlated_noise"), IMAGES)["second_release_setting"] == "sigma=200"


@pytest.mark.parametrize(
    ("perturbation", "count", "reason"),
    [
        (METHODS["gaussian_blur"](16, 3), 120, "gaussian_blur has no key"),
        (METHODS["none"](16), 120, "none has no key"),
        (METHODS["block_scramble"](16, 4, "image", 0.0, KEY), 3, "it takes 4 images to measure; got 3"),
        (METHODS["block_scramble"](1, 1, "image", 0.0, KEY), 9, "block_scramble has no other setting"),
        (METHODS["gaussian_noise"](16, 1, "image", 3e6, KEY), 9, "sigma=6e+06: gaussian_noise gave values that"),
    ],
)
def test_what_cannot_be_measured_has_a_reason(perturbation: Perturbation, count: int, reason: str) -> None:
    images = IMAGES[:count, : perturbation.image_size, : perturbation.image_size]
    found = second_release(perturbation, images)
    assert str(found["second_release_problem"]).startswith(reason)
    assert found["second_release_gain_db"] is None and found["second_release_setting"] is None
    assert found.keys() == second_release(owner("gaussian_noise"), IMAGES).keys()


def test_equal_images_are_no_change() -> None:
    equal = np.stack([IMAGES[0], *IMAGES[:9], IMAGES[3]])
    assert second_release(owner("block_scramble"), equal)["grown_release_changed"] == 0


def test_the_table_has_every_keyed_method_in_both_scopes() -> None:
    rows = table(IMAGES[:20], [KEY]).splitlines()
    assert len(rows) == 2 + 2 * len(KEYED)
    assert all(row.count("|") == 4 + len(NAMES) for row in rows)
