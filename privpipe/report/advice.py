"""What to make of a perturbation: what is known of its kind, and what the attacks on this very file measured."""

from itertools import islice
from typing import Any

from privpipe.perturb import PERTURBATIONS
from privpipe.scores.registry import scores_in
from privpipe.store import Header


def verdict(header: Header) -> tuple[bool | None, str]:
    """Whether the perturbation is known to fall without its key (None: not known, or it has no key), and a sentence."""
    method = PERTURBATIONS.get(header.method)
    if method is None:
        return None, "This version of privpipe does not know the method."
    if header.k < 1 or header.scope not in ("dataset", "image") or method.own_problems(header.settings):
        return None, "This version of privpipe does not know these settings."
    one = method(header.original_shape[0], header.k, header.scope, header.sigma, None, **header.settings)
    weakness = one.weakness()
    if weakness is not None:
        return True, weakness
    if not method.keyed:
        return None, "No key is involved: whoever holds the file knows exactly what was done to the images."
    if header.scope == "dataset" and header.k <= method.falls_up_to:
        return True, (
            "All images share one key, and what they share is found from statistics over some thousands of images and "
            "public images, without the key: treat the images as readable."
        )
    if header.scope == "dataset":
        return None, (
            "All images share one key, so that statistics over many of them can give away what they share: do not "
            "count on it for images that must stay private."
        )
    return False, (
        "Every image has key material of its own, so statistics over many images do not give it away; what a single "
        "image still shows is hidden by nothing."
    )


KNOWN = {"l0": "the stolen file alone", "l1": "public images", "l2": "known pairs"}


def findings(metrics: dict[str, Any]) -> list[str]:
    """What an adversary without the key achieved, a sentence for each score that passed its mark, worst first.

    Each is said of the lowest level that suffices; empty where all attacks failed.

    Args:
        metrics: `metrics/privacy.json`.
    """
    sentences = []
    for score in reversed(scores_in(metrics)):
        said = (score.finding(level, known, metrics) for level, known in KNOWN.items())
        sentences += list(islice(filter(None, said), 1))
    return sentences
