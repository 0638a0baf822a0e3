"""No perturbation: the images as they are, the yardstick for all others."""

from privpipe.perturb.base import Array, Images, Perturbation


class Unperturbed(Perturbation):
    """The identity; its inverse is itself."""

    name = "none"
    exact = True
    invertible = True

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    def apply(self, images: Images, split: str = "train", start: int = 0) -> Array:
        return images

    def invert(self, perturbed: Array, split: str = "train", start: int = 0) -> Array:
        return perturbed
