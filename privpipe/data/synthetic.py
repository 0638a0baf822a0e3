"""Images drawn on the spot: ten classes of shapes before backgrounds with the statistics of photographs.

    from privpipe.data.synthetic import draw
    images = draw(5000, 32, rng=np.random.default_rng(0))

The embedded data set lets the whole pipeline run offline. Attacks on perturbed images live on the statistics of
natural images, so the images have those: power that falls as 1/f^2 to 1/f^3, neighbouring pixels correlated above
0.9, and colours that vary mostly in luminance, then blue against yellow, then red against green (the three principal
components that Ruderman, Cronin and Chiao found: "Statistics of cone responses to natural images: implications for
visual coding", JOSA A 15 (1998)). The label is carried by shape and surface texture only; position, size, angle,
colour, contrast and light are independent of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from privpipe.data.images import RawImages
from privpipe.errors import PrivpipeError

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

SIZE_STEP, LARGEST_SIZE = 8, 256

# Pixels rendered together (512 images of 32x32): about 60 MB of temporary arrays, whatever the size of the set.
CHUNK_PIXELS = 512 * 32 * 32

# Columns: luminance, blue-yellow, red-green. Rows: R, G, B. The axes are orthogonal with entries of order one.
OPPONENT_TO_RGB = np.array([[1.0, -0.5, 1.0], [1.0, -0.5, -1.0], [1.0, 1.0, 0.0]], dtype=np.float32)
# Standard deviations along these axes, relative to luminance: photographs are nearly grey.
OPPONENT_STD = np.array([1.0, 0.3, 0.12], dtype=np.float32)

# Standard deviation of the lens' blur in pixels. Without one a 1/f^2 field is rougher than any photograph.
LENS_BLUR = 0.45

STRIPES_PER_IMAGE = 7.0


def _polygon(u: Floats, v: Floats, sides: int, inradius: float, violated: int = 0) -> Floats:
    """Regular polygon as an intersection of half-planes; with `violated` 1 and 5 sides, the pentagram."""
    angles = 2 * np.pi * np.arange(sides) / sides
    planes = np.stack([math.cos(a) * u + math.sin(a) * v for a in angles])
    # A star's points lie outside one of its lines, never two: the second largest distance decides.
    rank = sides - 1 - violated
    distance: Floats = np.partition(planes, rank, axis=0)[rank] - inradius
    return distance


def _box(u: Floats, v: Floats, half_width: float, half_height: float) -> Floats:
    distance: Floats = np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)
    return distance


def _disc(u: Floats, v: Floats, centre_u: float = 0.0, centre_v: float = 0.0, radius: float = 0.85) -> Floats:
    distance: Floats = np.hypot(u - centre_u, v - centre_v) - radius
    return distance


def _ring(u: Floats, v: Floats) -> Floats:
    distance: Floats = np.maximum(_disc(u, v, radius=0.94), -_disc(u, v, radius=0.5))
    return distance


def _cross(u: Floats, v: Floats) -> Floats:
    distance: Floats = np.minimum(_box(u, v, 0.95, 0.28), _box(u, v, 0.28, 0.95))
    return distance


def _crescent(u: Floats, v: Floats) -> Floats:
    distance: Floats = np.maximum(_disc(u, v, radius=0.95), -_disc(u, v, centre_u=0.5, radius=0.72))
    return distance


def _half_disc(u: Floats, v: Floats) -> Floats:
    distance: Floats = np.maximum(_disc(u, v, centre_u=0.4, radius=1.0), u - 0.4)
    return distance


def _bars(u: Floats, v: Floats) -> Floats:
    nearest = np.clip(np.rint(v / 0.68), -1, 1) * 0.68
    return _box(u, v - nearest, 0.9, 0.2)


def _dots(u: Floats, v: Floats) -> Floats:
    angles = 2 * np.pi * np.arange(3) / 3
    distance: Floats = np.minimum.reduce([_disc(u, v, 0.62 * math.cos(a), 0.62 * math.sin(a), 0.38) for a in angles])
    return distance


def _plain(x: Floats, y: Floats, grain: Floats) -> Floats:
    return np.zeros_like(x)


def _stripes(x: Floats, y: Floats, grain: Floats) -> Floats:
    wave: Floats = np.sin(2 * math.pi * STRIPES_PER_IMAGE * x)
    return wave


def _checks(x: Floats, y: Floats, grain: Floats) -> Floats:
    return 2**0.5 * _stripes(x, y, grain) * _stripes(y, x, grain)


def _shaded(x: Floats, y: Floats, grain: Floats) -> Floats:
    return 4 * x


def _speckle(x: Floats, y: Floats, grain: Floats) -> Floats:
    return 0.7 * grain


Shape = Callable[[Floats, Floats], Floats]
Texture = Callable[[Floats, Floats, Floats], Floats]

# Name: signed distance to the outline in shape coordinates (negative inside, about 1 the radius), surface texture.
# Each texture serves two unlike shapes: it narrows the choice and never makes it.
CLASSES: dict[str, tuple[Shape, Texture]] = {
    "disc": (_disc, _plain),
    "ring": (_ring, _stripes),
    "square": (lambda u, v: _polygon(u, v, 4, 0.75), _checks),
    "triangle": (lambda u, v: _polygon(v, u, 3, 0.55), _speckle),
    "cross": (_cross, _shaded),
    "star": (lambda u, v: _polygon(v, u, 5, 0.36, violated=1), _plain),
    "crescent": (_crescent, _checks),
    "half_disc": (_half_disc, _stripes),
    "bars": (_bars, _speckle),
    "dots": (_dots, _shaded),
}


@dataclass(frozen=True)
class _Scenes:
    """What differs from image to image, one row each: (N,) or (N, 3) float32, lengths in parts of the image side.

    Every array is drawn for the whole set at once, so no value depends on how the rendering is cut into chunks.
    """

    centre_x: Floats
    centre_y: Floats
    radius: Floats
    angle: Floats
    softness: Floats  # width of the outline, in pixels
    contrast: Floats  # (N, 3): surface minus background, along the opponent axes
    texture: Floats  # strength of the texture
    mean: Floats  # (N, 3): background colour along the opponent axes
    spread: Floats  # standard deviation of the background's luminance
    light: Floats  # slope of the lighting gradient; 0 in half of the images
    light_angle: Floats

    @classmethod
    def draw(cls, count: int, rng: np.random.Generator) -> _Scenes:
        def uniform(low: float, high: float) -> Floats:
            return rng.uniform(low, high, count).astype(np.float32)

        def signed(low: float, high: float) -> Floats:
            return uniform(low, high) * np.where(rng.random(count) < 0.5, np.float32(-1), np.float32(1))

        return cls(
            centre_x=uniform(0.36, 0.64),
            centre_y=uniform(0.36, 0.64),
            radius=uniform(0.24, 0.4),
            angle=uniform(-0.6, 0.6),
            softness=uniform(1.0, 2.0),
            contrast=np.stack([signed(0.12, 0.4), signed(0.0, 0.12), signed(0.0, 0.06)], axis=1),
            texture=uniform(0.04, 0.1),
            mean=np.stack([uniform(0.3, 0.65), uniform(-0.08, 0.08), uniform(-0.03, 0.03)], axis=1),
            spread=uniform(0.05, 0.16),
            light=uniform(0.1, 0.5) * (rng.random(count) < 0.5),
            light_angle=uniform(-np.pi, np.pi),
        )

    def __getitem__(self, rows: slice) -> _Scenes:
        return _Scenes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def _background(count: int, size: int, rng: np.random.Generator) -> Floats:
    """Gaussian fields whose power falls as 1/f^2, seen through the lens.

    Returns (count, size, size, 3) float32 along the opponent axes, of mean 0 and variance 1 before the cut.
    """
    # Filtering in the frequency domain makes a field that wraps around; photographs do not, so half as much again is
    # made and cut off.
    torus = size * 3 // 2
    fx, fy = scipy.fft.rfftfreq(torus), scipy.fft.fftfreq(torus)
    frequency = np.hypot(fy[:, None], fx[None, :])
    frequency[0, 0] = np.inf  # the mean colour is drawn apart
    gain = np.exp(-2 * (np.pi * LENS_BLUR * frequency) ** 2) / frequency
    # Power over the full plane: the columns that rfft2 leaves out mirror those strictly inside.
    weight = np.where((fx == 0) | (fx == 0.5), 1.0, 2.0)
    gain /= np.sqrt((weight * gain**2).sum() / torus**2)
    white = rng.standard_normal((count, 3, torus, torus), dtype=np.float32)
    spectrum = scipy.fft.rfft2(white, axes=(2, 3)) * gain.astype(np.float32)
    field = scipy.fft.irfft2(spectrum, s=(torus, torus), axes=(2, 3))[:, :, :size, :size]
    return np.ascontiguousarray(np.moveaxis(field, 1, 3), dtype=np.float32)


def _objects(labels: Labels, scenes: _Scenes, grain: Floats) -> tuple[Floats, Floats]:
    """The shapes: how far each covers each pixel, 0..1, and its texture, about -1..1; both (N, H, W) float32."""
    size = grain.shape[1]
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    coverage, texture = np.empty_like(grain), np.empty_like(grain)
    for label, (outline, surface) in enumerate(CLASSES.values()):
        rows = np.flatnonzero(labels == label)
        # (n, 1, 1) against (1, 1, W) and (1, H, 1)
        dx = axis[None, None, :] - scenes.centre_x[rows, None, None]
        dy = axis[None, :, None] - scenes.centre_y[rows, None, None]
        cos, sin = np.cos(scenes.angle[rows, None, None]), np.sin(scenes.angle[rows, None, None])
        x, y = cos * dx + sin * dy, cos * dy - sin * dx
        radius = scenes.radius[rows, None, None]
        distance = outline(x / radius, y / radius) * radius * size  # in pixels
        coverage[rows] = np.clip(0.5 - distance / scenes.softness[rows, None, None], 0, 1)
        texture[rows] = surface(x, y, grain[rows])
    return coverage, texture


def _render(labels: Labels, scenes: _Scenes, field: Floats, grain: Floats, noise: Floats) -> NDArray[np.uint8]:
    """Labels (n,), `field` (n, H, W, 3), `grain` (n, H, W) and `noise` (n, H, W, 3) to images (n, H, W, 3) uint8."""

    def wide(values: Floats) -> Floats:  # (n,) or (n, 3) to (n, 1, 1, 1 or 3)
        return values.reshape(len(values), 1, 1, -1)

    size = grain.shape[1]
    coverage, texture = _objects(labels, scenes, grain)
    backdrop = wide(scenes.mean) + wide(scenes.spread) * OPPONENT_STD * field
    colour = scenes.mean + scenes.contrast
    colour[:, 0] = np.clip(colour[:, 0], 0.1, 0.9)  # a black or white surface would lose its texture
    # Some of the background shows through, as the unevenness of a real surface.
    surface = wide(colour) + 0.35 * (backdrop - wide(scenes.mean))
    surface[..., 0] += scenes.texture[:, None, None] * texture
    opponent = backdrop + coverage[..., None] * (surface - backdrop)
    rgb = opponent @ OPPONENT_TO_RGB.T
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    slope_x = (scenes.light * np.cos(scenes.light_angle))[:, None, None]
    slope_y = (scenes.light * np.sin(scenes.light_angle))[:, None, None]
    rgb *= (1 + slope_x * axis[None, None, :] + slope_y * axis[None, :, None])[..., None]
    rgb += 0.008 * noise
    images: NDArray[np.uint8] = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return images


def draw(count: int, image_size: int = 32, *, rng: np.random.Generator) -> RawImages:
    """Draw a class-balanced, shuffled set of colour images.

    - `count`: how many, at least 1. The classes' counts differ by at most one.
    - `image_size`: the side in pixels, a multiple of 8 up to 256. Lens blur, outline width, grain and noise are
      measured in pixels; everything else scales with the side.
    - `rng`: the only source of randomness; its state decides every byte, and it is advanced by a fixed amount plus the
      shuffle of the labels.

    Returns `images` (count, image_size, image_size, 3) uint8 in RGB order and `labels` (count,) int64. Rendering goes
    in chunks to bound memory. The chunk size does not enter the result: scenes are drawn for the whole set, and each
    random field has a generator of its own that is read image after image. A shorter set is not the beginning of a
    longer one.
    """
    if count < 1:
        raise PrivpipeError(
            f"the number of synthetic images must be at least 1; got {count}. Raise data.n_train or data.n_val."
        )
    if image_size % SIZE_STEP or not SIZE_STEP <= image_size <= LARGEST_SIZE:
        raise PrivpipeError(
            f"data.image_size must be a multiple of {SIZE_STEP} from {SIZE_STEP} to {LARGEST_SIZE} for the synthetic"
            f" source; got {image_size}. Use 32, for example."
        )
    seeds: NDArray[np.int64] = rng.integers(0, 2**63, size=(4, 4))
    scene_rng, field_rng, grain_rng, noise_rng = (np.random.default_rng(seed) for seed in seeds)
    labels: Labels = rng.permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
    scenes = _Scenes.draw(count, scene_rng)
    images = np.empty((count, image_size, image_size, 3), dtype=np.uint8)
    step = max(1, CHUNK_PIXELS // image_size**2)
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        n = rows.stop - rows.start
        field = _background(n, image_size, field_rng)
        grain = grain_rng.standard_normal((n, image_size, image_size), dtype=np.float32)
        noise = noise_rng.standard_normal((n, image_size, image_size, 3), dtype=np.float32)
        images[rows] = _render(labels[rows], scenes[rows], field, grain, noise)
    return RawImages(images=images, labels=labels, class_names=tuple(CLASSES))
