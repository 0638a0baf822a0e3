"""Every attack there is, in the order in which they are tried."""

from privpipe.attacks.as_is import AsIs
from privpipe.attacks.base import Attack
from privpipe.attacks.block_means import BlockMeans
from privpipe.attacks.cross_block import CrossBlock
from privpipe.attacks.filter_likelihood import FilterLikelihood
from privpipe.attacks.gradient_inversion import GradientInversion
from privpipe.attacks.known_plaintext import KnownPlaintext
from privpipe.attacks.network import RestorationNetwork
from privpipe.attacks.pixel_correlation import PixelCorrelation
from privpipe.attacks.shared_field import SharedField
from privpipe.attacks.wiener import Wiener


def attacks(network_epochs: int, seed: int, threads: int, device: str) -> list[Attack]:
    """All attacks.

    Args:
        network_epochs: of the restoration network, which is left out with 0.
        seed: of the attacker's own keys, starting points and weights.
        threads, device: for the restoration network, see `privpipe.params.Train`.
    """
    found: list[Attack] = [
        AsIs(),
        PixelCorrelation(),
        BlockMeans(),
        CrossBlock(),
        FilterLikelihood(seed),
        SharedField(),
        Wiener(),
        GradientInversion(),
        KnownPlaintext(),
    ]
    if network_epochs:
        found.append(RestorationNetwork(network_epochs, seed, threads, device))
    return found
