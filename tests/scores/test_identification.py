"""The three statements on whose image an upload is, the exact one by enumerating every key of a tiny space."""

from itertools import permutations, product

import numpy as np
import pytest

from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.scores.guarantee import distances
from privpipe.scores.identification import at_least, at_most, exactly, identification, identified

KEY = KeyStream(bytes(range(32)))
SIGMA = 200.0
CONTINUUM = ("random_filter", "block_mix", "disguised_rmt", "neuracrypt", "dp_pix", "ldp_slicing")
WHY_NOT = "(can turn any image|draws its key from a continuum|has keys that do not form a group)"
NO_GROUP = ("learnable_encryption", "extended_learnable_encryption", "negative_positive", "format_preserving")
COUNTED = [name for name in PERTURBATIONS if not PERTURBATIONS[name].noisy and name not in (*CONTINUUM, *NO_GROUP)]
KEYED = [name for name in COUNTED if PERTURBATIONS[name].keyed]


def method(name: str, size: int, k: int = 1, scope: str = "dataset", sigma: float = SIGMA) -> Perturbation:
    return PERTURBATIONS[name](size, k, scope, sigma, KEY)


def sample_images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3), np.uint8)


def settings(name: str, size: int) -> Perturbation:
    """A method at a size of block or filter that it allows, with a fresh key for each image where it has one."""
    legal = PERTURBATIONS[name].legal_k(size)
    k = 1 if legal is None else next(k for k in legal if k > 1)
    return method(name, size, k, "image" if PERTURBATIONS[name].keyed else "dataset")


def every_image(levels: int, channels: int) -> np.ndarray:
    """All images of 2×2 pixels with so many levels in each channel."""
    values = list(product(range(levels), repeat=4 * channels))
    return np.array(values, np.uint8).reshape(-1, 2, 2, channels)


def by_brute_force(perturbation: Perturbation, candidates: np.ndarray, keys: np.ndarray) -> tuple[float, float]:
    """Bayes vulnerability, and the mean number of guesses, from the table of P(output | candidate)."""
    chances: dict[bytes, np.ndarray] = {}
    for key in keys:
        for index, output in enumerate(perturbation.invert(candidates, key)):
            chances.setdefault(output.tobytes(), np.zeros(len(candidates)))[index] += 1 / len(keys)
    table = np.array(list(chances.values()))  # (outputs, candidates)
    ranked = -np.sort(-table, axis=1)
    return ranked[:, 0].sum() / len(candidates), (ranked @ np.arange(1, len(candidates) + 1)).sum() / len(candidates)


def every_key(name: str, channels: int) -> np.ndarray:
    """All keys of a method for images of 2×2 pixels, whose blocks are pixels, or the whole of block_scramble."""
    orders = np.array(list(permutations(range(4))), np.int32)
    if name == "block_scramble":
        return orders[:, None]
    if name == "block_permutation":
        return orders
    if name == "block_pixel_shuffle":
        return np.array([[*p, *q] for p in orders for q in permutations(range(channels))], np.int32)
    if name == "value_shuffling":
        return np.array(list(permutations(range(channels))), np.int32)
    if name == "pixel_based_encryption":
        pixel = [
            [colour + channels * sign for colour, sign in zip(order, signs, strict=True)]
            for order in permutations(range(channels))
            for signs in product((0, 1), repeat=channels)
        ]
        return np.array(list(product(pixel, repeat=4)), np.int32)
    assert name == "encryption_then_compression", f"add the keys of {name}"
    # A pixel has no sides: it is negative or not, its colours in one order or another.
    forms = list(product(range(2 * len(list(permutations(range(channels))))), repeat=4))
    return np.array([order + 4 * np.array(form) for order in orders for form in forms], np.int32)


@pytest.mark.parametrize(("levels", "channels"), [(3, 1), (2, 2)])
@pytest.mark.parametrize("name", KEYED)
def test_the_count_is_that_of_every_key_on_every_image(name: str, levels: int, channels: int) -> None:
    """Among the levels are a value and its negative."""
    candidates = np.array([0, 255, 7], np.uint8)[every_image(levels, channels)]
    keys = every_key(name, channels)  # undoing all is applying all
    if len(keys) * len(candidates) > 200_000:  # the larger case of a method with many keys: some images will do
        candidates = candidates[:: len(keys) * len(candidates) // 100_000]
    perturbation = method(name, 2, 2 if name == "block_scramble" else 1)
    vulnerability, guesses = by_brute_force(perturbation, candidates, keys)
    counted = exactly(perturbation, candidates, np.zeros(len(candidates), np.int64))
    assert counted.identified == pytest.approx(vulnerability, abs=1e-12)
    assert counted.guesses == pytest.approx(guesses, abs=1e-9)
    assert counted.bits == pytest.approx(np.log2(len(candidates) * vulnerability))


def test_images_of_another_class_are_no_candidates() -> None:
    twins = np.repeat(sample_images(1, 4), 4, axis=0)
    perturbation = method("block_scramble", 4, 2)
    assert exactly(perturbation, twins, np.array([0, 0, 1, 1])).identified == 0.5
    assert exactly(perturbation, twins, np.array([0, 0, 0, 0])).identified == 0.25
    assert exactly(perturbation, twins, np.array([0, 0, 0, 0])).guesses == 2.5


def test_a_pixel_moves_with_its_colours() -> None:
    """The same values in each colour, but not the same pixels: another image to whoever sees the colours."""
    one = np.zeros((1, 2, 2, 3), np.uint8)
    one[0, 0, 0] = (9, 9, 0)
    other = np.zeros((1, 2, 2, 3), np.uint8)
    other[0, 0, 0], other[0, 1, 1] = (9, 0, 0), (0, 9, 0)
    both = np.concatenate([one, other])
    assert exactly(method("block_scramble", 2, 2), both, np.zeros(2, np.int64)).identified == 1


@pytest.mark.parametrize("name", COUNTED)
def test_no_key_changes_the_orbit_and_other_images_have_another(name: str) -> None:
    perturbation, images = settings(name, 8), sample_images(20, 8)
    orbits = perturbation.orbit(images)
    assert len(np.unique(orbits.reshape(20, -1), axis=0)) == 20
    if perturbation.keyed:
        np.testing.assert_array_equal(perturbation.orbit(perturbation.apply(images)), orbits)


@pytest.mark.parametrize("name", [name for name in PERTURBATIONS if name not in COUNTED])
def test_what_cannot_be_counted_says_why(name: str) -> None:
    perturbation, images = settings(name, 8), sample_images(5, 8)
    with pytest.raises(
        PrivpipeError,
        match=f"{name} {WHY_NOT}",
    ):
        exactly(perturbation, images, np.zeros(5, np.int64))
    result = identified(perturbation, images, np.zeros(5, np.int64))
    assert result.exactly is None and name in result.why["exactly"]


def test_the_bound_on_a_gaussian_mechanism_is_met_by_two_images() -> None:
    """Two candidates at a distance of mu: the best test is right with Phi(mu / 2); the bound must not be below it."""
    from scipy.stats import norm

    for mu in (0.1, 1.0, 3.0):
        assert at_most(np.array([2]), mu) >= norm.cdf(mu / 2)
    assert at_most(np.array([10]), 0.0) == pytest.approx(0.1)
    assert at_most(np.array([1000] * 10), 0.5) == pytest.approx(norm.cdf(norm.ppf(1e-3) + 0.5))
    # One of a class of its own is known; four of another class are guessed.
    assert at_most(np.array([1, 4]), 0.0) == pytest.approx((1 + 4 * 0.25) / 5)


@pytest.mark.parametrize("name", list(PERTURBATIONS))
def test_at_least_exactly_and_at_most_do_not_contradict_each_other(name: str) -> None:
    images = sample_images(60, 8)
    images[10:20] = images[:10]  # nobody tells equal images apart
    images[20:30] = method("block_scramble", 8, 2).apply(images[:10])  # the same pixels in every block
    labels = np.arange(60) % 2
    perturbation = settings(name, 8)
    result = identified(perturbation, images, labels, perturbation.apply(images))
    assert result.at_least is not None and result.prior == 2 / 60
    if result.exactly is not None:
        assert result.at_least <= result.exactly.identified + 1e-12
    if result.at_most is not None:
        assert result.at_least <= result.at_most


def test_the_adversary_of_a_method_with_a_count_is_the_best_there_is() -> None:
    images = sample_images(40, 8)
    images[1::2] = images[::2]
    labels = np.zeros(40, np.int64)
    perturbation = method("block_scramble", 8, 4, "image")
    assert at_least(perturbation, perturbation.apply(images), images, labels) == pytest.approx(0.5)
    assert exactly(perturbation, images, labels).identified == 0.5


def test_fresh_noise_that_is_strong_enough_hides_whose_image_it_is() -> None:
    images = sample_images(200, 4)
    labels = np.arange(200) % 2
    perturbation = method("gaussian_noise", 4, 1, "image", sigma=50_000.0)
    mus = distances(perturbation, 3)
    assert not isinstance(mus, str) and mus[1] == pytest.approx(255 * np.sqrt(4 * 4 * 3) / 50_000)
    result = identified(perturbation, images, labels)
    assert result.at_most is not None and result.prior < result.at_most < 1.2 * result.prior
    assert result.at_least is None


def test_one_field_of_noise_for_all_is_no_bound() -> None:
    result = identified(method("gaussian_noise", 4), sample_images(4, 4), np.zeros(4, np.int64))
    assert result.at_most is None and "the same noise" in result.why["at_most"]


def test_the_metrics_have_a_number_or_a_reason() -> None:
    images, labels = sample_images(30, 8), np.arange(30) % 3
    for name in PERTURBATIONS:
        perturbation = settings(name, 8)
        metrics = identification(perturbation, images, labels, perturbation.apply(images[:10]))
        assert metrics["identified_candidates"] == 30 and metrics["identified_prior"] == 0.1
        for kind in ("exactly", "at_most", "at_least"):
            assert (metrics[f"identified_{kind}"] is None) == (metrics[f"identified_{kind}_why"] is not None)
    counted = identification(settings("block_scramble", 8), images, labels)
    assert (counted["identified_exactly"], counted["identified_bits"], counted["identified_guesses"]) == (1, 4.91, 1)


def test_a_method_that_gives_no_orbit_is_not_said_to_have_none() -> None:
    class Silent(PERTURBATIONS["block_scramble"]):  # type: ignore[misc]  # a registry's values are classes
        orbit = Perturbation.orbit

    why = identified(Silent(8, 2, "image", 0.0, KEY), sample_images(4, 8), np.zeros(4, np.int64)).why["exactly"]
    assert why == (
        "block_scramble does not say which images its keys turn into the same outputs. Define Silent.orbit if there is "
        "one."
    )


def test_a_method_that_gives_no_likelihood_says_so() -> None:
    class Silent(PERTURBATIONS["block_scramble"]):  # type: ignore[misc]  # a registry's values are classes
        def log_likelihood(self, targets: np.ndarray, gallery: np.ndarray) -> np.ndarray:
            raise PrivpipeError("silent says nothing")

    perturbation = Silent(8, 2, "image", 0.0, KEY)
    images = sample_images(4, 8)
    metrics = identification(perturbation, images, np.zeros(4, np.int64), perturbation.apply(images))
    assert (metrics["identified_at_least"], metrics["identified_at_least_why"]) == (None, "silent says nothing")


def test_uploads_of_few_for_each_class_are_told_by_what_all_of_them_share() -> None:
    """100 uploads in 40 classes: of three in a class neuracrypt tells next to nothing, of all of them nearly all."""
    images, labels = draw(400, 32, rng=np.random.default_rng(0)).images, np.arange(400) % 40
    method = PERTURBATIONS["neuracrypt"](32, 4, "dataset", 0.0, KeyStream(bytes(32)))
    assert at_least(method, method.apply(images[:100]), images, labels) > 0.9


SHARED = [
    ("gaussian_noise", 1, 2000.0, {}),
    ("correlated_noise", 3, 5000.0, {}),
    ("dp_pix", 4, 0.0, {"epsilon": 0.5}),
    ("ldp_slicing", 1, 0.0, {"epsilon": 0.3}),
]


@pytest.mark.parametrize(("name", "k", "sigma", "settings_"), SHARED)
def test_noise_that_all_uploads_share_hides_none_of_them(
    name: str, k: int, sigma: float, settings_: dict[str, float]
) -> None:
    images, labels = draw(400, 32, rng=np.random.default_rng(0)).images, np.arange(400) % 2
    shared, own = (PERTURBATIONS[name](32, k, scope, sigma, KEY, **settings_) for scope in ("dataset", "image"))
    assert at_least(shared, shared.apply(images[:60]), images, labels) > 0.95
    assert at_least(own, own.apply(images[:60]), images, labels) < 0.8
    few = shared.apply(images[:4])  # next to nothing to share: as if each had noise of its own
    np.testing.assert_array_equal(shared.log_likelihood(few, images), own.log_likelihood(few, images))
