"""What the BFC layer begins with, against the permutations that made the images."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from privpipe.attacks.correlations import attack
from privpipe.attacks.descrambler_init import inferred_weights, prepare, smooth_weights
from privpipe.data.synthetic import draw
from privpipe.errors import PrivpipeError
from privpipe.layers import BlockFullyConnected
from privpipe.perturb import KeyStream
from privpipe.perturb.block_scramble import BlockScramble

SIZE, COUNT = 16, 1000
KEY = KeyStream(bytes(range(32)))


@pytest.fixture(scope="module")
def originals() -> NDArray[np.uint8]:
    return draw(COUNT, SIZE, rng=np.random.default_rng(1)).images


def scrambled(originals: NDArray[np.uint8], k: int, scope: str = "dataset") -> Tensor:
    return torch.from_numpy(BlockScramble(SIZE, k, scope, stream=KEY).apply(originals))


def inverse_matrices(k: int) -> Tensor:
    """The true descrambler: row `permutation[j]` takes pixel j."""
    permutations = BlockScramble(SIZE, k, stream=KEY).permutations
    return torch.from_numpy(np.stack([np.eye(k * k, dtype=np.float32)[np.argsort(p)] for p in permutations]))


def layer(k: int) -> BlockFullyConnected:
    drawn = BlockFullyConnected(SIZE, k)
    torch.nn.init.normal_(drawn.weight, generator=torch.Generator().manual_seed(0))
    return drawn


@pytest.mark.parametrize("k", [2, 4])
def test_inferred_weights_undo_the_scramble(originals: NDArray[np.uint8], k: int) -> None:
    images = scrambled(originals, k)
    weights, confidence = inferred_weights(images, k)
    assert confidence > 0.1
    assert weights.dtype == torch.float32
    assert (weights == inverse_matrices(k)).all((1, 2)).double().mean() > 0.9
    # Whatever was found, the layer undoes it.
    bfc = layer(k)
    prepare(bfc, "inferred", images, "block_scramble", "dataset", progress=False)
    with torch.no_grad():
        restored = bfc(images[:5].permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1).numpy()
    found = attack(images.numpy(), k).permutations
    np.testing.assert_array_equal(restored, BlockScramble(images.shape[1], k).invert(images[:5].numpy(), found))


def test_inferred_weights_stay_fixed_and_others_do_not(originals: NDArray[np.uint8]) -> None:
    for choice, trained in (("learned", True), ("learned_smooth", True), ("inferred", False)):
        bfc = layer(4)
        prepare(bfc, choice, scrambled(originals[:100], 4), "block_scramble", "dataset", progress=False)
        assert bfc.weight.requires_grad == trained


@pytest.mark.parametrize("k", [2, 4])
def test_the_smooth_fit_finds_the_scramble(originals: NDArray[np.uint8], k: int) -> None:
    weights = smooth_weights(scrambled(originals, k), k, progress=False)
    right = (weights.argmax(2) == inverse_matrices(k).argmax(2)).all(1)
    assert right.double().mean() > 0.9


def test_smooth_weights_are_doubly_stochastic(originals: NDArray[np.uint8]) -> None:
    weights = smooth_weights(scrambled(originals[:100], 4), 4, progress=False)
    assert weights.shape == (16, 16, 16)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(16, 16))
    torch.testing.assert_close(weights.sum(2), torch.ones(16, 16), rtol=0, atol=0.25)


def test_the_smooth_fit_is_deterministic_and_moves_with_the_scramble(originals: NDArray[np.uint8]) -> None:
    """Scrambled images give the same matrices with their columns permuted: the order of storing does not matter."""
    plain = smooth_weights(torch.from_numpy(originals[:200]), 2, progress=False)
    assert torch.equal(plain, smooth_weights(torch.from_numpy(originals[:200]), 2, progress=False))
    moved = smooth_weights(scrambled(originals[:200], 2), 2, progress=False)
    expected = plain @ inverse_matrices(2)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-2)


def test_learned_leaves_the_drawn_weights() -> None:
    bfc = layer(4)
    before = bfc.weight.detach().clone()
    prepare(bfc, "learned", torch.zeros(4, SIZE, SIZE, 3, dtype=torch.uint8), "gaussian_noise", "image")
    assert torch.equal(bfc.weight, before)


@pytest.mark.parametrize("choice", ["learned_smooth", "inferred"])
def test_blocks_of_one_pixel_are_no_scramble(choice: str, originals: NDArray[np.uint8]) -> None:
    bfc = layer(1)
    prepare(bfc, choice, scrambled(originals[:10], 1), "block_scramble", "dataset")
    assert torch.equal(bfc.weight, torch.ones(SIZE**2, 1, 1))


def test_black_images_give_finite_weights() -> None:
    weights = smooth_weights(torch.zeros(10, 8, 8, 3, dtype=torch.uint8), 4, progress=False)
    torch.testing.assert_close(weights, torch.full((4, 16, 16), 1 / 16))


@pytest.mark.parametrize("choice", ["learned_smooth", "inferred"])
@pytest.mark.parametrize(
    ("method", "scope", "k", "message"),
    [
        ("block_scramble", "image", 4, r"so it needs .*scope=dataset; got block_scramble and image\. Set .*=learned"),
        ("block_mix", "dataset", 4, "so it needs perturb.method=block_scramble .* got block_mix and dataset"),
        ("block_scramble", "dataset", 16, r"must be smaller than data\.image_size=16; got 16\. Set .*=learned"),
    ],
)
def test_images_without_permutations_to_find(choice: str, method: str, scope: str, k: int, message: str) -> None:
    with pytest.raises(PrivpipeError, match=message):
        prepare(layer(k), choice, torch.zeros(4, SIZE, SIZE, 3, dtype=torch.uint8), method, scope)


def test_an_unknown_choice() -> None:
    images = torch.zeros(4, SIZE, SIZE, 3, dtype=torch.uint8)
    with pytest.raises(PrivpipeError, match="must be one of learned, learned_smooth, inferred; got 'infered'"):
        prepare(layer(4), "infered", images, "block_scramble", "dataset")


def test_images_whose_correlations_would_fill_the_memory() -> None:
    with pytest.raises(PrivpipeError, match=r"at most 4,096 pixels.*got 72x72\. Set data\.image_size=64 or less"):
        smooth_weights(torch.zeros(4, 72, 72, 1, dtype=torch.uint8), 2, progress=False)
