"""No perturbation: the images as they are, with which all others are compared."""

from scipy.sparse import csr_array

from privpipe.perturb.base import Array, Images, Perturbation
from privpipe.perturb.keystream import Copies
from privpipe.perturb.linear import identity


class Unperturbed(Perturbation):
    """The identity; its inverse is itself."""

    name = "none"
    summary = "the images are left as they are"
    exact = True
    identity = True
    undone_by_key = True
    operator_without_key = True
    colour = "#1a202c"

    @staticmethod
    def legal_k(image_size: int) -> list[int] | None:
        return None

    def apply(self, images: Images, copies: Copies | None = None) -> Array:
        return images

    def invert(self, perturbed: Array, keys: Array | None = None) -> Array:
        return perturbed

    def operator(self, key: Array | None) -> csr_array:
        return identity(self.image_size)

    def weakness(self) -> str | None:
        return "Nothing was done to these images: whoever holds the file has them."
