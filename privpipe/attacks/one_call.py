"""Every attack that applies to perturbed images, in one call."""

from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.records import Record
from privpipe.attacks.registry import attacks
from privpipe.attacks.suite import applicable, run, situations
from privpipe.errors import PrivpipeError
from privpipe.perturb import perturbation_called
from privpipe.perturb.base import Array, Images
from privpipe.perturb.one_call import prepared

TARGETS = 100


def attack(
    perturbed: Array,
    method: str,
    *,
    k: int | None = None,
    scope: str = "dataset",
    sigma: float = 0.0,
    targets: Array | None = None,
    public: Images | None = None,
    pairs: tuple[Images, Array] | None = None,
    network_epochs: int = 0,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    **settings: float,
) -> list[Record]:
    """Attack perturbed images: `privpipe.attack(perturbed, "block_scramble", k=4, public=public)`.

    Each attack that applies runs once at each level of knowledge that it makes use of: L0, the perturbed images and the
    method alone; L1, public images as well; L2, known pairs as well. The method and its settings are public
    (Kerckhoffs's principle), its key is not known.

    Args:
        perturbed: to learn from, as `privpipe.perturb` returns them: uint8 or float16 (N, H, W, C).
        method, k, scope, sigma, settings: as given to `privpipe.perturb`.
        targets: perturbed images whose originals are wanted, (T, H, W, C); None: the first 100 of `perturbed`.
        public: unperturbed images of the same kind, uint8 (M, H, W, C).
        pairs: originals, uint8 (m, H, W, C), and what became of them, as stored.
        network_epochs: passes of the restoration network over the public images; 0: it is left out.
        seed: of the adversary's own keys and starting points.
        threads, device: of the restoration network.

    Returns:
        One record for each run, in the order of the levels: `images` float32 (T, H, W, C) in grey levels of 0..255,
        `confidence` 0..1, `key` in the form of `Perturbation.dataset_key`, each None where there is none, and
        `problem`, why an attack could not be run.

    Raises:
        PrivpipeError: there is no such method or these settings are impossible, or the arrays do not fit each other.
    """
    originals = public if pairs is None else pairs[0]
    features = perturbation_called(method).features
    if features and originals is None:
        raise PrivpipeError(
            f"{method} gives features, whose shape does not say that of the images; got neither public images nor "
            "pairs. Pass some."
        )
    known = originals if features else perturbed
    size = known.shape[1] if known is not None and known.ndim == 4 else 0
    transformation = prepared(method, size, k, scope, sigma, None, settings)
    view = AdversaryView(
        method,
        transformation.k,
        scope,
        sigma,
        perturbed,
        perturbed[:TARGETS] if targets is None else targets,
        public,
        None if pairs is None else Pairs(*pairs),
        transformation.settings,
        (size, size, known.shape[3]) if features and known is not None else None,
    )
    _check(view)
    chosen, refused = applicable(view, attacks(network_epochs, seed, threads, device))
    held_at = {level: held for level, held in situations(view)}  # of L2 the last: with all pairs
    return refused + [
        run(one, level, held)
        for level, held in held_at.items()
        for one in chosen
        if level in one.levels and (level != "L2" or one.learns_from_pairs(held))
    ]


def _check(view: AdversaryView) -> None:
    """Raises PrivpipeError where the arrays do not fit each other."""
    method, shape = view.transformation, view.stolen.shape
    image = shape[1:] if view.image_shape is None else view.image_shape
    given = {"perturbed": view.stolen, "targets": view.targets}
    pairs = view.pairs
    if pairs is not None:
        given["the second of pairs"] = pairs.perturbed
    for name, images in given.items():
        if images.dtype != method.dtype or images.ndim != 4 or images.shape[1:] != shape[1:] or shape[1] != shape[2]:
            raise PrivpipeError(
                f"{name} must be {method.dtype} (N, H, W, C), square and of one size, as {method.name} gives them; got "
                f"{images.dtype} {images.shape}. Pass what privpipe.perturb returned."
            )
    for name, originals in (
        ("public", view.public),
        ("the first of pairs", None if pairs is None else pairs.originals),
    ):
        if originals is not None and (originals.dtype != "uint8" or originals.shape[1:] != image):
            raise PrivpipeError(
                f"{name} must be uint8 (M, {', '.join(map(str, image))}); got {originals.dtype} {originals.shape}. "
                "Convert or resize them."
            )
