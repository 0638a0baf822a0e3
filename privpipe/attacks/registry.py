"""Every attack there is, those of this folder and those of other packages (entry points `privpipe.attacks`)."""

from privpipe.attacks.base import LEVELS, Attack, Budget
from privpipe.attacks.set_attack import SetAttack
from privpipe.errors import PrivpipeError
from privpipe.plugins import Registry

ATTACKS: Registry[Attack] = Registry("privpipe.attacks", "privpipe.attacks.base:Attack", "privpipe.attacks")
SET_ATTACKS: Registry[SetAttack] = Registry(
    "privpipe.attacks", "privpipe.attacks.set_attack:SetAttack", "privpipe.set_attacks"
)


def attacks(network_epochs: int, seed: int, threads: int, device: str, precision: str = "float32") -> list[Attack]:
    """All attacks within a budget, in the order in which they are tried.

    Args:
        network_epochs, seed, threads, device, precision: see `privpipe.attacks.base.Budget`.

    Raises:
        PrivpipeError: see `privpipe.plugins.Registry`; or an attack names a level that there is not.
    """
    budget = Budget(network_epochs, seed, threads, device, precision)
    for name, kind in ATTACKS.items():
        if not set(kind.levels) <= set(LEVELS):
            raise PrivpipeError(f"the attack {name} has the levels {kind.levels}; use some of {', '.join(LEVELS)}.")
    affordable = [attack for kind in ATTACKS.values() if (attack := kind.within(budget)) is not None]
    return sorted(affordable, key=lambda attack: (attack.costly, attack.order, attack.name))


def set_attacks(budget: Budget) -> list[SetAttack]:
    """All attacks on releases of whole sets within a budget.

    Raises:
        PrivpipeError: see `privpipe.plugins.Registry`.
    """
    return [attack for kind in SET_ATTACKS.values() if (attack := kind.within(budget)) is not None]
