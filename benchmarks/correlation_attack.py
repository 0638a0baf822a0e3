"""How much of a block scramble (scope dataset) an adversary undoes without the key, from the stolen file alone or with
public images of the same kind.

    python benchmarks/correlation_attack.py                                        # on images that the code draws
    python benchmarks/correlation_attack.py --source cifar-10-python.tar.gz        # on CIFAR-10
"""

import time
from pathlib import Path

import click
import numpy as np
from images import name, sample_images, source

from privpipe.attacks.correlations import attack
from privpipe.owner.key import new_key
from privpipe.perturb.block_scramble import BlockScramble


@click.command(help=__doc__)
@source
@click.option("--count", default=2000, show_default=True, help="stolen images")
@click.option("--public", "known", default=2000, show_default=True, help="public images of level L1; 0: level L0 alone")
@click.option("--draws", default=3, show_default=True, help="keys to attack, each a fresh research key")
def main(source: Path | None, count: int, known: int, draws: int) -> None:
    images = sample_images(source, count + known)
    owned, public = images[:count], images[count:]
    print(f"{len(owned)} stolen, {len(public)} public images: {name(source)}; {draws} keys")
    print(f"{'k':>3} {'level':>6} {'pixels right':>13} {'blocks exact':>13} {'confidence':>11} {'seconds':>8}  (means)")
    for k in (2, 4, 8, 16):
        for level in ("L0", "L1") if len(public) else ("L0",):
            rows = []
            for seed in range(draws):
                scramble = BlockScramble(owned.shape[1], k, stream=new_key(seed).stream)
                stolen = scramble.apply(owned)
                start = time.perf_counter()
                found = attack(stolen, k, public if level == "L1" else None)
                right = found.permutations == scramble.permutations
                rows.append((right.mean(), right.all(axis=1).mean(), found.confidence, time.perf_counter() - start))
            pixels, blocks, confidence, seconds = np.mean(rows, axis=0)
            print(f"{k:>3} {level:>6} {pixels:>13.1%} {blocks:>13.1%} {confidence:>11.2f} {seconds:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
