"""Images of one, two and four channels are attacked and judged as those of three: what is left out looks private."""

import numpy as np
import pytest
from numpy.typing import NDArray

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.block_means import BlockMeans
from privpipe.attacks.registry import attacks
from privpipe.attacks.restoration import Prior
from privpipe.attacks.shared_field import SharedField
from privpipe.attacks.suite import suite
from privpipe.data.synthetic import draw
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.perturb.base import Array
from privpipe.scores.scoring import judge

SIZE, STOLEN, TARGETS = 16, 60, 6
KEY = KeyStream(bytes(range(32)))
KEYED = sorted(name for name, kind in PERTURBATIONS.items() if kind.keyed)
Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def images() -> Pixels:
    """Four channels that go together more and less: red, green, blue, and red mirrored. (180, 16, 16, 4)."""
    colours = draw(180, SIZE, rng=np.random.default_rng(0)).images
    return np.concatenate([colours, colours[:, :, ::-1, :1]], axis=3)


def of_channels(images: Pixels, count: int) -> Pixels:
    return np.ascontiguousarray(images[..., :count])


def method_of(name: str, scope: str) -> Perturbation:
    legal = PERTURBATIONS[name].legal_k(SIZE)
    return PERTURBATIONS[name](SIZE, 4 if legal is None or 4 in legal else 5, scope, 25.0, KEY)


def view(method: Perturbation, images: Pixels, public: bool = True) -> AdversaryView:
    owned = images[: STOLEN + TARGETS]
    perturbed = method.apply(owned)
    settings = (method.name, method.k, method.scope, method.sigma)
    pairs = Pairs(owned[:20], perturbed[:20]) if public else None
    known = images[STOLEN + TARGETS :] if public else None
    return AdversaryView(*settings, perturbed[:STOLEN], perturbed[STOLEN:], known, pairs, method.settings)


def problems(method: Perturbation, images: Pixels) -> set[tuple[str, str]]:
    """Levels and attacks that were not run or not measured."""
    held = view(method, images)
    originals = images[STOLEN : STOLEN + TARGETS]
    records = suite(held, attacks(0, 0, 1, "cpu"))
    judgement = judge(held, records, originals, np.arange(TARGETS), method, lambda seen: np.zeros(len(seen), np.int64))
    return {(level, attack) for level, attack, _, _ in judgement.problems}


@pytest.mark.parametrize("scope", ["dataset", "image"])
@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_nothing_is_left_out_that_is_done_with_three(images: Pixels, name: str, scope: str) -> None:
    method = method_of(name, scope)
    usual = problems(method, of_channels(images, 3))
    for count in (1, 2, 4):
        assert problems(method, of_channels(images, count)) <= usual, count


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("name", KEYED)
def test_the_shared_key_is_of_the_images(images: Pixels, name: str, channels: int) -> None:
    method, plain = method_of(name, "dataset"), of_channels(images[:5], channels)
    key = method.shared_key(channels)
    assert key is not None and key.shape == method.key_form(channels)
    if channels == 3:
        np.testing.assert_array_equal(key, np.asarray(method.dataset_key))
    if method.undone_by_key:
        np.testing.assert_allclose(method.invert(method.apply(plain), key), plain, atol=0.2)


@pytest.mark.parametrize("channels", [2, 4])
def test_without_public_images_each_channel_is_a_grey_image(images: Pixels, channels: int) -> None:
    one, several = Prior.generic(SIZE, 1), Prior.generic(SIZE, channels)
    np.testing.assert_array_equal(several.colours, np.eye(channels))
    assert all((covariance == one.covariances[0]).all() for covariance in several.covariances)
    method, plain = method_of("block_scramble", "image"), of_channels(images, channels)
    together = restored(method, plain)
    for channel in range(channels):
        # Block means are all that is used, and no permutation changes these.
        alone = restored(method, plain[..., channel : channel + 1])
        np.testing.assert_allclose(together[..., channel : channel + 1], alone, atol=0.05)


def restored(method: Perturbation, images: Pixels) -> Array:
    found = BlockMeans().run(view(method, images, public=False)).images
    assert found is not None
    return found


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_public_images_tell_how_channels_go_together(images: Pixels, channels: int) -> None:
    method, plain = method_of("block_scramble", "image"), of_channels(images, channels)
    truth = plain[STOLEN : STOLEN + TARGETS].astype(np.float64)
    found = BlockMeans().run(view(method, plain))
    assert found.images is not None and found.confidence is not None and found.confidence > 0.5
    # 114 images of so few pixels tell little more than the generic model does.
    assert ((found.images - truth) ** 2).mean() < 1.02 * ((restored(method, plain) - truth) ** 2).mean()


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("public", [False, True])
def test_a_shared_field_is_found_in_every_channel(images: Pixels, channels: int, public: bool) -> None:
    method = method_of("gaussian_noise", "dataset")
    found = SharedField().run(view(method, of_channels(images, channels), public)).key
    field = method.shared_key(channels)
    assert found is not None and field is not None and found.shape == field.shape
    errors = ((found - field) ** 2).mean(axis=(0, 1)) ** 0.5
    assert (errors < 0.8 * method.sigma).all()
