"""A key that changes all blocks alike is found from public images, and not believed where there is none."""

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Outcome
from privpipe.attacks.value_correlation import ValueCorrelation
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.scores.fidelity import ssim

SIZE, K = 16, 4
KEY = KeyStream(bytes(range(32)))
# As photographs are and drawn images are not: lighter above, and not the same to the left, nor in all colours.
SKY = 60 * np.linspace(1, 0, SIZE)[:, None, None] + 20 * np.linspace(0, 1, SIZE)[:, None] + np.array([20, 10, 0])
SHARES = np.array([0.6, 0.45, 0.3])
IMAGES, PUBLIC = (
    (draw(count, SIZE, rng=np.random.default_rng(count)).images * SHARES + SKY).astype(np.uint8) for count in (820, 800)
)
SCHEMES = ("learnable_encryption", "negative_positive", "value_shuffling", "format_preserving")
MOVING = ("block_pixel_shuffle", "extended_learnable_encryption")  # blocks change places as well


def owner(name: str, scope: str = "dataset", k: int = K) -> Perturbation:
    return PERTURBATIONS[name](SIZE, k, scope, 0.0, KEY)


def attacked(method: Perturbation, k: int = K, channels: int = 3) -> Outcome:
    perturbed = method.apply(IMAGES[..., :channels])
    public = PUBLIC[..., :channels]
    return ValueCorrelation().run(AdversaryView(method.name, k, "dataset", 0.0, perturbed[20:], perturbed[:20], public))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["negative_positive", "value_shuffling"])
def test_the_key_is_found(name: str, channels: int) -> None:
    method = owner(name)
    outcome = attacked(method, channels=channels)
    assert outcome.key is not None and outcome.confidence is not None and outcome.confidence > 0.9
    np.testing.assert_array_equal(outcome.key, method.shared_key(channels))
    np.testing.assert_array_equal(outcome.images, IMAGES[:20, ..., :channels])


def test_of_nibbles_the_upper_ones_are_found_which_is_what_an_image_shows() -> None:
    outcome = attacked(owner("learnable_encryption"))
    assert outcome.confidence is not None and outcome.confidence > 0.3
    assert ssim(IMAGES[:20], np.asarray(outcome.images)).mean() > 0.9


def test_a_bijection_of_values_is_found_but_for_values_next_to_each_other() -> None:
    outcome = attacked(owner("format_preserving"))
    assert ssim(IMAGES[:20], np.asarray(outcome.images)).mean() > 0.9


@pytest.mark.parametrize("channels", [1, 3])
def test_values_of_blocks_that_change_places_are_found_up_to_a_mirror_image_of_all(channels: int) -> None:
    outcome, originals = attacked(owner("block_pixel_shuffle"), channels=channels), IMAGES[:20, ..., :channels]
    assert outcome.images is not None and outcome.confidence is not None and outcome.confidence > 0.7
    assert any(np.array_equal(originals, shown) for shown in (outcome.images, outcome.images[:, :, ::-1]))


def test_a_key_for_each_place_of_blocks_that_change_places_is_found_in_upper_nibbles() -> None:
    outcome = attacked(owner("extended_learnable_encryption"), channels=1)
    assert outcome.images is not None and outcome.confidence is not None and outcome.confidence > 0.2
    shown = (np.ascontiguousarray(one, np.float32) for one in (outcome.images, outcome.images[:, :, ::-1]))
    assert max(ssim(IMAGES[:20, ..., :1], one).mean() for one in shown) > 0.8


@pytest.mark.parametrize("name", [*SCHEMES, *MOVING])
def test_keys_of_each_image_or_of_larger_blocks_are_not_believed(name: str) -> None:
    for method in (owner(name, scope="image"), owner(name, k=8)):
        confidence = attacked(method, channels=1 if name in MOVING else 3).confidence
        assert confidence is not None and confidence < 0.15


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_it_applies_to_one_key_of_all_images_that_changes_values_of_blocks(name: str) -> None:
    legal = PERTURBATIONS[name].legal_k(SIZE) or [1]
    k = min(legal, key=lambda value: abs(value - K))
    assert ValueCorrelation().applies(owner(name, k=k)) == (name in (*SCHEMES, *MOVING))
    assert not ValueCorrelation().applies(owner(name, "image", k))


def test_refuses_too_few_images_and_too_large_blocks() -> None:
    method = owner("value_shuffling", k=16)
    uploads = method.apply(IMAGES)
    with pytest.raises(PrivpipeError, match="takes 4 uploads and as many public images"):
        ValueCorrelation().run(AdversaryView(method.name, 16, "dataset", 0.0, uploads, uploads[:1], PUBLIC[:3]))
    with pytest.raises(PrivpipeError, match="the 768 values of a block are too many"):
        ValueCorrelation().run(AdversaryView(method.name, 16, "dataset", 0.0, uploads, uploads[:1], PUBLIC))
