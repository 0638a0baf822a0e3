#!/usr/bin/env bash
# Pillow: `paste` and `composite` with a grey mask are wrong for 16-bit images, and for floats where the mask is neither black nor white.
#
# One would guess: `Image.composite(a, b, mask)` is a where the mask is 255, b where it is 0 and a mixture between, in every mode that is not
#   refused; a face is blackened in a 16-bit image as in one of 8 bits.
# What happens: in mode `I;16` a mask of 0 and 255 alone gives other pixels in more than half of the image: the mask is read byte by byte against
#   values of two bytes. In mode `F` such a mask is right, and a soft one mixes the four bytes of each float, so that results are off by as much
#   as the values are. In mode `I` a soft mask is off by up to 128. With `mask.convert("1")` 16 bits are right.
# Versions: pillow 13.0.0 (12.3.0 likewise), numpy 2.4.6.
# Why: src/libImaging/Paste.c knows pixels of one byte and of four, and mixes bytes.
# For users: in these modes give masks of mode `1`, or do it in NumPy; look at what a redaction left.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check pillow==13.0.0 numpy==2.4.6
venv/bin/python - <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

draws = np.random.default_rng(0)
soft = draws.integers(0, 256, (32, 32)).astype(np.uint8)
hard = ((soft > 128) * 255).astype(np.uint8)
values = draws.integers(300, 65536, (32, 32))


def wrong(dtype: type, mask: np.ndarray, mode: str = "L") -> float:
    """The fraction of pixels that are more than one level off."""
    a = (values >> 8 if dtype == np.uint8 else values).astype(dtype)
    b = a[::-1].copy()
    found = np.asarray(Image.composite(Image.fromarray(a), Image.fromarray(b), Image.fromarray(mask).convert(mode)))
    assert found.dtype == dtype
    expected = a * (mask / 255) + b * (1 - mask / 255)
    return float((np.abs(found - expected) > 1.01).mean())


seen = {
    "8 bits, soft mask": wrong(np.uint8, soft),
    "16 bits, mask of 0 and 255": wrong(np.uint16, hard),
    "16 bits, the same as mode 1": wrong(np.uint16, hard, "1"),
    "16 bits, soft mask": wrong(np.uint16, soft),
    "floats, mask of 0 and 255": wrong(np.float32, hard),
    "floats, soft mask": wrong(np.float32, soft),
    "32 bits, soft mask": wrong(np.int32, soft),
}
print(f"Pillow {PIL.__version__}; pixels that are wrong:")
for name, fraction in seen.items():
    print(f"  {name}: {fraction:.0%}")
right = seen["8 bits, soft mask"] == seen["16 bits, the same as mode 1"] == seen["floats, mask of 0 and 255"] == 0
others = [fraction for name, fraction in seen.items() if name.startswith(("16 bits, mask", "16 bits, soft", "floats, soft", "32"))]
if not right or min(others) < 0.5:
    sys.exit("no longer so")
PY
