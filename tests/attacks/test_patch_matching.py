"""Undoing NeuraCrypt: what pairs and public images bring, and what is believed of wrong hypotheses."""

import os
import pickle
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.linkage import image_similarity, method_similarity
from privpipe.attacks.patch_matching import PatchMatching
from privpipe.errors import PrivpipeError
from privpipe.perturb import PERTURBATIONS, KeyStream
from privpipe.perturb.neuracrypt import Neuracrypt

SIZE, K, STOLEN, TARGETS = 24, 4, 200, 40
ATTACK = PatchMatching()
ARCHIVE = os.environ.get("PRIVPIPE_CIFAR10")


def fields(count: int) -> np.ndarray:
    """Smooth noise, brighter above and with more contrast to the right, uint8 (count, SIZE, SIZE, 3)."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(count, SIZE, SIZE, 3)) + rng.normal(size=(count, SIZE, SIZE, 1))
    smooth = np.stack([4 * cv2.GaussianBlur(n, (0, 0), 2.5) + cv2.GaussianBlur(n, (0, 0), 0.8) for n in noise])
    rows, columns = np.linspace(40, -40, SIZE)[:, None, None], np.linspace(0.4, 1.6, SIZE)[:, None]
    contrasts = np.exp(0.4 * rng.normal(size=(count, 1, 1, 1)))
    return np.clip(128 + rows + 40 * columns * smooth * contrasts, 0, 255).astype(np.uint8)


IMAGES = fields(STOLEN + TARGETS + 200)


def view(scope: str = "dataset", pairs: int = 0, stolen: int = STOLEN) -> AdversaryView:
    owner = Neuracrypt(SIZE, K, scope, 0.0, KeyStream(bytes(range(32))))
    uploads = owner.apply(IMAGES[: STOLEN + TARGETS])
    known = Pairs(IMAGES[:pairs], uploads[:pairs]) if pairs else None
    public, shape = IMAGES[STOLEN + TARGETS :], (SIZE, SIZE, 3)
    about = ("neuracrypt", K, "dataset", 0.0)
    return AdversaryView(*about, uploads[:stolen], uploads[STOLEN:], public, known, owner.settings, shape)


def told(images: np.ndarray) -> float:
    wanted = IMAGES[STOLEN : STOLEN + TARGETS]
    return float((image_similarity(images, wanted).argmax(axis=1) == np.arange(TARGETS)).mean())


def test_some_pairs_show_the_targets() -> None:
    outcome = ATTACK.run(view(pairs=60))
    assert outcome.images is not None and outcome.images.shape == (TARGETS, SIZE, SIZE, 3)
    assert outcome.images.min() >= 0 and outcome.images.max() <= 255
    assert told(outcome.images) > 0.9 and outcome.confidence is not None and outcome.confidence > 0.1
    mean = np.broadcast_to(IMAGES[STOLEN + TARGETS :].mean(axis=0), outcome.images.shape)
    wanted = IMAGES[STOLEN : STOLEN + TARGETS]
    assert np.abs(outcome.images - wanted).mean() < 0.85 * np.abs(mean - wanted).mean()


def test_it_does_not_believe_a_wrong_hypothesis() -> None:
    keys_of_their_own = ATTACK.run(view("image", pairs=60))
    assert keys_of_their_own.confidence is not None and keys_of_their_own.confidence < 0.05
    known = view(pairs=60)
    assert known.pairs is not None
    mixed = replace(known, pairs=Pairs(known.pairs.originals[::-1], known.pairs.perturbed))
    believed = ATTACK.run(mixed).confidence
    assert believed is not None and believed < 0.05


def test_without_pairs_it_shows_something_and_believes_little_where_images_tell_no_places() -> None:
    outcome = ATTACK.run(view())
    assert outcome.images is not None and np.isfinite(outcome.images).all()
    assert outcome.confidence is not None and outcome.confidence < 0.15


def test_refuses_what_is_too_little() -> None:
    with pytest.raises(PrivpipeError, match=r"^patch_matching needs at least 100 uploads; got 50\."):
        ATTACK.run(view(stolen=50))
    with pytest.raises(PrivpipeError, match=r"^patch_matching needs public images or known pairs\."):
        ATTACK.run(replace(view(), public=None))


def test_is_for_one_network_for_all_and_not_too_many_patches() -> None:
    applies = [name for name in PERTURBATIONS if ATTACK.applies(PERTURBATIONS[name](32, 4))]
    assert applies == ["neuracrypt"] and not ATTACK.applies(Neuracrypt(32, 4, "image"))
    assert not ATTACK.applies(Neuracrypt(32, 1)) and not ATTACK.applies(Neuracrypt(32, 32))


@pytest.mark.skipif(ARCHIVE is None, reason="PRIVPIPE_CIFAR10 does not name a CIFAR-10 archive")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_real_images_are_named_without_pairs(seed: int) -> None:
    """As in the challenge that Carlini et al. solved: uploads, and their originals in another order, which is all."""
    with tarfile.open(str(ARCHIVE)) as archive:
        member = next(one for one in archive if one.name.endswith("test_batch"))
        file = archive.extractfile(member)
        assert file is not None
        rows = pickle.load(file, encoding="bytes")[b"data"]
    images = np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)[:300])
    owner = Neuracrypt(32, 4, "dataset", 0.0, KeyStream(bytes([seed]) * 32))
    similarity = method_similarity(owner.apply(images[:200]), images, Neuracrypt(32, 4))
    assert (similarity.argmax(axis=1) == np.arange(200)).mean() > 0.95
