"""Every attack there is, in the order in which they are tried."""

from privpipe.attacker.base import Attack
from privpipe.attacker.network import RestorationNetwork
from privpipe.attacker.pixel_correlation import PixelCorrelation


def attacks(network_epochs: int, seed: int, threads: int, device: str) -> list[Attack]:
    """All attacks.

    Args:
        network_epochs: of the restoration network, which is left out with 0.
        seed: of the attacker's own keys and weights.
        threads, device: for the restoration network, see `privpipe.params.Train`.
    """
    found: list[Attack] = [PixelCorrelation()]
    if network_epochs:
        found.append(RestorationNetwork(network_epochs, seed, threads, device))
    return found
