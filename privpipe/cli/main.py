"""The command line for people with images: `privpipe --help`. Each command is one call into the library.

Imports that take long stand inside the commands, so that help and completion are instant.
"""

import logging
from pathlib import Path

import click

from privpipe import __version__
from privpipe.cli.benchmark import challenge, evaluate, leaderboard
from privpipe.cli.console import FILE, Commands, exit_with, key_reader, printable, readable_option, warn
from privpipe.cli.keys import key
from privpipe.cli.projects import doctor, init
from privpipe.errors import PrivpipeError

images_argument = click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Tab completion: put  eval "$(_PRIVPIPE_COMPLETE=bash_source privpipe)"  into ~/.bashrc (zsh: zsh_source).',
)
@click.version_option(__version__)
def main() -> None:
    """Perturb images with a key, see what an adversary of the result would see, and classify images with a model
    that was trained on perturbed ones.

    The models are trained by a DVC pipeline, which `privpipe init` sets up; the other commands are for your own images.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)


main.add_command(key)
main.add_command(init)
main.add_command(doctor)
main.add_command(evaluate)
main.add_command(leaderboard)
main.add_command(challenge)


@main.command()
@images_argument
@click.option("--key", "key_path", type=FILE, help="Your key; needed unless the method has none (gaussian_blur).")
@click.option("--params", "params_path", type=FILE, default="params.yaml", show_default=True, help="What to do.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results, or one file (x.png)."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["png", "npy", "h5"]),
    default="png",
    show_default=True,
    help="npy: an array of each image, without loss; h5: all images in one file.",
)
@click.option("--force", is_flag=True, help="Overwrite results that exist.")
@click.option(
    "--like",
    type=FILE,
    default="data/perturbed.h5",
    show_default=True,
    help="data.range set: the perturbed file whose black and white are meant.",
)
@readable_option
def perturb(
    images: tuple[Path, ...],
    key_path: Path | None,
    params_path: Path,
    like: Path,
    out: Path,
    form: str,
    force: bool,
    allow_readable_key: bool,
) -> None:
    """Perturb images, or all images in folders, as a parameter file says, and write a PNG of each.

    Images are cropped to a square and scaled to data.image_size first. The PNG of block_scramble, gaussian_blur and
    none holds the exact values; filters and noise leave the range of an image, so theirs is stretched for display.
    With --format npy each is an array (H, W, C) with the exact values of any method, uint8 or float16. With --format h5
    all are rows of one file, in the order given (folders by path), and a table of the same name in .csv says which file
    is which row: it stays with you, and is not written where git would take it.
    Images that cannot be read are named at the end, the others are written all the same, but for h5.

    \b
    Examples:
      privpipe perturb --key key.json --out out/look.png cat.jpg
      privpipe perturb --key key.json --params params.yaml --out out/perturbed/ cat.jpg holiday/
      privpipe perturb --key key.json --format npy --out out/exact/ holiday/
    """
    from privpipe.cli.perturbed_files import exact_png, write_each, write_set
    from privpipe.cli.queries import expand, query_method, query_reading
    from privpipe.params import load_params
    from privpipe.perturb import perturbation_called

    params = load_params(params_path)
    settings = params.perturb
    key = key_reader(key_path, allow_readable_key)() if perturbation_called(settings.method).keyed else None
    size, sigma = params.data.image_size, settings.sigma
    method = query_method(settings.method, settings.k, settings.scope, sigma, size, lambda: key, settings.own)
    queries, problems = expand(images, outside=out)
    if method.name == "none":
        warn("perturb.method is none: the results are the images themselves. Do not send them.")
    reading = query_reading(params.data.reading, like)
    if form == "h5":
        written = write_set(queries, method, reading, key.fingerprint if key else "", out, force)
    else:
        written = write_each(queries, method, reading, out, form, force, problems.append)
    if written and form == "png" and not exact_png(method, reading.count):
        what = f"{method.name} gives floats" if not method.exact else f"images have {reading.count} channels"
        click.echo(f"{what}: the PNGs are stretched for display, not exact. --format npy is.", err=True)
    click.echo(f"{written} image{'s' * (written != 1)} written to {out}")
    exit_with(problems)


@main.command()
@click.argument("perturbed", type=FILE)
@click.option("--sheet", type=FILE, help="Draw the first training images to this PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(perturbed: Path, sheet: Path | None, as_json: bool) -> None:
    """Show what an adversary of a perturbed file would see: how it was made, its classes and counts, and its images.

    No key and no parameters are needed. It also says whether the perturbation is known to fall without the key.
    Images that leave the usual range are stretched, each for itself.

    \b
    Examples:
      privpipe inspect data/perturbed.h5 --sheet out/sheet.png
      privpipe inspect data/perturbed.h5 --json
    """
    import json

    from privpipe.cli.inspection import as_text, inspect_file

    seen = inspect_file(perturbed, sheet)
    click.echo(json.dumps(seen, indent=2) if as_json else as_text(seen))


@main.command()
@click.argument("files", nargs=-1, required=True, type=FILE)
def verify(files: tuple[Path, ...]) -> None:
    """Compare every byte of HDF5 and model files with the checksums in them; the exit code is 1 if one differs.

    Every other command and stage does so for what it reads. The checksums notice accidents; they are no signature.

    \b
    Examples:
      privpipe verify data/perturbed.h5 models/model.safetensors
    """
    from privpipe.cli.verification import verify_file

    problems = []
    for path in files:
        try:
            click.echo(printable(f"{path}: ok, {verify_file(path)}"))
        except PrivpipeError as error:
            problems.append(str(error))
    exit_with(problems)


@main.command()
@images_argument
@click.option("--model", type=FILE, default="models/model.safetensors", show_default=True, help="The trained model.")
@click.option("--key", "key_path", type=FILE, help="The key of the training set, unless its method has none.")
@click.option("--perturbed", is_flag=True, help="The images are perturbed already, by `privpipe perturb`.")
@click.option("--top", type=click.IntRange(1), default=1, show_default=True, help="How many classes to show.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@readable_option
def predict(
    images: tuple[Path, ...],
    model: Path,
    key_path: Path | None,
    perturbed: bool,
    top: int,
    form: str | None,
    allow_readable_key: bool,
) -> None:
    """Classify images, or all images in folders, with a model that was trained on perturbed ones.

    Each image is cropped, scaled and perturbed as the training set was; nothing leaves this machine. Files that
    cannot be read are named at the end, the others are classified all the same, and the exit code is 1. A wrong key
    gives wrong classes without a sign, so the key is compared with the fingerprint in the model file. With --perturbed
    the images are PNG, NPY or HDF5 files that `privpipe perturb` wrote, and no key is needed. Images that are unlike
    those of the training set in level, contrast or smoothness are warned of.

    \b
    Examples:
      privpipe predict --key data/private/key.json cat.jpg holiday/
      privpipe predict --model models/model.safetensors --key key.json --top 3 cat.jpg
      privpipe predict --key key.json --csv holiday/ > out/classes.csv
      privpipe predict --perturbed out/queries/
    """
    from privpipe.cli import prediction
    from privpipe.cli.queries import expand

    problems: list[str] = []
    if perturbed:
        from privpipe.nn.bundle import load_bundle

        bundle = load_bundle(model)
        top = min(top, len(bundle.class_names))
        predictions = prediction.classify_perturbed(images, bundle, top, problems.append)
    else:
        classifier = prediction.load_classifier(model, key_reader(key_path, allow_readable_key))
        queries, problems = expand(images)
        top = min(top, len(classifier.bundle.class_names))
        predictions = prediction.classify(queries, classifier, top, problems.append)
    match form:
        case "json":
            click.echo(prediction.as_json(predictions))
        case "csv":
            click.echo(prediction.as_csv(predictions, top))
        case _ if predictions:
            click.echo(prediction.as_table(predictions))
    if unlike := prediction.warnings_of(predictions):
        warn(unlike)
    exit_with(problems)


@main.command()
@click.option("--model", type=FILE, default="models/model.safetensors", show_default=True, help="The trained model.")
@click.option("--out", required=True, type=FILE, help="The ONNX file to write; an existing one is replaced.")
def export(model: Path, out: Path) -> None:
    """Export a trained model as ONNX, for other programs.

    Its input `images` is float32 (N, H, W, C): perturbed images as they are stored, 0 to 255 for uint8. Its output
    `probabilities` is float32 (N, classes). Its metadata say how inputs are made and what they are like;
    docs/serving.md lists them and has a program that serves the model. The result is compared with the original before
    it is written. It needs the extra `onnx` (`pip install 'privpipe[onnx]'`).

    \b
    Examples:
      privpipe export --model models/model.safetensors --out out/model.onnx
    """
    from privpipe.nn.export import export_file

    difference = export_file(model, out)
    click.echo(f"{out}: agrees with {model} (greatest difference of a probability: {difference:.1e})")
