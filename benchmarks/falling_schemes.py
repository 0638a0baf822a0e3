"""Which published schemes fall to which attack, and how few known pairs it takes: one key for all images.

    python -m benchmarks.falling_schemes --source path/to/cifar-10-python.tar.gz

Each scheme encrypts images with one key. The adversary has 200 uploads, and of some more the originals (known pairs,
level L2), or only the uploads (L0), or these and public images (L1). Printed are the fewest pairs of those tried from
which on the images come back with a mean SSIM of 0.95, that SSIM, and that of a single pair; for attacks without pairs
the SSIM alone, of the images or of their mirror images, which are as natural. InstaHide has a command of its own,
`benchmarks.unmixing_attack`.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.images import name, sample_images, source
from privpipe.attacks.base import AdversaryView, Attack, Pairs
from privpipe.attacks.linkage import method_similarity
from privpipe.attacks.registry import ATTACKS
from privpipe.errors import PrivpipeError
from privpipe.owner.key import new_key
from privpipe.perturb import PERTURBATIONS, Perturbation
from privpipe.scores import fidelity

PAIRS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500)
COUNTS = (200, 30, 500)  # uploads to learn from, targets, pairs
BACK = 0.95  # SSIM from which on images have come back
NAMED, CANDIDATES = 100, 1000  # uploads of NeuraCrypt, and images that they may be of
FROM_PAIRS = (
    "learnable_encryption",
    "extended_learnable_encryption",
    "pixel_based_encryption",
    "encryption_then_compression",
    "value_shuffling",
    "negative_positive",
    "format_preserving",
    "block_pixel_shuffle",
    "disguised_rmt",
)
LEARNERS = ("known_plaintext", "row_products")
WITHOUT_PAIRS = (
    ("block_permutation", "jigsaw"),
    ("encryption_then_compression", "jigsaw"),
    ("learnable_encryption", "value_correlation"),
    ("negative_positive", "value_correlation"),
    ("value_shuffling", "value_correlation"),
    ("format_preserving", "value_correlation"),
    ("block_pixel_shuffle", "value_correlation"),
    ("extended_learnable_encryption", "value_correlation"),
    ("pixel_based_encryption", "colour_correlation"),
)


def made(scheme: str, seed: int) -> Perturbation:
    """The scheme with blocks of 4 pixels, where it has blocks, and one key for all images."""
    kind = PERTURBATIONS[scheme]
    legal = kind.legal_k(32)
    return kind(32, 1 if legal is None else 4, "dataset", 0.0, new_key(seed).stream)


def view_of(method: Perturbation, images: NDArray[np.uint8]) -> AdversaryView:
    perturbed = method.apply(images)
    stolen, targets, _ = COUNTS
    ends = (stolen, stolen + targets)
    pairs = Pairs(images[ends[1] :], perturbed[ends[1] :])
    own = (method.name, method.k, method.scope, method.sigma)
    return AdversaryView(*own, perturbed[: ends[0]], perturbed[slice(*ends)], None, pairs, method.settings, (32, 32, 3))


def with_pairs(view: AdversaryView, count: int) -> AdversaryView:
    """The view with so many pairs; none: level L0."""
    assert view.pairs is not None
    known = Pairs(view.pairs.originals[:count], view.pairs.perturbed[:count]) if count else None
    return replace(view, pairs=known)


def reached(attack: Attack, view: AdversaryView, originals: NDArray[np.uint8], mirrored: bool = False) -> float:
    """Mean SSIM of what the attack brings back; 0 where it refuses.

    Args:
        mirrored: whether all images may be turned left to right, if that is nearer.
    """
    try:
        images = attack.run(view).images
    except PrivpipeError:
        return 0.0
    shown = [] if images is None else [images, images[:, :, ::-1]] if mirrored else [images]
    return max((float(fidelity.ssim(originals, one).mean()) for one in shown), default=0.0)


def rows(images: NDArray[np.uint8], seed: int) -> Iterator[tuple[str, ...]]:
    """Scheme, attack, level, fewest pairs, SSIM with these, SSIM with one pair, seconds of the processor."""
    originals = images[COUNTS[0] : COUNTS[0] + COUNTS[1]]
    for scheme in FROM_PAIRS:
        method, began = made(scheme, seed), time.process_time()
        view, without = view_of(method, images), made(scheme, seed)
        tools = [kind() for kind in ATTACKS.values() if "L2" in kind.levels and not kind.costly]
        for tool in [tool for tool in tools if tool.applies(without) and tool.name in LEARNERS]:
            found: dict[int, float] = {}
            for count in PAIRS:
                found[count] = reached(tool, with_pairs(view, count), originals)
                if found[count] >= BACK:
                    break
            best = max(found, key=lambda count: found[count])
            fewest = str(best) if found[best] >= BACK else f"over {PAIRS[-1]}"
            spent = f"{time.process_time() - began:.1f}"
            yield scheme, tool.name, "L2", fewest, f"{found[best]:.3f}", f"{found[1]:.3f}", spent
    for scheme, name_of_attack in WITHOUT_PAIRS:
        method, began, attack = made(scheme, seed), time.process_time(), ATTACKS[name_of_attack]()
        view = with_pairs(view_of(method, images), 0)
        for level, known in (("L0", None), ("L1", images[sum(COUNTS[:2]) :])):
            if level in attack.levels:
                ssim = reached(attack, replace(view, public=known), originals, mirrored=True)
                yield scheme, attack.name, level, "none", f"{ssim:.3f}", "", f"{time.process_time() - began:.1f}"


def named(images: NDArray[np.uint8], seed: int) -> float:
    """The fraction of uploads of NeuraCrypt that are told among the candidates."""
    method = made("neuracrypt", seed)
    similarity = method_similarity(method.apply(images[:NAMED]), images[:CANDIDATES], method)
    return float((similarity.argmax(axis=1) == np.arange(NAMED)).mean())


@click.command(help=__doc__)
@source
@click.option("--seed", default=0, show_default=True, help="of the key")
def main(source: Path | None, seed: int) -> None:
    images = sample_images(source, max(sum(COUNTS), CANDIDATES))
    click.echo(f"{name(source)}, seed {seed}: k = 4, {COUNTS[0]} uploads, {COUNTS[1]} targets\n")
    columns = ("scheme", "attack", "level", "known pairs", "SSIM", "SSIM with one pair", "s of CPU")
    click.echo(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for row in rows(images[: sum(COUNTS)], seed):
        click.echo(f"| {' | '.join(row)} |")
    began, told = time.process_time(), named(images, seed)
    click.echo(f"\nneuracrypt: {told:.2f} of {NAMED} uploads named among {CANDIDATES:,} images without key, pairs or")
    click.echo(f"public images; {time.process_time() - began:.1f} s of CPU")


if __name__ == "__main__":
    main()
