"""What to make of a perturbation: what is known of its kind, and what the attacks on this very file measured."""

from typing import Any

from privpipe.perturb import METHODS
from privpipe.store import Header


def verdict(header: Header) -> tuple[bool | None, str]:
    """Whether the perturbation is known to fall without its key (None: not known, or it has no key), and a sentence."""
    method = METHODS.get(header.method)
    if method is None:
        return None, "This version of privpipe does not know the method."
    weakness = method(header.shape[0], header.k, header.scope).weakness()
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


MOSTLY = 0.5  # of what could be lost: from there on it counts as lost
FOUND = 0.9  # of a key


def findings(method: str, privacy: dict[str, Any]) -> list[str]:
    """What an adversary without the key achieved, a sentence each, worst first; empty where all attacks failed.

    Args:
        privacy: `metrics/privacy.json`.
    """
    found = []
    keyed = METHODS[method].keyed if method in METHODS else False
    for level, means in (("l0", "the stolen file alone"), ("l1", "public images"), ("l2", "known pairs")):
        recovery, chance = privacy[f"{level}_key_recovery"], privacy["chance_key_recovery"]
        if keyed and recovery is not None and recovery >= FOUND and (chance is None or chance < MOSTLY):
            found.append(f"With {means}, {100 * recovery:.1f} % of the key was recovered.")
            break
    chance, plain = privacy["chance_recognised"], privacy["original_recognised"]
    for level, means in (("l0", "the stolen file alone"), ("l1", "public images"), ("l2", "known pairs")):
        seen = privacy[f"{level}_recognised"]
        if seen is not None and plain > chance and (seen - chance) / (plain - chance) >= MOSTLY:
            found.append(
                f"With {means}, a plain classifier recognises {100 * seen:.1f} % of the best reconstructions, against "
                f"{100 * plain:.1f} % of the originals."
            )
            break
    told, guessed = privacy["l0_reidentified_top1"], privacy["chance_reidentified_top1"]
    if told is not None and guessed < 1 and (told - guessed) / (1 - guessed) >= MOSTLY:
        found.append(
            f"Whoever holds the originals among {round(1 / guessed):,} candidates tells "
            f"{100 * told:.1f} % of the uploaded images apart, without the key."
        )
    return found
