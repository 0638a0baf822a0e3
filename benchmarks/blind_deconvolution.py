"""What a kernel for each image hides (random_filter, scope image): PSNR and SSIM of the images that come back without
the key, by the restoration network and by blind deconvolution.

    python benchmarks/blind_deconvolution.py                                   # on images that the code draws
    python benchmarks/blind_deconvolution.py --source cifar-10-python.tar.gz   # on CIFAR-10
"""

import time
from pathlib import Path

import click
import numpy as np
from images import name, peak_ratio, sample_images, source

from privpipe.attacks.base import AdversaryView, Attack, Budget
from privpipe.attacks.blind_deconvolution import BlindDeconvolution
from privpipe.attacks.network import RestorationNetwork
from privpipe.owner.key import new_key
from privpipe.perturb.random_filter import RandomFilter
from privpipe.scores.measures.ssim import Ssim


@click.command(help=__doc__)
@source
@click.option("--public", default=5000, show_default=True, help="public images")
@click.option("--targets", default=500, show_default=True, help="images under attack, none of them public")
@click.option("--passes", default="5,20", show_default=True, help="of networks over the public images")
@click.option("--sizes", default="3,5,7", show_default=True, help="of the kernel, k")
@click.option("--seed", default=0, show_default=True, help="of the key and of the attacks")
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16 or auto")
def main(source: Path | None, public: int, targets: int, passes: str, sizes: str, seed: int, precision: str) -> None:
    images = sample_images(source, public + targets)
    known, originals = images[:public], images[public:]
    print(f"{public} public images, {targets} targets: {name(source)}; seed {seed}, {precision}, 1 thread")
    print(f"{'k':>3} {'passes':>6} {'attack':<20} {'PSNR in dB':>10} {'SSIM':>6} {'confidence':>10} {'seconds':>8}")
    for k in map(int, sizes.split(",")):
        method = RandomFilter(originals.shape[1], k, "image", 0.0, new_key(seed).stream)
        stolen = method.apply(originals)
        view = AdversaryView(method.name, k, "image", 0.0, stolen, stolen, known)
        for count in map(int, passes.split(",")):
            budget = Budget(count, seed, 1, "auto", precision)
            kinds: tuple[type[Attack], ...] = (RestorationNetwork, BlindDeconvolution)
            for kind in kinds:
                attack = kind.within(budget)
                assert attack is not None
                start = time.process_time()
                outcome = attack.run(view)
                seconds = time.process_time() - start
                assert outcome.images is not None
                likeness = float(np.mean(Ssim.values(originals, outcome.images)))
                print(
                    f"{k:>3} {count:>6} {attack.name:<20} {peak_ratio(outcome.images, originals):>10.2f} "
                    f"{likeness:>6.3f} {outcome.confidence:>10.3f} {seconds:>8.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
