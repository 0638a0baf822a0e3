"""A small vision transformer whose patches are the blocks of the perturbation."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from privpipe.networks.base import Architecture, Network
from privpipe.perturb.values import divisors

if TYPE_CHECKING:
    from torch import nn

    from privpipe.perturb import Perturbation

WIDTH, DEPTH, HEADS = 128, 4, 4
FEWEST, MOST = 2, 16  # patches along a side
USUAL = 8  # where the perturbation has no blocks


class Vit(Network):
    """Patches, each a vector of 128 features plus one that is learned for its place; four transformer layers of four
    heads; the mean over the patches; FC.

    After Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021, arXiv 2010.11929), with normalisation before
    each layer, the mean of the patches in place of a class token (as their appendix D.3 has it), and ReLU. A patch is a
    block of the perturbation. A permutation of its values, the same in all blocks, is one of the columns of the first
    layer, and a permutation of the blocks one of the learned vectors, so that neither costs accuracy (Kiya, Iijima and
    Nagamori, "Block-Wise Encryption for Reliable Vision Transformer models", 2023, arXiv 2308.07612). Where `k`
    is no size of patches, as without blocks, there are 8×8 of them, or the next number below that divides the image.
    """

    name = "vit"

    def layers(self, sizes: Architecture) -> "OrderedDict[str, nn.Module]":
        from torch import nn

        from privpipe.layers import Attention, Patches, Residual, TokenLinear, TokenMean

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["patches"] = Patches(sizes.image_size, sizes.k, sizes.channels, WIDTH)
        for i in range(1, DEPTH + 1):
            layers[f"attention{i}"] = Residual(nn.LayerNorm(WIDTH), Attention(WIDTH, HEADS))
            wide, narrow = TokenLinear(WIDTH, 2 * WIDTH), TokenLinear(2 * WIDTH, WIDTH)
            layers[f"mlp{i}"] = Residual(nn.LayerNorm(WIDTH), wide, nn.ReLU(), narrow)
        return layers | OrderedDict(norm=nn.LayerNorm(WIDTH), mean=TokenMean(), fc=nn.Linear(WIDTH, sizes.classes))

    def block_size(self, image_size: int, k: int) -> int:
        if k in patch_sizes(image_size):
            return k
        return min(size for size in divisors(image_size) if image_size // size <= USUAL)

    def size_problem(self, sizes: Architecture) -> str | None:
        legal = patch_sizes(sizes.image_size)
        if sizes.k in legal:
            return None
        return (
            f"vit needs {FEWEST} to {MOST} patches along a side of images of {sizes.image_size} pixels; got patches of "
            f"{sizes.k}. Use {' or '.join(map(str, legal)) or 'another image size'}."
        )

    def experiment_problems(self, method: "Perturbation", descrambler: str) -> list[str]:
        size, problems = method.image_size, super().experiment_problems(method, descrambler)
        side = method.output_shape(1)[0]
        if side == 0:  # blocks larger than the image, which the method refuses itself
            return problems
        pixels = size // side  # of a side, that one place of the network's input stands for
        legal = [patch * pixels for patch in patch_sizes(size // pixels)]
        if not legal:
            return [
                *problems,
                f"model.arch=vit needs {FEWEST} to {MOST} patches along a side, and no size of patches fits "
                f"data.image_size={size}. Use a multiple of 8, or model.arch=baseline.",
            ]
        if method.blocks and method.k not in legal:
            problems.append(
                f"model.arch=vit makes a patch of each block, {FEWEST} to {MOST} along a side, so perturb.k must be "
                f"one of {', '.join(map(str, legal))} for data.image_size={size}; got {method.k}. Set one of these, or "
                "model.arch=baseline."
            )
        return problems


def patch_sizes(image_size: int) -> list[int]:
    """Sizes of patches, in pixels, of which so many fit as the network takes."""
    return [size for size in divisors(image_size) if FEWEST <= image_size // size <= MOST]
