"""Signs and orders of the colours of each pixel are found from public images, and not believed where there are none."""

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Outcome
from privpipe.attacks.colour_correlation import ColourCorrelation
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream, Perturbation
from privpipe.perturb.base import Array, Images

SIZE, NAME = 16, "pixel_based_encryption"
KEY = KeyStream(bytes(range(32)))
# As photographs are and drawn images are not: lighter above, of warm colours, and hardly coloured.
SKY = 40 * np.linspace(1, 0, SIZE)[:, None, None] + np.array([50, 20, 0])
WARM = np.array([1, 0.6, -0.9])


def photographs(count: int) -> Images:
    drawn = draw(count, SIZE, rng=np.random.default_rng(count)).images.astype(np.float64)
    warmth = 0.25 * (drawn[..., :1] - drawn[..., 2:])
    colours = 0.35 * drawn.mean(axis=3, keepdims=True) + warmth * WARM + SKY
    return np.concatenate([colours, 255 - colours.mean(axis=3, keepdims=True) / 2], axis=3).astype(np.uint8)


IMAGES, PUBLIC = photographs(220), photographs(201)


def owner(scope: str = "dataset") -> Perturbation:
    return PERTURBATIONS[NAME](SIZE, 1, scope, 0.0, KEY)


def attacked(perturbed: Array, public: Images) -> Outcome:
    return ColourCorrelation().run(AdversaryView(NAME, 1, "dataset", 0.0, perturbed[20:], perturbed[:20], public))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_key_is_found(channels: int) -> None:
    originals = np.ascontiguousarray(IMAGES[..., :channels])
    outcome = attacked(owner().apply(originals), PUBLIC[..., :channels])
    assert outcome.key is not None and outcome.confidence is not None and outcome.confidence > 0.9
    np.testing.assert_array_equal(outcome.key, owner().shared_key(channels))
    np.testing.assert_array_equal(outcome.images, originals[:20])


def test_a_key_of_each_image_or_images_without_structure_are_not_believed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2, *IMAGES[..., :3].shape), np.uint8)
    plain = np.full_like(noise[0], 128)
    of_each = owner("image").apply(np.ascontiguousarray(IMAGES[..., :3]))
    for uploads, public in ((of_each, PUBLIC[..., :3]), (noise[0], noise[1]), (plain, plain)):
        assert attacked(uploads, public).confidence == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_it_applies_to_keys_of_the_colours_of_each_pixel(name: str) -> None:
    legal = PERTURBATIONS[name].legal_k(SIZE) or [1]
    k = min(legal, key=lambda value: abs(value - 4))
    assert ColourCorrelation().applies(PERTURBATIONS[name](SIZE, k, "dataset", 0.0, KEY)) == (name == NAME)
    assert not ColourCorrelation().applies(PERTURBATIONS[name](SIZE, k, "image", 0.0, KEY))


def test_refuses_too_few_images() -> None:
    uploads = owner().apply(np.ascontiguousarray(IMAGES[:30, ..., :3]))
    with pytest.raises(PrivpipeError, match="takes 4 uploads and as many public images"):
        attacked(uploads, PUBLIC[:3, ..., :3])
