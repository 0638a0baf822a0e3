"""A release of drawn images classifies others of their kind; its parts are what their formulas say."""

import numpy as np
import pytest
import torch

from privpipe.errors import PrivpipeError
from privpipe.statistics.accounting import mu_of
from privpipe.statistics.features import FLAT, ROOT, STRIDE, THRESHOLD, NetworkFeatures, PatchFeatures, Projection
from privpipe.statistics.heads import fit, start, targets, unit_targets
from privpipe.statistics.mechanism import Budget, Sums, clipped, exact_sums, noisy
from privpipe.statistics.recipe import Recipe, prepare, usual_maps

RNG = np.random.default_rng(0)
CLASSES, SIZE = 3, 12


def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with stripes, whose direction and colour is the class."""
    labels = np.arange(count) % CLASSES
    stripes = 60 * np.sin(np.arange(SIZE) * 1.5 + RNG.uniform(0, 6, (count, 1)))
    values = RNG.normal(128, 40, (count, SIZE, SIZE, 3))
    values += np.where((labels == 0)[:, None, None], stripes[:, :, None], stripes[:, None, :])[..., None]
    values[labels == 2, ..., 0] += 20
    return values.clip(0, 255).astype(np.uint8), labels


PUBLIC, PRIVATE, TEST = drawn(150), drawn(1500), drawn(300)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    maps = [PatchFeatures.fit(PUBLIC[0], 20, 4), NetworkFeatures.fit(*PUBLIC, CLASSES, epochs=2)]
    return prepare(*PUBLIC, CLASSES, 24, maps)


def test_a_release_classifies_and_less_noise_does_it_better(recipe: Recipe) -> None:
    accuracy = {}
    for epsilon in (0.01, 8.0):
        budget = Budget(mu_of(epsilon))
        noise = np.random.default_rng(1).standard_normal(recipe.noise_count(budget))
        head = recipe.head(recipe.release(*PRIVATE, budget, noise))
        accuracy[epsilon] = head.accuracy(recipe.vectors(TEST[0]), TEST[1])
    alone = recipe.start.head.accuracy(recipe.vectors(TEST[0]), TEST[1])
    assert accuracy[8.0] > 0.8
    assert accuracy[8.0] >= alone - 0.02
    # Next to nothing is released at 0.01, and the head then keeps to the public classifier.
    assert accuracy[0.01] == pytest.approx(alone, abs=0.05)


def test_a_recipe_is_made_again_of_its_arrays(recipe: Recipe) -> None:
    again = Recipe.from_arrays(recipe.arrays())
    assert (again.vectors(TEST[0][:20]) == recipe.vectors(TEST[0][:20])).all()
    vectors = recipe.vectors(PRIVATE[0][:20])
    assert (again.targets(vectors, PRIVATE[1][:20]) == recipe.targets(vectors, PRIVATE[1][:20])).all()


def test_the_usual_maps_need_labels_for_a_network_only(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(NetworkFeatures, "fit", lambda images, labels, _: seen.append((len(images), len(labels))))
    assert [type(one) for one in usual_maps(PUBLIC[0], None, CLASSES)] == [PatchFeatures]
    assert not seen
    usual_maps(*PUBLIC, CLASSES)
    assert not seen  # they are too few
    usual_maps(PRIVATE[0], PRIVATE[1], CLASSES)
    assert seen == [(1200, 1200)]


def test_patch_features_are_those_of_a_loop() -> None:
    features = PatchFeatures.fit(PUBLIC[0], 5, 4)
    image = TEST[0][0].astype(np.float64)
    expected = np.zeros(5 * 18)
    for one in (image, image[:, ::-1]):
        places = range(0, SIZE - 3, STRIDE)
        responses = np.empty((5, len(places), len(places)))
        for row, y in enumerate(places):
            for column, x in enumerate(places):
                patch = one[y : y + 4, x : x + 4].transpose(2, 0, 1).ravel()
                patch = (patch - patch.mean()) / np.sqrt(patch.var() + FLAT)
                responses[:, row, column] = features.filters.reshape(5, -1) @ patch - features.offsets
        both = (np.maximum(0, responses - THRESHOLD), np.maximum(0, -responses - THRESHOLD))
        pooled = [torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(r), 3).numpy().ravel() for r in both]
        expected += np.concatenate(pooled) / 2
    assert features.of(TEST[0][:1])[0] == pytest.approx(np.sqrt(expected + ROOT), rel=1e-3)


def test_patches_larger_than_images_are_refused() -> None:
    with pytest.raises(PrivpipeError, match="patches of 13×13 pixels do not fit"):
        PatchFeatures.fit(PUBLIC[0], size=13)


def test_a_projection_whitens_and_half_of_the_vectors_are_clipped() -> None:
    vectors = (RNG.standard_normal((4000, 30)) @ np.diag(np.linspace(1, 3, 30))).astype(np.float32) + 5
    projected = Projection.fit(vectors, 15).of(vectors)
    assert projected.mean(axis=0) == pytest.approx(np.zeros(15), abs=1e-3)
    covariance = np.cov(projected.T)
    assert covariance == pytest.approx(np.eye(15) * covariance[0, 0], abs=0.02 * covariance[0, 0])
    assert np.median(np.linalg.norm(projected, axis=1)) == pytest.approx(1, abs=1e-3)


def test_without_noise_and_with_many_images_the_head_is_least_squares() -> None:
    z = clipped(RNG.standard_normal((50_000, 6)).astype(np.float32) * np.linspace(0.2, 0.6, 6, dtype=np.float32))
    labels = (z @ RNG.standard_normal((6, CLASSES)) * 3 + RNG.standard_normal((50_000, CLASSES))).argmax(axis=1)
    begin = start(z, None, CLASSES)
    head = fit(exact_sums(z, targets(z, labels, CLASSES, begin), moment=True), begin)
    exact = np.linalg.lstsq(z.astype(np.float64), unit_targets(labels, CLASSES), rcond=None)[0]
    assert head.weights == pytest.approx(exact, abs=0.02 * abs(exact).max())


def test_the_head_is_the_posterior_mean_of_its_model() -> None:
    # Drawn from the model, no other shrinkage of the same sums has a smaller error.
    dims, n, classes, variance = 8, 1000, 10, 4.0
    spread = np.geomspace(1, 0.01, dims) / dims
    label_variance = 0.09
    unknown = 0.4 * label_variance / spread.sum()
    rng, errors = np.random.default_rng(0), {0.5: 0.0, 1.0: 0.0, 2.0: 0.0}
    begin = start(np.zeros((1, dims), np.float32), None, classes)
    begin = type(begin)(begin.weights, np.diag(spread), 0, 10**9, 1.0)
    for _ in range(300):
        true = rng.normal(0, unknown**0.5, (dims, classes))
        error = (0.6 * label_variance * spread / n + variance / n**2) ** 0.5
        cross = n * (spread[:, None] * true + error[:, None] * rng.standard_normal((dims, classes)))
        weights = fit(Sums(cross.T, None, n, variance), begin).weights
        for factor in errors:
            errors[factor] += ((factor * weights - true) ** 2).sum()
    assert min(errors, key=lambda factor: errors[factor]) == 1.0


def test_second_moments_help_where_public_ones_are_of_few_images() -> None:
    z = clipped(RNG.standard_normal((20_000, 10)).astype(np.float32) * np.geomspace(0.6, 0.1, 10, dtype=np.float32))
    labels = (z @ RNG.standard_normal((10, CLASSES)) * 4).argmax(axis=1)
    begin = start(z[:30], None, CLASSES)
    sums, budget = exact_sums(z, targets(z, labels, CLASSES, begin), moment=True), Budget(2.0, 0.3)
    noise = RNG.standard_normal(30 + 55)
    assert fit(noisy(sums, budget, noise), begin).accuracy(z, labels) > fit(
        noisy(sums, Budget(2.0), noise[:30]), begin
    ).accuracy(z, labels)
