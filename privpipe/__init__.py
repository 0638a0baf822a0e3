"""privpipe: what privacy-preserving image perturbations cost in accuracy, and what they hide.

    import secrets, privpipe
    perturbed = privpipe.perturb(images, "block_scramble", k=4, key=secrets.token_bytes(32))
    found = privpipe.attack(perturbed, "block_scramble", k=4, public=public)

The packages are by subject (see `docs/design.md`): `data`, `perturb`, `networks`, `owner`, `nn`, `attacks`, `scores`,
`report`, `pipeline`, `cli`; each imports only those below it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers show
    from privpipe.attacks.one_call import attack as attack
    from privpipe.perturb.one_call import perturb as perturb

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`perturb` and `attack`, imported when they are first asked for: `import privpipe` alone is instant."""
    from importlib import import_module

    if name == "perturb":
        return import_module("privpipe.perturb")
    if name == "attack":
        return import_module("privpipe.attacks.one_call").attack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
