"""Images in, perturbed images out, in one call."""

from privpipe.errors import PrivpipeError
from privpipe.perturb import KeyStream, Perturbation, perturbation_called
from privpipe.perturb.base import Array, Images
from privpipe.perturb.settings import Settings

SCOPES = ("dataset", "image")


def perturb(
    images: Images,
    method: str,
    *,
    k: int | None = None,
    scope: str = "dataset",
    sigma: float = 0.0,
    key: bytes | KeyStream | None = None,
    **settings: float,
) -> Array:
    """Perturb images: `privpipe.perturb(images, "block_scramble", k=4, key=secrets.token_bytes(32))`.

    Args:
        images: uint8 (N, H, W, C), or one image (H, W, C); H = W.
        method: one of `privpipe.perturb.PERTURBATIONS`.
        k: filter size (odd) or block size (divides H); leave it out where the method has none.
        scope: `dataset`, one key for all images, or `image`, key material of its own for each.
        sigma: noise strength in grey levels of 0..255, for the methods that add noise.
        key: 32 secret bytes; leave it out for methods without a key.
        settings: those that the method has of its own, by name; see `METHODS[method].own_settings()`.

    Returns:
        The same shape, uint8 in 0..255 where the method is `exact`, else float16 in units where black is 0 and white 1;
        of a method of `features`, (N, h, w, c) or (h, w, c) as its `output_shape` says.

    Raises:
        PrivpipeError: there is no such method or these settings are impossible, the images are not as described, or the
            key is missing or no 32 bytes.
    """
    single = images.ndim == 3
    batch = images[None] if single else images
    if images.dtype != "uint8" or batch.ndim != 4 or batch.shape[1] != batch.shape[2]:
        raise PrivpipeError(
            f"images must be uint8 (N, H, W, C) or (H, W, C), square; got {images.dtype} {images.shape}. Crop or "
            "convert them."
        )
    made = prepared(method, batch.shape[1], k, scope, sigma, key, settings)
    perturbed = made.apply(batch)
    return perturbed[0] if single else perturbed


def prepared(
    method: str,
    image_size: int,
    k: int | None,
    scope: str,
    sigma: float,
    key: bytes | KeyStream | None,
    settings: Settings,
) -> Perturbation:
    """The transformation, its settings checked; `key` may be None even where one is needed to `apply` it.

    Raises:
        PrivpipeError: see `perturb`.
    """
    kind = perturbation_called(method)
    if scope not in SCOPES:
        raise PrivpipeError(f"scope must be one of {', '.join(SCOPES)}; got {scope!r}.")
    legal = kind.legal_k(image_size)
    if k is None and legal is not None:
        raise PrivpipeError(f"{method} needs k; got none. Use one of {', '.join(map(str, legal))}.")
    problems = kind.setting_problems(image_size, k or 1, sigma, settings)
    if problems:
        raise PrivpipeError("\n".join(problems))
    stream = KeyStream(key) if isinstance(key, bytes) else key
    return kind(image_size, k or 1, scope, sigma, stream, **settings)
