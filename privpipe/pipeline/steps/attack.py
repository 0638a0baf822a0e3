"""The adversary's work, as the parameters say: every attack that applies, at every level of knowledge."""

from collections.abc import Container
from pathlib import Path

from privpipe.attacks.base import Budget
from privpipe.attacks.records import Record
from privpipe.attacks.registry import attacks, set_attacks
from privpipe.attacks.set_attack import SetView, attacked
from privpipe.attacks.suite import load_view, suite
from privpipe.params import Params
from privpipe.released import is_release, load_released
from privpipe.store import PUBLIC, open_store

File = str | Path
NO_IMAGES = "numbers of a whole set hold no image to restore; whether an image is in the set is what score measures"


def attack(
    params: Params,
    perturbed: File,
    public: File,
    leaked: File,
    target: File | None = None,
    only: Container[str] | None = None,
) -> list[Record]:
    """Attack the perturbed images of an experiment, or the images in a release of a whole set where some can be sought.

    Args:
        perturbed, public, leaked: see `privpipe.attacks.suite.load_view`.
        target: see `privpipe.attacks.suite.suite`.
        only: the names of the attacks that are run; None: all that there are.

    Raises:
        PrivpipeError: a file is missing or damaged, they do not fit each other, or the disk has not the space.
    """
    budget, machine = params.attack, params.train
    if is_release(perturbed):
        return _on_release(params, perturbed, public, only)
    view = load_view(perturbed, public, leaked, budget.targets, budget.stolen)
    tools = attacks(budget.network_epochs, budget.seed, machine.threads, machine.device, machine.precision)
    return suite(view, [tool for tool in tools if only is None or tool.name in only], target)


def _on_release(params: Params, perturbed: File, public: File, only: Container[str] | None) -> list[Record]:
    budget, machine, released = params.attack, params.train, load_released(perturbed)
    with open_store(public, PUBLIC) as store:
        known = store.images("train")
    given = Budget(budget.network_epochs, budget.seed, machine.threads, machine.device, machine.precision)
    tools = [tool for tool in set_attacks(given) if only is None or tool.name in only]
    view = SetView(released.about, released.numbers, known if len(known) else None)
    records = attacked(
        view, tools, max((len(values) for values in released.numbers.values() if values.ndim), default=0)
    )
    return records or [Record("L0", "reconstruction", 0, 0, problem=NO_IMAGES)]
