"""How often an adversary finds the kernel of a random filter (scope dataset), from stolen images and public ones of the
same kind, and what the images are worth that he restores with it.

    python benchmarks/filter_attack.py                                        # on images that the code draws
    python benchmarks/filter_attack.py --source cifar-10-python.tar.gz        # on CIFAR-10
"""

import time
from pathlib import Path

import click
import numpy as np
from images import name, peak_ratio, sample_images, source

from privpipe.attacks.filter_likelihood import attack
from privpipe.attacks.filter_restoration import restore_filtered
from privpipe.attacks.restoration import Prior
from privpipe.owner.key import new_key
from privpipe.perturb.random_filter import RandomFilter

TARGETS = 100


@click.command(help=__doc__)
@source
@click.option("--count", default=2000, show_default=True, help="stolen images, and as many public ones")
@click.option("--draws", default=10, show_default=True, help="keys to attack, each a fresh research key")
def main(source: Path | None, count: int, draws: int) -> None:
    images = sample_images(source, 2 * count + TARGETS)
    owned, public, originals = np.split(images, [count, 2 * count])
    prior = Prior.of(public)
    print(f"{count} stolen, {count} public images: {name(source)}; {draws} keys")
    print(
        f"{'k':>3} {'key':>4} {'|cosine|':>9} {'sign, turn':>11} {'confidence':>11} {'seconds':>8} {'PSNR in dB':>11}"
    )
    for k in (3, 5, 7):
        found_well = 0
        for seed in range(draws):
            method = RandomFilter(owned.shape[1], k, stream=new_key(seed).stream)
            stolen = method.apply(owned)
            start = time.perf_counter()
            found = attack(stolen, k, public, seed)
            seconds = time.perf_counter() - start
            truth = method.weights / np.linalg.norm(method.weights)
            cosine = float((found.weights * truth).sum() / np.linalg.norm(found.weights))
            turned = float((found.weights[::-1, ::-1] * truth).sum() / np.linalg.norm(found.weights))
            best = max(abs(cosine), abs(turned))
            restored = restore_filtered(method.apply(originals), found.weights, found.weight_error, prior)
            found_well += cosine > 0.99
            print(
                f"{k:>3} {seed:>4} {best:>9.5f} {'right' if cosine == best else 'wrong':>11} {found.confidence:>11.3f} "
                f"{seconds:>8.1f} {peak_ratio(restored, originals):>11.1f}",
                flush=True,
            )
        print(f"{k:>3}  all  {found_well} of {draws} with a cosine over 0.99, sign and turn right", flush=True)


if __name__ == "__main__":
    main()
