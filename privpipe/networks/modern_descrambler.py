"""A descrambler layer before the residual network of the modern recipe."""

from privpipe.networks.descrambler import Descrambler
from privpipe.networks.modern_baseline import ModernBaseline


class ModernDescrambler(Descrambler):
    """A BFC layer, then `modern_baseline`."""

    name = "modern_descrambler"
    stands_for = "descrambler"
    halvings = ModernBaseline.halvings
    behind = ModernBaseline
