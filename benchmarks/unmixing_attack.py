"""How well InstaHide is undone: images and assignments by `privpipe.attacks.unmixing`, without a pipeline.

    python -m benchmarks.unmixing_attack --source path/to/cifar-10-python.tar.gz --private 100 --encodings 20
    python -m benchmarks.unmixing_attack --source ... --encodings 50 --mixing 6 --mixing-public 4    # the challenge's

Printed are the fraction of places of images in encodings that are named rightly, SSIM and PSNR of the images to their
originals, matched by the encodings that hold them, and the SSIM of what needs no attack; seconds of the processor.
"""

import time
from pathlib import Path

import click
import numpy as np

from benchmarks.images import name, source
from privpipe.attacks.set_attack import SetView
from privpipe.attacks.unmixing import Unmixing
from privpipe.data.archive import read_archive
from privpipe.data.synthetic import draw
from privpipe.owner.key import new_key
from privpipe.perturb.instahide import Instahide
from privpipe.perturb.release import Labelled
from privpipe.released import About
from privpipe.scores import fidelity
from privpipe.scores.set_members import matched


def sets(path: Path | None, private: int, public: int, seed: int) -> tuple[Labelled, Labelled]:
    """Class-balanced private images, and public ones."""
    rng = np.random.default_rng(seed)
    raw = draw(private + 2 * public, 32, rng=rng) if path is None else read_archive(path)[0]
    order, labels = rng.permutation(len(raw.images)), np.asarray(raw.labels)
    classes = int(labels.max()) + 1
    chosen = np.concatenate([order[labels[order] == label][: private // classes] for label in range(classes)])
    others = np.setdiff1d(order, chosen)
    others = others[rng.permutation(len(others))[:public]]
    return Labelled(raw.images[chosen], labels[chosen]), Labelled(raw.images[others], labels[others])


@click.command(help=__doc__)
@source
@click.option("--private", default=100, show_default=True, help="images in the release")
@click.option("--public", default=5000, show_default=True, help="public images")
@click.option("--encodings", default=20, show_default=True, help="perturb.encodings")
@click.option("--mixing", default=4, show_default=True, help="perturb.mixing")
@click.option("--mixing-public", default=0, show_default=True, help="perturb.mixing_public")
@click.option("--seed", default=0, show_default=True, help="of key and choice of images")
def main(
    source: Path | None, private: int, public: int, encodings: int, mixing: int, mixing_public: int, seed: int
) -> None:
    owner, everybody = sets(source, private, public, seed)
    method = Instahide(32, mixing=mixing, mixing_public=mixing_public, encodings=encodings)
    stream, classes = new_key(seed).stream, int(owner.labels.max()) + 1
    numbers = method.release(owner, everybody.images, None, classes, stream)
    names = tuple(str(label) for label in range(classes))
    about = About(method.name, method.form, method.settings, names, owner.images.shape[1:], "0" * 64)
    began = time.process_time()
    outcome = Unmixing(seed).run(SetView(about, numbers, everybody.images))
    seconds = time.process_time() - began
    assert outcome.images is not None and outcome.key is not None
    held = method.members(len(owner.labels), len(everybody.labels), stream)
    found = matched(outcome.images, outcome.key, held, len(owner.labels))
    images = np.clip(np.rint(found.images), 0, 255).astype(np.uint8)
    mean = np.broadcast_to(np.rint(everybody.images.mean(axis=0)).astype(np.uint8), images.shape)
    said = (outcome.key >= 0).all(axis=1)
    of_said = matched(outcome.images, outcome.key[said], held[said], len(owner.labels)).right
    psnr = fidelity.psnr(owner.images, images).mean()
    ssim = fidelity.ssim(owner.images, images)
    click.echo(
        f"{name(source)}, {len(owner.labels)} private, {len(everybody.labels)} public images, {len(held)} encodings of "
        f"{mixing} images ({mixing_public} public), seed {seed}: places named rightly {found.right:.3f} of all, "
        f"{of_said:.3f} of the {said.mean():.2f} that are used; SSIM {ssim.mean():.3f} (lowest {ssim.min():.3f}, "
        f"median {np.median(ssim):.3f}, highest {ssim.max():.3f}), PSNR {psnr:.1f} dB; "
        f"mean image SSIM {fidelity.ssim(owner.images, mean).mean():.3f}, another image "
        f"{fidelity.ssim(owner.images, np.roll(owner.images, 1, axis=0)).mean():.3f}; confidence "
        f"{outcome.confidence:.2f}; {seconds:.0f} s of CPU"
    )


if __name__ == "__main__":
    main()
