"""Jigsaw puzzles of blocks: solved where they can be, and not believed where there is nothing to solve."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.jigsaw import RIDGE, Jigsaw, Puzzle
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.perturb.base import to_blocks

SIZE, K = 16, 4
KEY = KeyStream(bytes(range(32)))
# As photographs are and drawn images are not: lighter above, and not the same to the left, nor in all colours.
SKY = 60 * np.linspace(1, 0, SIZE)[:, None, None] + 20 * np.linspace(0, 1, SIZE)[:, None] + np.array([20, 10, 0])
IMAGES, PUBLIC = (
    (draw(count, SIZE, rng=np.random.default_rng(count)).images * 0.6 + SKY).astype(np.uint8) for count in (160, 300)
)
SHUFFLED, ETC = "block_permutation", "encryption_then_compression"


def owner(name: str, scope: str = "dataset", k: int = K) -> Perturbation:
    return PERTURBATIONS[name](SIZE, k, scope, 0.0, KEY)


def view(method: Perturbation, public: NDArray[np.uint8] | None = None, count: int = 100) -> AdversaryView:
    perturbed = method.apply(IMAGES)
    return AdversaryView(method.name, method.k, method.scope, 0.0, perturbed[:count], perturbed[-20:], public)


def neighbours_right(puzzle: Puzzle, board: NDArray[np.intp], key: NDArray[np.int32]) -> float:
    """The fraction of neighbours of a board that were neighbours, whatever the form of the whole."""
    true = np.argsort(key % puzzle.blocks)  # which perturbed block each place of the original became
    right = puzzle.neighbours(np.stack([true, true], axis=1))
    return len(right & puzzle.neighbours(board)) / len(right)


def test_one_permutation_of_the_blocks_is_found_from_the_images_alone() -> None:
    given = view(owner(SHUFFLED))
    outcome = Jigsaw().run(given)
    np.testing.assert_array_equal(outcome.key, owner(SHUFFLED).dataset_key)
    np.testing.assert_array_equal(outcome.images, IMAGES[-20:])
    assert outcome.confidence is not None and outcome.confidence > 0.9
    again = Jigsaw().run(given)
    assert again.confidence == outcome.confidence and np.array_equal(again.key, outcome.key)


def test_one_key_of_etc_is_found_with_public_images_and_but_for_the_form_without() -> None:
    method = owner(ETC)
    informed, blind = Jigsaw().run(view(method, PUBLIC)), Jigsaw().run(view(method))
    np.testing.assert_array_equal(informed.key, method.dataset_key)
    np.testing.assert_array_equal(informed.images, IMAGES[-20:])
    assert informed.confidence is not None and informed.confidence > 0.9
    assert blind.confidence is not None and 0 < blind.confidence <= 1 / 96
    assert blind.key is not None and blind.images is not None
    forms = PERTURBATIONS[ETC](SIZE, SIZE).block_variants(3)
    assert forms is not None
    flat = blind.images.reshape(20, -1)
    whole = [np.where(f < f.size, flat[:, f % f.size], 255 - flat[:, f % f.size]) for f in forms]
    assert sum(np.array_equal(one, IMAGES[-20:].reshape(20, -1)) for one in whole) == 1


@pytest.mark.parametrize(("name", "least"), [(SHUFFLED, 0.7), (ETC, 0.4)])
def test_a_puzzle_for_each_image_is_solved_in_part(name: str, least: float) -> None:
    method = owner(name, "image")
    puzzle, perturbed, keys = Puzzle(method, 3), method.apply(IMAGES[:20]), method.image_keys(IMAGES[:20])
    fit = puzzle.fit(PUBLIC)
    right = [
        neighbours_right(puzzle, puzzle.solve(image[None], fit)[0], key)
        for image, key in zip(perturbed, keys, strict=True)
    ]
    assert np.mean(right) > least  # by chance a fifth: 24 of 120 pairs are neighbours
    outcome = Jigsaw().run(view(method, PUBLIC))
    assert outcome.key is not None and outcome.key.shape == (20, puzzle.blocks)


def test_a_fit_is_the_likelihood_ratio_of_two_gaussian_strips() -> None:
    method = owner(SHUFFLED)
    puzzle = Puzzle(method, 3)
    fit = puzzle.fit(PUBLIC)
    strips = []
    for block in to_blocks(PUBLIC[:50], K).reshape(-1, K, K, 3).astype(float) - 127.5:
        for turned in (block, block.transpose(1, 0, 2)):
            before, after = turned[:, 1::-1].ravel(), turned[:, 2:].ravel()
            strips += [np.concatenate([before, after]), np.concatenate([after, before])]
    covariance = np.cov(np.array(strips).T, bias=True) + np.outer(*[np.mean(strips, axis=0)] * 2)
    covariance += RIDGE * np.eye(len(covariance))
    d = len(covariance) // 2
    both = multivariate_normal(cov=covariance).logpdf(strips[:8])
    alone = multivariate_normal(cov=covariance[:d, :d])
    expected = both - sum(alone.logpdf(np.array(strips[:8])[:, half]) for half in (slice(d), slice(d, None)))
    a, b = np.array(strips[:8])[:, :d], np.array(strips[:8])[:, d:]
    found = [x @ fit.cross @ y + x @ fit.own @ x + y @ fit.own @ y + fit.information for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("name", [SHUFFLED, ETC])
def test_what_is_no_puzzle_is_not_believed(name: str) -> None:
    noise = np.random.default_rng(2).integers(0, 256, IMAGES.shape, np.uint8)
    for scope in ("dataset", "image"):
        given = replace(view(owner(name, scope)), stolen=noise[:60], targets=noise[60:70])
        confidence = Jigsaw().run(given).confidence
        assert confidence is not None and confidence < 0.35  # of 24 pairs of neighbours, five agree by chance
    one_key_for_each = replace(view(owner(name, "image")), scope="dataset")
    confidence = Jigsaw().run(one_key_for_each).confidence
    assert confidence is not None and confidence < 0.5
    single = Jigsaw().run(view(owner(name), count=1))
    assert single.confidence == 0


def test_it_applies_where_blocks_move_and_have_an_inside() -> None:
    applied = {
        (name, k)
        for name in PERTURBATIONS
        for k in (1, 4, SIZE)
        if PERTURBATIONS[name].legal_k(SIZE) and Jigsaw().applies(PERTURBATIONS[name](SIZE, k))
    }
    assert applied == {(SHUFFLED, 4), (ETC, 4)}


def test_too_many_blocks_are_refused() -> None:
    message = (
        r"^a jigsaw puzzle may have 16,384 blocks, counted in all their forms; got 1,024 in 96 each\. Use a larger"
    )
    with pytest.raises(PrivpipeError, match=message):
        Puzzle(PERTURBATIONS[ETC](64, 2), 3)
