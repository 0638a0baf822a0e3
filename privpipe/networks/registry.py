"""Every network there is, those of this folder and those of other packages (entry points `privpipe.networks`)."""

from privpipe.errors import PrivpipeError
from privpipe.networks.base import Network
from privpipe.plugins import Registry

NETWORKS: Registry[Network] = Registry("privpipe.networks", "privpipe.networks.base:Network", "privpipe.networks")


def architectures() -> list[str]:
    """What `model.arch` may be.

    Raises:
        PrivpipeError: see `privpipe.plugins.Registry`; or what a network stands for is no `model.arch`, or another
            network does so already.
    """
    names = [name for name, network in NETWORKS.items() if network.stands_for is None]
    taken: dict[str, str] = {}
    for name, network in NETWORKS.items():
        if network.stands_for is None:
            continue
        if network.stands_for not in names:
            raise PrivpipeError(f"the network {name} stands for {network.stands_for}; use one of {', '.join(names)}.")
        if network.stands_for in taken:
            raise PrivpipeError(
                f"the networks {taken[network.stands_for]} and {name} both stand for {network.stands_for}. Remove one."
            )
        taken[network.stands_for] = name
    return names


def network_for(arch: str, recipe: str) -> type[Network]:
    """The network that is built for `model.arch` under `train.recipe`.

    Raises:
        PrivpipeError: there is no such network.
    """
    if arch not in NETWORKS:
        raise PrivpipeError(f"a network must be one of {', '.join(NETWORKS)}; got {arch!r}.")
    if recipe == "modern":
        return next((network for network in NETWORKS.values() if network.stands_for == arch), NETWORKS[arch])
    return NETWORKS[arch]
