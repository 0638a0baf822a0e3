"""What `benchmarks.against` times: the same public calls of any build of privpipe.

Run by it as a script, with the build first on the path: reads names of cases from standard input, a line each, and
answers each with the seconds of one call per item, by the clock on the wall and of CPU, and with the number that the
call returned where it returned one (its quality). So it imports nothing of `benchmarks`, and calls only what the builds
that are compared have in common.
"""

import atexit
import importlib
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Call = Callable[[], object]
SIGMA = 25.0
THREADS, STOLEN = 2, 44_000  # of attacks
RESTORED = 1000  # images in a call, each with a key of its own: what they share takes half a second
NETWORK_EPOCHS = 3  # of the restoration network
TRAINED = 2048  # images of an epoch
WORKERS, MODELS = 2, 8  # of a sweep
# Images of 32x32 and of 224x224 in a call: as many as the pipeline takes at a time, or a fraction of it.
SIZES = ((32, 2000), (224, 40))
# method, k, scope
PERTURBATIONS = (
    ("gaussian_blur", 5, "dataset"),
    ("pixelate", 4, "dataset"),
    *(("random_filter", k, "image") for k in (3, 5)),
    ("random_filter", 5, "dataset"),
    *(("block_scramble", k, scope) for k in (4, 8) for scope in ("dataset", "image")),
    *(("block_mix", k, "image") for k in (2, 4)),
    ("block_mix", 4, "dataset"),
    *((name, 3, scope) for name in ("gaussian_noise", "correlated_noise") for scope in ("dataset", "image")),
)


def of_build(*names: str) -> Any:
    """The first of these modules that the build has: some were called otherwise in earlier ones.

    An installed privpipe may be on the path of an earlier build as well, behind it.
    """
    import privpipe

    folder = Path(next(iter(privpipe.__path__)))
    name = next(name for name in names if (folder / f"{name.replace('.', '/')}.py").exists())
    return importlib.import_module(f"privpipe.{name}")


def perturbation() -> dict[str, tuple[int, Call]]:
    """Every method on drawn images in memory."""
    import numpy as np

    from privpipe.owner.key import new_key

    methods = importlib.import_module("privpipe.perturb").METHODS
    cases: dict[str, tuple[int, Call]] = {}
    for size, count in SIZES:
        images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
        for name, k, scope in PERTURBATIONS:
            legal = methods[name].legal_k(size)
            if legal is None or k in legal:
                method = methods[name](size, k, scope, SIGMA, new_key(0).stream)
                label = f"{name}{'' if legal is None else f' k={k}'}, scope {scope}, {size}x{size}"
                cases[label] = (count, partial(method.apply, images))
    return cases


def attack() -> dict[str, tuple[int, Call]]:
    """What the stages `attack` and `score` do in the default experiment, without their files; an item is an image."""
    import numpy as np
    import torch

    base, registry = (of_build(f"attacks.{name}", f"attacker.{name}") for name in ("base", "registry"))
    scoring = of_build("scores.scoring", "report.scoring")
    suite = of_build("attacks.suite", "attacker.campaign")
    run = getattr(suite, "suite", None) or suite.campaign
    view_of = getattr(base, "AdversaryView", None) or base.Loot
    key = of_build("owner.key")
    methods = importlib.import_module("privpipe.perturb").METHODS

    torch.set_num_threads(THREADS)
    drawn = of_build("data.synthetic", "owner.synthetic").draw(10_000, 32, rng=np.random.default_rng(0))
    public, originals, labels, others = drawn.images[:5000], drawn.images[5000:6000], drawn.labels[5000:6000], 4000
    method = methods["block_scramble"](32, 4, "dataset", 0.0, key.new_key(0).stream)
    private = np.concatenate([drawn.images[-others:]] * (STOLEN // others))
    stolen, targets = method.apply(private), method.apply(originals)
    tools = registry.attacks(NETWORK_EPOCHS, 0, THREADS, "cpu")
    found: dict[str, Any] = {}

    def view() -> Any:
        pairs = base.Pairs(private[:1000], stolen[:1000])
        return view_of("block_scramble", 4, "dataset", 0.0, stolen, targets, public, pairs)

    def brightness(images: np.ndarray) -> np.ndarray:
        """In place of the reference classifier, which costs the same everywhere."""
        return np.asarray(images.mean(axis=(1, 2, 3)) // 26, np.int64)

    def attacked() -> None:
        found["records"] = run(view(), tools)

    def scored() -> None:
        if not found:
            attacked()
        scoring.judge(view(), found["records"], originals, labels, method, brightness)

    return {
        f"attack, {STOLEN:,} stolen images": (STOLEN, attacked),
        f"score, {len(originals):,} targets": (1000, scored),
    }


FILES, OF_ONE_KIND, DISTINCT, SIDE, READ_SIZE = 10_000, 400, 12, 256, 64  # SIDE: of the files; READ_SIZE: as wanted
# Kinds of files that builds without tifffile read rightly too: suffix, channels, dtype, and how they are written.
READ = {
    "PNG, colour": ("png", 3, "u1", {}),
    "PNG, grey": ("png", 1, "u1", {}),
    "PNG, grey of 16 bits": ("png", 1, "u2", {}),
    "JPEG, colour": ("jpg", 3, "u1", {}),
    "BMP, colour": ("bmp", 3, "u1", {}),
    "WebP, colour": ("webp", 3, "u1", {}),
    "TIFF, colour": ("tif", 3, "u1", {}),
    "TIFF, grey": ("tif", 1, "u1", {}),
    "TIFF, colour, LZW": ("tif", 3, "u1", {"compression": "lzw"}),
    "TIFF, grey, deflate": ("tif", 1, "u1", {"compression": "zlib"}),
    "TIFF, grey of 16 bits": ("tif", 1, "u2", {}),
    "TIFF, grey of 16 bits, LZW": ("tif", 1, "u2", {"compression": "lzw"}),
}


def reading() -> dict[str, tuple[int, Call]]:
    """A folder of image files to one HDF5 file, as the stage `download` does it; an item is an image."""
    import os
    import tempfile

    import numpy as np

    try:  # where it was
        from privpipe.owner.folder import scan, write_folder
    except ImportError:
        from privpipe.data.folder import scan
        from privpipe.data.folder_file import write_folder

    place = tempfile.TemporaryDirectory(prefix="reading-")
    atexit.register(place.cleanup)
    root, rng = Path(place.name), np.random.default_rng(0)
    for kind, (suffix, channels, dtype, settings) in READ.items():
        for i in range(DISTINCT):
            write_file(root / f"{kind}-{i}.{suffix}", textured(rng, channels, dtype), settings)

    def read(folder: Path) -> None:
        index = scan(folder)
        write_folder(root / "images.h5", index, {"train": np.arange(len(index.paths))}, READ_SIZE)

    cases: dict[str, tuple[int, Call]] = {}
    for name, kinds, count in (*((kind, [kind], OF_ONE_KIND) for kind in READ), ("all kinds mixed", [*READ], FILES)):
        folder = root / name
        for i in range(count):
            kind = kinds[i % len(kinds)]
            original = root / f"{kind}-{i // len(kinds) % DISTINCT}.{READ[kind][0]}"
            target = folder / f"class{i % 2}" / f"{i:05}{original.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(original, target)
        cases[f"{name}, {count:,} files of {SIDE}x{SIDE}"] = (count, partial(read, folder))
    return cases


def textured(rng: "np.random.Generator", channels: int, dtype: str) -> "np.ndarray":
    """A slope with noise, (SIDE, SIDE) or (SIDE, SIDE, 3), over most of the range of its type."""
    import numpy as np

    slope = np.linspace(30, 200, SIDE)[:, None, None] + rng.normal(0, 8, (SIDE, SIDE, channels)) + rng.uniform(0, 20)
    values = (slope.clip(0, 255) * (257 if dtype == "u2" else 1)).astype(dtype)
    return values if channels == 3 else values[..., 0]


def write_file(path: Path, values: "np.ndarray", settings: dict[str, str]) -> None:
    import tifffile
    from PIL import Image

    if path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="rgb" if values.ndim == 3 else "minisblack", **settings)
    else:
        Image.fromarray(values).save(path)


def restoration() -> dict[str, tuple[int, Call]]:
    """Level L3: images restored with the key of each, of drawn images; the quality is the mean PSNR in dB."""
    import cv2
    import numpy as np

    import privpipe
    from privpipe.perturb import METHODS

    # Builds up to 3e582ee have the attacks and the drawn images elsewhere, and their `restore` takes a method's name.
    old = (Path(next(iter(privpipe.__path__))) / "attacker").is_dir()
    tools = of_build("attacks.restoration", "attacker.restoration")
    draw = of_build("data.synthetic", "owner.synthetic").draw
    images = draw(1000 + RESTORED, 32, rng=np.random.default_rng(0)).images
    originals, prior = images[:RESTORED], tools.Prior.of(images[RESTORED:])
    cases: dict[str, tuple[int, Call]] = {}
    for k in (3, 5, 7):
        # Filtered here, so that both builds restore the same bytes.
        method, keys = METHODS["random_filter"](32, k, "image"), np.random.default_rng(k).normal(size=(RESTORED, k, k))
        filtered = [
            cv2.filter2D(image.astype(np.float32), cv2.CV_32F, key / 255)
            for image, key in zip(originals, keys, strict=True)
        ]
        perturbed = np.array(filtered, np.float16)

        def call(method=method, perturbed=perturbed, keys=keys, k=k) -> float:
            given = (method.name, k, keys, 0.0, prior) if old else (method, keys, prior)
            errors = np.square(tools.restore(perturbed, *given) - originals.astype(np.float64))
            return float((10 * np.log10(255**2 / errors.mean(axis=(1, 2, 3)))).mean())

        cases[f"random_filter k={k}, scope image, 32x32"] = (RESTORED, call)
    return cases


LINKED = 1000  # targets, each told among as many candidates
LINKED_SIGMA = 1000.0  # of noise that leaves something to tell
# method, k, scope
LINKAGES = (
    ("none", 1, "dataset"),
    ("gaussian_blur", 5, "dataset"),
    ("pixelate", 4, "dataset"),
    *(("block_scramble", k, scope) for k in (4, 8) for scope in ("dataset", "image")),
    *(("block_mix", k, scope) for k in (4, 8) for scope in ("dataset", "image")),
    *(("random_filter", k, scope) for k in (3, 5, 7) for scope in ("dataset", "image")),
    *((name, 5, scope) for name in ("gaussian_noise", "correlated_noise") for scope in ("dataset", "image")),
)


def linkage() -> dict[str, tuple[int, Call]]:
    """Drawn images told among candidates by what the method alone gives away; an item is a target with a candidate.

    The quality is the mean rank of the right candidate, 1 where it is always the likeliest; ties count in half.
    """
    import cv2
    import numpy as np
    import torch  # as in the stage `score`: where it is not there already, it is imported for much work alone

    from privpipe.perturb import METHODS

    assert torch.get_num_threads()

    # Builds up to 3e582ee have it elsewhere, and take a method's name and settings.
    tools = of_build("attacks.linkage", "attacker.matching")
    old = tools.__name__.endswith("matching")
    gallery = of_build("data.synthetic", "owner.synthetic").draw(LINKED, 32, rng=np.random.default_rng(0)).images
    cases: dict[str, tuple[int, Call]] = {}
    for name, k, scope in LINKAGES:
        sigma = LINKED_SIGMA if "noise" in name else 0.0
        given = (name, k, scope, sigma) if old else (METHODS[name](32, k, scope, sigma),)
        targets = uploads(name, k, scope, sigma, gallery)
        try:
            similarity = tools.method_similarity(targets, gallery, *given)
        except cv2.error:  # gaussian_blur of builds up to 3e582ee with OpenCV 5: they lack the case
            continue
        right = np.diagonal(similarity)[:, None]
        above, level = (similarity > right).sum(axis=1), (similarity == right).sum(axis=1)
        rank = float((above + (level + 1) / 2).mean())

        def call(targets=targets, given=given, rank=rank) -> float:
            tools.method_similarity(targets, gallery, *given)
            return rank

        cases[f"{name} k={k}, scope {scope}"] = (LINKED**2, call)
    return cases


def uploads(name: str, k: int, scope: str, sigma: float, images: "np.ndarray") -> "np.ndarray":
    """Images (n, H, W, C) perturbed here and not by a build, so that both builds are asked for the same bytes."""
    import cv2
    import numpy as np

    rng, (n, size, _, channels) = np.random.default_rng(k), images.shape
    keys, radius = n if scope == "image" else 1, 0.3 * ((k - 1) / 2 - 1) + 0.8
    if name in ("none", "gaussian_blur"):
        return images if name == "none" else np.array([cv2.GaussianBlur(i, (k, k), radius) for i in images])
    if sigma:
        fields = rng.normal(0, sigma, (keys, *images.shape[1:]))
        if name == "correlated_noise":
            weights = cv2.getGaussianKernel(k, radius)
            fields = np.array([cv2.sepFilter2D(i, -1, weights, weights) for i in fields]) / (weights**2).sum()
        return ((images + fields) / 255).astype(np.float16)
    if name == "random_filter":
        kernels = np.broadcast_to(rng.normal(size=(keys, k, k)), (n, k, k)) / 255
        filtered = [cv2.filter2D(i, cv2.CV_32F, w) for i, w in zip(images.astype(np.float32), kernels, strict=True)]
        return np.array(filtered, np.float16)
    grid = (size // k, size // k)
    blocks = images.reshape(n, grid[0], k, grid[1], k, channels).swapaxes(2, 3).reshape(n, -1, k * k, channels)
    if name == "pixelate":
        out = np.repeat(blocks.mean(axis=2, keepdims=True).round().astype(np.uint8), k * k, axis=2)
    elif name == "block_scramble":
        order = rng.permuted(np.broadcast_to(np.arange(k * k), (keys, blocks.shape[1], k * k)), axis=2)
        out = np.take_along_axis(blocks, order[..., None], axis=2)
    else:
        mixing = rng.normal(size=(keys, blocks.shape[1], k * k, k * k)) / k
        out = (mixing @ (blocks / 255)).astype(np.float16)
    return out.reshape(n, *grid, k, k, channels).swapaxes(2, 3).reshape(images.shape)


def new_set() -> Any:
    """What the trainings learn from: drawn noise, since time is all that is wanted of them."""
    import numpy as np
    import torch

    draws = np.random.default_rng(0)
    images = torch.from_numpy(draws.integers(0, 256, (TRAINED, 32, 32, 3), np.uint8))
    return images, torch.from_numpy(draws.integers(0, 10, TRAINED))


def epoch(arch: str, precision: str, seed: int = 0) -> None:
    """One epoch of a new model in batches of 64 with one thread, and the evaluation of a batch at its end."""
    import torch

    data, device, engine, inference, models, training_ = (
        of_build(f"nn.{name}", f"cloud.{name}")
        for name in ("data", "device", "engine", "inference", "models", "training")
    )
    images, labels = new_set()
    model = models.build(models.Architecture(arch, 32, 3, 10, 4), torch.Generator().manual_seed(seed))
    recipe = engine.Recipe(1, 64, 0.001, 0.001, seed, lr_decay=0.8, precision=precision)
    held_out = data.Resident(images[:64], labels[:64])
    with device.deterministic(1):
        normalise = inference.measure(images)
        training_.train(model, normalise, data.Resident(images, labels), held_out, recipe, progress=False)


def training() -> dict[str, tuple[int, Call]]:
    """Epochs with one thread; an item is an image."""
    return {
        f"{arch}, {precision}": (TRAINED, partial(epoch, arch, precision))
        for precision in ("bfloat16", "float32")
        for arch in ("baseline", "three_layer", "descrambler")
    }


def sweep() -> dict[str, tuple[int, Call]]:
    """Models by two processes of one thread, which stay; an item is an image of a model."""
    stack = ExitStack()
    executors = of_build("pipeline.executors", "study.executors")
    pool, _ = stack.enter_context(executors.open_executor("processes", WORKERS, "cpu", 1))

    def all_at_once() -> None:
        for future in [pool.submit(epoch, "baseline", "auto", seed) for seed in range(MODELS)]:
            future.result()

    atexit.register(stack.close)
    return {f"{MODELS} models, precision auto": (MODELS * TRAINED, all_at_once)}


# For each topic: the cases by name, each with the number of items that a call handles.
TOPICS: dict[str, Callable[[], dict[str, tuple[int, Call]]]] = {
    "perturbation": perturbation,
    "attack": attack,
    "reading": reading,
    "restoration": restoration,
    "linkage": linkage,
    "training": training,
    "sweep": sweep,
}


def serve(topic: str, build: str) -> None:
    """Answer on standard output, as the module's description says."""
    import privpipe

    origin = Path(next(iter(privpipe.__path__))).resolve()
    if not origin.is_relative_to(Path(build).resolve()):
        raise SystemExit(f"privpipe comes from {origin}, not from {build}")
    cases = TOPICS[topic]()
    print(*cases, sep="\t", flush=True)
    for line in sys.stdin:
        count, call = cases[line.rstrip("\n")]
        cpu, wall = time.process_time(), time.perf_counter()
        value = call()
        seconds = (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count
        print(*seconds, *([value] if isinstance(value, float) else []), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
