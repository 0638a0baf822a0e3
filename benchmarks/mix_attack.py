"""What an adversary restores of images under block_mix (scope dataset), from stolen images and public ones of the same
kind, without the key.

    python benchmarks/mix_attack.py                                        # on images that the code draws
    python benchmarks/mix_attack.py --source cifar-10-python.tar.gz        # on CIFAR-10
"""

import time
from pathlib import Path

import click
import numpy as np
from images import name, peak_ratio, sample_images, source

from privpipe.attacks.base import AdversaryView
from privpipe.attacks.cross_block import CrossBlock
from privpipe.owner.key import new_key
from privpipe.perturb.block_mix import BlockMix

TARGETS = 300


@click.command(help=__doc__)
@source
@click.option("--count", default=10_000, show_default=True, help="stolen images, and as many public ones")
@click.option("--draws", default=2, show_default=True, help="keys to attack, each a fresh research key")
def main(source: Path | None, count: int, draws: int) -> None:
    owned, public, originals = np.split(sample_images(source, 2 * count + TARGETS), [count, 2 * count])
    print(f"{count} stolen, {count} public images: {name(source)}; {TARGETS} others restored")
    print(f"{'k':>3} {'key':>4} {'PSNR in dB':>11} {'confidence':>11} {'seconds':>8}")
    for k in (2, 4, 8):
        for seed in range(draws):
            method = BlockMix(owned.shape[1], k, stream=new_key(seed).stream)
            targets = method.apply(originals)
            view = AdversaryView(method.name, k, "dataset", 0.0, method.apply(owned), targets, public)
            start = time.perf_counter()
            found = CrossBlock().run(view)
            seconds = time.perf_counter() - start
            ratio = peak_ratio(found.images, originals)
            print(f"{k:>3} {seed:>4} {ratio:>11.1f} {found.confidence:>11.2f} {seconds:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
