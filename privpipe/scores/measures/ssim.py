"""How near reconstructions are to the originals, by their structure."""

from privpipe.perturb.base import Images
from privpipe.scores import fidelity
from privpipe.scores.base import ImageScore, Values


class Ssim(ImageScore):
    """Structural similarity, at most 1, mean over the images; see `privpipe.scores.fidelity.ssim`."""

    name = "ssim"
    label = "SSIM"
    order = 20
    digits = 3

    @staticmethod
    def values(originals: Images, images: Images) -> Values:
        return fidelity.ssim(originals, images)


class SsimWorst(Ssim):
    """The same over the worst-protected images."""

    name = "ssim_worst"
    label = "SSIM of the worst 1 %"
    order = 21
    worst_only = True
