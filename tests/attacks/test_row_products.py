"""A few known pairs give the key of disguised_rmt away; of keys that images do not share, nothing is believed."""

import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.row_products import RowProducts
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream
from privpipe.perturb.disguised_rmt import DisguisedRmt

IMAGES = draw(60, 16, rng=np.random.default_rng(0)).images
KEY = KeyStream(bytes(range(32)))


def view(owner: DisguisedRmt, pairs: int) -> AdversaryView:
    perturbed = owner.apply(IMAGES)
    known = Pairs(IMAGES[:pairs], perturbed[:pairs])
    settings = owner.settings
    return AdversaryView(owner.name, owner.k, "dataset", 0.0, perturbed, perturbed[40:], None, known, settings)


@pytest.mark.parametrize(("k", "pairs"), [(2, 10), (4, 4), (8, 20)])
def test_known_pairs_give_the_key_and_the_images(k: int, pairs: int) -> None:
    owner = DisguisedRmt(16, k, "dataset", 0.0, KEY)
    outcome = RowProducts().run(view(owner, pairs))
    assert outcome.key is not None and outcome.images is not None and outcome.confidence is not None
    assert owner.key_similarity(outcome.key, owner.dataset_key).pixels > 0.999
    assert np.abs(outcome.images - IMAGES[40:]).max() < 1 and outcome.confidence > 0.99


def test_noise_is_averaged_out_of_the_key() -> None:
    owner = DisguisedRmt(16, 4, "dataset", 0.0, KEY, noise=50)
    few, many = (RowProducts().run(view(owner, pairs)) for pairs in (2, 40))
    similarities = [owner.key_similarity(one.key, owner.dataset_key).pixels for one in (few, many)]
    assert similarities[1] > max(0.99, similarities[0])
    assert many.images is not None and np.abs(many.images - IMAGES[40:]).mean() < 20  # a quarter of the noise is left


def test_keys_that_images_do_not_share_are_not_believed() -> None:
    owner = DisguisedRmt(16, 4, "image", 0.0, KEY)
    outcome = RowProducts().run(view(owner, 30))
    assert outcome.confidence is not None and outcome.confidence < 0.5


def test_it_is_for_this_method_and_one_key_and_asks_for_pairs() -> None:
    assert RowProducts().applies(DisguisedRmt(16, 4)) and not RowProducts().applies(DisguisedRmt(16, 4, "image"))
    with pytest.raises(PrivpipeError, match=r"row_products needs known pairs .* Run it at level L2\."):
        RowProducts().run(AdversaryView("disguised_rmt", 4, "dataset", 0.0, IMAGES, IMAGES))
