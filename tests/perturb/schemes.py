"""What the tests of the published schemes share: images, and what is asked of each of them in the same words."""

import numpy as np
import torch
from numpy.typing import NDArray
from samples import KEY, OTHER_KEY

from privpipe.attacks.base import Pairs
from privpipe.attacks.known_plaintext import solve
from privpipe.attacks.linkage import method_similarity
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.perturb import METHODS, Copies, KeyStream, Perturbation
from privpipe.scores.privacy import key_recovery

SIZE, K = 16, 4
IMAGES = draw(40, SIZE, rng=np.random.default_rng(0)).images


def scheme(name: str, scope: str = "dataset", k: int = K, key: KeyStream = KEY) -> Perturbation:
    return METHODS[name](SIZE, k, scope, 0.0, key)


def numbers(name: str, count: int, k: int = K, image: NDArray[np.uint8] | None = None) -> list[int]:
    """The 64-bit numbers that a key is made of, from the key stream: of an image, or of all images for None."""
    stream = KEY.child(name, "image_size", SIZE, *(("k", k) if METHODS[name].legal_k(SIZE) else ()), "scope")
    if image is None:
        drawn = stream.child("dataset").shared(8 * count)
    else:
        drawn = stream.child("image").own(image.shape, 8 * count, Copies()).draw(image[None])
    return [int(number) for number in drawn.view("<u8")[0]]


def corners(k: int = K) -> list[tuple[int, int]]:
    """Row and column of the first pixel of each block."""
    return [(y, x) for y in range(0, SIZE, k) for x in range(0, SIZE, k)]


def block(image: NDArray[np.uint8], corner: tuple[int, int], k: int = K) -> list[int]:
    """The values of a block, pixels row by row, of each its colours."""
    y, x = corner
    return [int(value) for value in image[y : y + k, x : x + k].ravel()]


def put(image: NDArray[np.uint8], corner: tuple[int, int], values: list[int], k: int = K) -> None:
    """The values of `block` at their place."""
    y, x = corner
    image[y : y + k, x : x + k] = np.array(values, np.uint8).reshape(k, k, -1)


def ordered(drawn: list[int]) -> list[int]:
    """The permutation that sorts numbers."""
    return sorted(range(len(drawn)), key=drawn.__getitem__)


def check_known_pairs(name: str, count: int, least: float = 1.0) -> None:
    """So many pairs give the key, all of it that they show, and pairs of a key for each image are not believed."""
    owner = scheme(name)
    pairs = Pairs(IMAGES[:count], owner.apply(IMAGES[:count]))
    solved, truth = solve(pairs, owner), owner.dataset_key
    assert truth is not None and (solved.key.shape, solved.key.dtype) == (truth.shape, truth.dtype)
    np.testing.assert_array_equal(owner.invert(pairs.perturbed, solved.key), pairs.originals)
    recovery, chance = key_recovery(owner, solved.key, truth), owner.chance_key_similarity(3)
    assert recovery is not None and recovery.pixels >= least > chance.pixels + 0.4
    assert solved.confidence >= least - 0.1
    others = scheme(name, key=OTHER_KEY).dataset_key
    assert abs(owner.key_similarity(others, truth).pixels - chance.pixels) < 0.15
    mixed = Pairs(IMAGES[:10], scheme(name, "image").apply(IMAGES[:10]))
    assert solve(mixed, owner).confidence < 0.1


def check_linkage(name: str) -> None:
    """Without its key, each upload is told from all other images."""
    for scope in ("dataset", "image"):
        similarity = method_similarity(scheme(name, scope).apply(IMAGES), IMAGES, scheme(name, scope))
        assert (similarity.argmax(axis=1) == np.arange(len(IMAGES))).all()


def check_network_inputs(name: str, no_guess: bool = False) -> None:
    """What a restoration network is told does not depend on the key, but for the image itself."""
    told = []
    for key in (KEY, OTHER_KEY):
        owner = scheme(name, "image", key=key)
        levels = torch.from_numpy(owner.apply(IMAGES[:3]).astype(np.float32)).permute(0, 3, 1, 2)
        guess, image = owner.network_inputs(levels)
        assert guess.shape == image.shape == levels.shape
        told.append((guess, owner.invariants(image)))
    (guess, unchanged), (other_guess, other_unchanged) = told
    if not no_guess:
        torch.testing.assert_close(guess.flatten().sort().values, other_guess.flatten().sort().values)
    if unchanged is not None:
        assert unchanged.shape[2:] == (SIZE // K, SIZE // K) and float(unchanged.abs().max()) < 4

        def blocks(features: torch.Tensor) -> torch.Tensor:
            """Wherever the block went."""
            return features.flatten(2).transpose(1, 2).sum(dim=2).sort(dim=1).values

        torch.testing.assert_close(blocks(unchanged), blocks(other_unchanged))


def check_no_count(name: str) -> None:
    """It says why nobody counts its outputs."""
    try:
        scheme(name).orbit(IMAGES)
    except PrivpipeError as error:
        assert str(error).startswith(f"{name} has keys that do not form a group: ")
    else:
        raise AssertionError(name)
