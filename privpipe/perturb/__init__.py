"""The transformations, public knowledge: only the key is secret (Kerckhoffs's principle).

A method is one class in one file here, or in another package that names it as an entry point `privpipe.methods`;
`METHODS` finds them. There are two kinds: those of `PERTURBATIONS` make an image of each image, those of `RELEASES`
make numbers of the whole set (`privpipe.perturb.release`). The package is also a function,
`privpipe.perturb(images, "block_scramble", k=4, key=secret)`: see `privpipe.perturb.one_call`.
"""

import sys
from types import ModuleType
from typing import Any

from privpipe.errors import PrivpipeError, unknown
from privpipe.perturb.base import Perturbation
from privpipe.perturb.keystream import Copies, KeyStream
from privpipe.perturb.method import Method
from privpipe.perturb.release import SetRelease
from privpipe.plugins import Registry

METHODS: Registry[Method] = Registry(
    "privpipe.perturb", "privpipe.perturb.method:Method", "privpipe.methods", ("name", "summary")
)
# Both bases are abstract, which mypy takes no `type` of.
PERTURBATIONS = METHODS.of(Perturbation)  # type: ignore[type-abstract]
RELEASES = METHODS.of(SetRelease)  # type: ignore[type-abstract]

__all__ = ["METHODS", "PERTURBATIONS", "RELEASES", "Copies", "KeyStream", "Method", "Perturbation", "SetRelease"]


def perturbation_called(name: str) -> type[Perturbation]:
    """The method of this name, for whoever has images to perturb one by one.

    Raises:
        PrivpipeError: there is no such method, or it releases no images.
    """
    if name in RELEASES:
        raise PrivpipeError(
            f"{name} releases numbers of the whole set and no images, so there is nothing to perturb one by one. Use "
            f"one of {', '.join(PERTURBATIONS)}; a model that was fitted to {name} takes images as they are."
        )
    if name not in PERTURBATIONS:
        raise PrivpipeError(unknown("the method", name, list(PERTURBATIONS)))
    return PERTURBATIONS[name]


class _Callable(ModuleType):
    """This package, which may be called: a package and a function of one name would hide each other."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from privpipe.perturb.one_call import perturb

        return perturb(*args, **options)


sys.modules[__name__].__class__ = _Callable
