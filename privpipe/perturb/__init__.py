"""The transformations, public knowledge: only the key is secret (Kerckhoffs's principle).

A method is one class in one file here and one entry in `METHODS`.
"""

from privpipe.perturb.base import Perturbation
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.perturb.gaussian_blur import GaussianBlur
from privpipe.perturb.keystream import KeyStream
from privpipe.perturb.noise import CorrelatedNoise, GaussianNoise
from privpipe.perturb.none import Unperturbed
from privpipe.perturb.random_filter import RandomFilter

METHODS: dict[str, type[Perturbation]] = {
    method.name: method
    for method in (Unperturbed, GaussianBlur, RandomFilter, BlockScramble, GaussianNoise, CorrelatedNoise)
}

__all__ = ["METHODS", "KeyStream", "Perturbation"]
