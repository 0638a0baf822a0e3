"""What every method says of itself, whether it releases an image for each image or numbers of the whole set."""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from privpipe.perturb.values import Array


@dataclass(frozen=True)
class Drawing:
    """What a method does, for a figure.

    Args:
        title: above the matrix; the whole of it where there is none.
        values: the matrix, (rows, columns), or None.
        whole: whether its values are whole numbers that name something.
    """

    title: str
    values: Array | None = None
    whole: bool = False


class Method(ABC):
    """What the owner does with the images before anything leaves: one class, in one file.

    Attributes:
        name: as `perturb.method`, lower case with underscores.
        summary: what becomes of the images, a clause without a full stop. It stands where there is nothing to draw.
        keyed: whether it draws key material without which queries cannot be made.
        colour: of its points in figures, as matplotlib takes it.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    keyed: ClassVar[bool] = False
    colour: ClassVar[str] = "#718096"

    def weakness(self) -> str | None:
        """Why these settings hide nothing from whoever holds the file, a sentence; None where they may hide it."""
        return None

    def drawing(self) -> Drawing:
        """What the method does, as a matrix or in words. A keyed one shows its key: use a demonstration key."""
        return Drawing(f"{self.name}: {self.summary}")
