"""The transformations, public knowledge: only the key is secret (Kerckhoffs's principle).

A method is one class in one file here, or in another package that names it as an entry point `privpipe.methods`;
`METHODS` finds them. The package is also a function, `privpipe.perturb(images, "block_scramble", k=4, key=secret)`:
see `privpipe.perturb.one_call`.
"""

import sys
from types import ModuleType
from typing import Any

from privpipe.perturb.base import Perturbation
from privpipe.perturb.keystream import Copies, KeyStream
from privpipe.plugins import Registry

METHODS: Registry[Perturbation] = Registry(
    "privpipe.perturb", "privpipe.perturb.base:Perturbation", "privpipe.methods", ("name", "summary")
)

__all__ = ["METHODS", "Copies", "KeyStream", "Perturbation"]


class _Callable(ModuleType):
    """This package, which may be called: a package and a function of one name would hide each other."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from privpipe.perturb.one_call import perturb

        return perturb(*args, **options)


sys.modules[__name__].__class__ = _Callable
