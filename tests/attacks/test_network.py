"""The restoration network learns the way back, believes itself only where it may, and is the same every time."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.network import Network, RestorationNetwork, likeness
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.base import Array
from privpipe.perturb.values import pixel_values

SIZE, PUBLIC, STOLEN = 16, 300, 60
IMAGES = draw(PUBLIC + 4 * STOLEN, SIZE, rng=np.random.default_rng(1)).images
KNOWN, PRIVATE = IMAGES[:PUBLIC], IMAGES[PUBLIC:]
KEY = KeyStream(bytes(range(32)))
ATTACK = RestorationNetwork(epochs=4, seed=0, threads=1, device="cpu")


def perturbed(images: NDArray[np.uint8], method: str, k: int, scope: str, sigma: float, key: str) -> Array:
    return PERTURBATIONS[method](images.shape[1], k, scope, sigma, KEY.child(key)).apply(images)


def view(method: str, k: int, scope: str = "image", sigma: float = 0.0, pairs: int = 0) -> AdversaryView:
    """The targets are the first `STOLEN` of `PRIVATE`, the known pairs the last ones."""
    setting = (method, k, scope, sigma)
    known = Pairs(PRIVATE[-pairs:], perturbed(PRIVATE[-pairs:], *setting, "owner")) if pairs else None
    stolen, targets = (
        perturbed(images, *setting, "owner") for images in (PRIVATE[STOLEN : 2 * STOLEN], PRIVATE[:STOLEN])
    )
    return AdversaryView(*setting, stolen, targets, KNOWN, known)


def error(images: Array) -> float:
    return float(np.square(images.astype(np.float64) - PRIVATE[:STOLEN]).mean())


@pytest.mark.parametrize(
    ("method", "k", "scope", "sigma"), [("gaussian_noise", 1, "image", 50.0), ("block_scramble", 4, "image", 0.0)]
)
def test_restores_better_than_no_attack(method: str, k: int, scope: str, sigma: float) -> None:
    given = view(method, k, scope, sigma)
    attempt = ATTACK.run(given)
    assert attempt.images is not None and attempt.confidence is not None and attempt.key is None
    assert attempt.images.shape == given.targets.shape and attempt.images.dtype == np.float32
    assert attempt.images.min() >= 0 and attempt.images.max() <= 255
    blank = np.broadcast_to(KNOWN.mean(axis=0), given.targets.shape)
    assert error(attempt.images) < 0.7 * min(error(blank), error(pixel_values(given.targets)))
    assert attempt.confidence > 0.4


@pytest.mark.parametrize(("method", "k"), [("block_scramble", 4), ("block_mix", 2)])
def test_bfloat16_restores_as_well(method: str, k: int) -> None:
    """Not the same bits, and not worse; what comes out is not rounded to 8 bits of precision."""
    one, other = (replace(ATTACK, precision=name).run(view(method, k)).images for name in ("float32", "bfloat16"))
    assert one is not None and other is not None and not np.array_equal(one, other)
    assert error(other) == pytest.approx(error(one), rel=0.1)
    assert not np.array_equal(other, torch.from_numpy(other).bfloat16().float().numpy())


def test_known_pairs_teach_the_shared_key() -> None:
    # One noise field for all images: without pairs it cannot be told from the images.
    given = view("gaussian_noise", 1, "dataset", 60.0, pairs=2 * STOLEN)
    attack = replace(ATTACK, epochs=8)
    without, with_pairs = (attack.run(each).images for each in (replace(given, pairs=None), given))
    assert without is not None and with_pairs is not None
    assert error(with_pairs) < 0.8 * error(without)


def test_a_few_known_pairs_change_nothing() -> None:
    given = view("gaussian_noise", 1, "dataset", 50.0, pairs=10)
    attack = replace(ATTACK, epochs=1)
    without, with_pairs = (attack.run(each).images for each in (replace(given, pairs=None), given))
    np.testing.assert_array_equal(without, with_pairs)


def test_known_pairs_that_mislead_are_not_followed() -> None:
    """Pairs whose images are exchanged at random: held-out pairs gain little, and the targets lose little."""
    given = view("gaussian_noise", 1, "image", 25.0, pairs=100)
    assert given.pairs is not None
    wrong = Pairs(np.random.default_rng(0).permutation(given.pairs.originals), given.pairs.perturbed)
    attempt = replace(ATTACK, epochs=1).run(replace(given, pairs=wrong))
    assert attempt.images is not None
    blank = np.broadcast_to(KNOWN.mean(axis=0), given.targets.shape)
    assert error(attempt.images) < 1.5 * error(blank)


@pytest.mark.parametrize(
    ("method", "k", "scope"),
    [
        ("gaussian_blur", 3, "dataset"),
        ("pixelate", 4, "dataset"),
        ("random_filter", 5, "image"),
        ("random_filter", 3, "dataset"),
        ("block_scramble", 16, "dataset"),
        ("block_mix", 2, "image"),
        ("block_mix", 4, "dataset"),
        ("correlated_noise", 3, "dataset"),
    ],
)
def test_runs_on_every_method(method: str, k: int, scope: str) -> None:
    given = view(method, k, scope, 20.0, pairs=40)
    small = replace(given, public=KNOWN[:70])
    attempt = replace(ATTACK, epochs=1).run(small)
    assert attempt.images is not None and np.isfinite(attempt.images).all()
    assert attempt.confidence is not None and 0 <= attempt.confidence <= 1


def test_is_the_same_every_time_and_depends_on_the_seed() -> None:
    given = replace(view("block_scramble", 2, "dataset", pairs=40), public=KNOWN[:70])
    attack = replace(ATTACK, epochs=1)
    first, second, other = (each.run(given) for each in (attack, attack, replace(attack, seed=1)))
    np.testing.assert_array_equal(first.images, second.images)
    assert first.confidence == second.confidence
    assert first.images is not None and other.images is not None and not np.array_equal(first.images, other.images)


@pytest.mark.parametrize(
    ("claimed", "k", "sigma"), [("gaussian_noise", 1, 60.0), ("block_mix", 4, 0.0), ("gaussian_blur", 7, 0.0)]
)
def test_other_data_are_not_taken_for_what_it_was_trained_on(claimed: str, k: int, sigma: float) -> None:
    own = perturbed(KNOWN, claimed, k, "image", sigma, "own")
    right = perturbed(PRIVATE, claimed, k, "image", sigma, "theirs")
    noise = np.random.default_rng(3).integers(0, 256, PRIVATE.shape, np.uint8)
    assert likeness(right, own) > 0.9
    for stolen in (PRIVATE, noise, perturbed(PRIVATE, "block_scramble", 4, "image", 0, "theirs")):
        assert likeness(stolen, own) < 0.3


def test_the_confidence_is_low_on_unperturbed_images() -> None:
    given = view("gaussian_noise", 1, "image", 60.0)
    fooled = replace(given, stolen=PRIVATE[:STOLEN], targets=PRIVATE[:STOLEN])
    honest, doubtful = (replace(ATTACK, epochs=2).run(each).confidence for each in (given, fooled))
    assert honest is not None and doubtful is not None
    assert doubtful < 0.1 < honest


def test_blank_images_give_no_error() -> None:
    assert 0 <= likeness(np.zeros((5, 8, 8, 3), np.uint8), np.zeros((5, 8, 8, 3), np.uint8)) <= 1


def test_what_a_block_path_sees_does_not_depend_on_the_key() -> None:
    network = Network(PERTURBATIONS["block_scramble"](SIZE, 4, "image"), 3)
    network.initialise(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(network.unet.out.weight, generator=torch.Generator().manual_seed(1))
    levels = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 255
    images = levels.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    first, second = (
        torch.from_numpy(perturbed(images, "block_scramble", 4, "image", 0, key)).permute(0, 3, 1, 2).float()
        for key in ("one", "two")
    )
    assert not torch.equal(first, second)
    seen = [network.method.invariants(image / 64) for image in (first, second)]
    torch.testing.assert_close(seen[0], seen[1])


def test_there_is_nothing_to_restore_without_a_perturbation() -> None:
    assert [name for name in PERTURBATIONS if not ATTACK.applies(PERTURBATIONS[name](SIZE, 1, "image"))] == ["none"]


def test_refuses_to_learn_from_nothing() -> None:
    given = view("gaussian_noise", 1, sigma=20.0)
    for public, count in ((None, 0), (KNOWN[:21], 21)):
        with pytest.raises(PrivpipeError, match=f"at least 22 public images; got {count}\\. Raise data\\.public, or"):
            ATTACK.run(replace(given, public=public))


def test_refuses_sizes_that_do_not_halve() -> None:
    given = view("gaussian_noise", 1, sigma=20.0)
    stolen, targets, public = (images[:, :12, :12] for images in (given.stolen, given.targets, KNOWN))
    odd = replace(given, stolen=stolen, targets=targets, public=public)
    with pytest.raises(PrivpipeError, match=r"multiple of 8 pixels; got 12\. Resize them"):
        ATTACK.run(odd)
