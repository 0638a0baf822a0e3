"""The transformations, public knowledge: only the key is secret (Kerckhoffs's principle).

A method is one class in one file here and one entry in `METHODS`.
"""

from privpipe.perturb.base import Perturbation
from privpipe.perturb.block_mix import BlockMix
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.perturb.gaussian_blur import GaussianBlur
from privpipe.perturb.keystream import Copies, KeyStream
from privpipe.perturb.noise import CorrelatedNoise, GaussianNoise
from privpipe.perturb.none import Unperturbed
from privpipe.perturb.pixelate import Pixelate
from privpipe.perturb.random_filter import RandomFilter

METHODS: dict[str, type[Perturbation]] = {
    method.name: method
    for method in (
        Unperturbed,
        GaussianBlur,
        RandomFilter,
        BlockScramble,
        BlockMix,
        GaussianNoise,
        CorrelatedNoise,
        Pixelate,
    )
}

__all__ = ["METHODS", "Copies", "KeyStream", "Perturbation"]
