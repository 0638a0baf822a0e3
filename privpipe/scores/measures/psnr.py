"""How near reconstructions are to the originals, by squared error."""

from privpipe.perturb.base import Images
from privpipe.scores import fidelity
from privpipe.scores.base import ImageScore, Values


class Psnr(ImageScore):
    """Peak signal-to-noise ratio in dB, mean over the images; see `privpipe.scores.fidelity.psnr`."""

    name = "psnr"
    label = "PSNR, dB"
    order = 10
    digits = 1
    decimals = 1

    @staticmethod
    def values(originals: Images, images: Images) -> Values:
        return fidelity.psnr(originals, images)


class PsnrWorst(Psnr):
    """The same over the worst-protected images."""

    name = "psnr_worst"
    label = "PSNR of the worst 1 %, dB"
    order = 11
    worst_only = True
