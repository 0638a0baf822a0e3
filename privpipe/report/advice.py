"""What is known, without attacking this very file, about how well a perturbation hides its pictures."""

from privpipe.perturb import METHODS
from privpipe.perturb.block_scramble import BlockScramble
from privpipe.store import Header


def verdict(header: Header) -> tuple[bool | None, str]:
    """Whether the perturbation is known to fall without its key (None: not known, or it has no key), and a sentence."""
    method = METHODS.get(header.method)
    if method is None:
        return None, "This version of privpipe does not know the method."
    if header.method == "none":
        return True, "Nothing was done to these pictures: whoever holds the file has them."
    if method.blocks and header.k == 1:
        return True, "A block of one pixel cannot be scrambled: these are the pictures, or nearly so."
    if not method.keyed:
        return None, "No key is involved: whoever holds the file knows exactly what was done to the pictures."
    if header.scope == "dataset" and header.method == BlockScramble.name:
        # Measured by benchmarks/correlation_attack.py.
        return True, (
            "All images share one key, and its permutations are found from statistics over about 2,000 images, "
            "without the key: treat the pictures as readable."
        )
    if header.scope == "dataset":
        return None, (
            "All images share one key, so that statistics over many of them can give away what they share: do not "
            "count on it for pictures that must stay private."
        )
    return False, (
        "Every image has key material of its own, so statistics over many images do not give it away; what a single "
        "picture still shows is hidden by nothing."
    )
