"""What is known, without attacking this very file, about how well a perturbation hides its pictures."""

from privpipe.perturb import METHODS
from privpipe.store import Header


def verdict(header: Header) -> tuple[bool | None, str]:
    """Whether the perturbation is known to fall without its key (None: it has none, or is unknown), and a sentence."""
    method = METHODS.get(header.method)
    if method is None:
        return None, "This version of privpipe does not know the method."
    if header.method == "none":
        return True, "Nothing was done to these pictures: whoever holds the file has them."
    if method.blocks and header.k == 1:
        return True, "A block of one pixel cannot be scrambled: these are the pictures, or nearly so."
    if not method.keyed:
        return None, "No key is involved: whoever holds the file knows exactly what was done to the pictures."
    if header.scope == "dataset":
        return True, (
            "All images share one key, and what they share is known to be found from statistics of the file alone, "
            "without the key: treat the pictures as readable."
        )
    return False, (
        "Every image has key material of its own, so statistics over many images do not give it away; what a single "
        "picture still shows is hidden by nothing."
    )
