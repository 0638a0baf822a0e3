"""No perturbation: the images as they are, the yardstick for all others."""

from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.perturb.keystream import Copies


class Unperturbed(Perturbation):
    """The identity; its inverse is itself."""

    name = "none"
    exact = True
    invertible = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        return images

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        return perturbed
