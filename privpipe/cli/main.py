"""The command line for people with images: `privpipe --help`. Each command is one call into the library.

Imports that take long stand inside the commands, so that help and completion are instant.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privpipe import __version__
from privpipe.errors import PrivpipeError

if TYPE_CHECKING:
    from privpipe.owner.key import Key

FILE = click.Path(dir_okay=False, path_type=Path)
REFERENCE = Path("data/private/key.json")
images_argument = click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
readable_option = click.option(
    "--allow-readable-key", is_flag=True, help="Read a key file that others on this machine can read too."
)


class Commands(click.Group):
    """A group that shows our own errors without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PrivpipeError as error:
            raise click.ClickException(str(error)) from error


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Tab completion: put  eval "$(_PRIVPIPE_COMPLETE=bash_source privpipe)"  into ~/.bashrc (zsh: zsh_source).',
)
@click.version_option(__version__)
def main() -> None:
    """Perturb images with a key, see what an adversary of the result would see, and classify images with a model
    that was trained on perturbed ones.

    The models are trained by the pipeline (`dvc repro`); these commands are for your own images.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)


@main.group()
def key() -> None:
    """Make a secret key, show what can be told of one, and keep copies of those that the pipeline made.

    The pipeline's real keys lie in the key home: $PRIVPIPE_KEYS, else ~/.local/share/privpipe/keys. Back it up.
    """


@key.command("new")
@click.argument("path", type=FILE)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Make the research key of this number instead.")
def key_new(path: Path, seed: int | None) -> None:
    """Make a new key from the operating system's randomness, in a file that only you can read (mode 0600).

    An existing file is never overwritten. Keep a copy in a safe place: without the key no image can be perturbed
    as your training set was. With --seed it is a research key, which anybody can make again: it protects nothing.

    \b
    Examples:
      privpipe key new key.json
      privpipe key new research.json --seed 0
    """
    from privpipe.owner.keyring import create_key

    made = create_key(path, seed)
    click.echo(f"{path}: {kind_of(made)}, fingerprint {made.fingerprint}")
    warn_of_research_key(made)


@key.command("show")
@click.argument("path", type=FILE)
@readable_option
def key_show(path: Path, allow_readable_key: bool) -> None:
    """Show the fingerprint of a key, whether it is a real or a research key, and how key material is derived from it.

    The fingerprint tells keys apart and may be known to anybody. The secret itself is never shown.

    \b
    Examples:
      privpipe key show data/private/key.json
    """
    from privpipe.owner.keyring import read_guarded_key
    from privpipe.perturb.keystream import DERIVATION

    found = read_guarded_key(path, allow_readable_key)
    click.echo(f"fingerprint: {found.fingerprint}\nkind:        {kind_of(found)}\nderivation:  {DERIVATION}")
    warn_of_research_key(found)


@key.command("list")
def key_list() -> None:
    """List the real keys in the key home, and which is this project's.

    \b
    Examples:
      privpipe key list
    """
    from privpipe.owner import keyhome

    found, mine = keyhome.keys(), keyhome.project().fingerprint()
    click.echo(f"{len(found)} in {keyhome.home()}")
    for one in found:
        click.echo(f"{one.fingerprint}{'  (this project)' * (one.fingerprint == mine)}")


@key.command("import")
@click.argument("path", type=FILE)
@readable_option
def key_import(path: Path, allow_readable_key: bool) -> None:
    """Copy a key file into the key home: a backup, or one from another machine. PATH stays as it is.

    \b
    Examples:
      privpipe key import /media/backup/key.json
    """
    from privpipe.owner.keyring import import_key

    found, target = import_key(path, allow_readable_key)
    click.echo(f"{target}: {kind_of(found)}, fingerprint {found.fingerprint}")


@key.command("export")
@click.argument("which", default=str(REFERENCE))
@click.option("--out", required=True, type=FILE, help="The new key file; an existing one is never overwritten.")
def key_export(which: str, out: Path) -> None:
    """Write a copy of a key with its secret, in a file that only you can read: a backup, or for another machine.

    WHICH is a fingerprint of `privpipe key list`, or a file (this project's data/private/key.json unless named).

    \b
    Examples:
      privpipe key export --out /media/backup/key.json
      privpipe key export 6ff2a7b31eb870b1 --out key.json
    """
    from privpipe.owner.keyring import export_key

    found = export_key(which, out)
    click.echo(f"{out}: {kind_of(found)}, fingerprint {found.fingerprint}")


@key.command("replace")
@click.option("--reference", type=FILE, default=REFERENCE, show_default=True, help="The pipeline's file.")
def key_replace(reference: Path) -> None:
    """Make a new real key for this project. The old one stays in the key home, for what was perturbed with it.

    Run it in the project's folder, with key.seed: null in params.yaml; `dvc repro` then perturbs again.

    \b
    Examples:
      privpipe key replace && dvc repro
    """
    from privpipe.owner.keygen import replace_key

    before, made = replace_key(reference)
    click.echo(f"{reference}: {kind_of(made)}, fingerprint {made.fingerprint}")
    if before is not None:
        click.echo(f"The key until now, {before}, stays in the key home.")
    click.echo("Run `dvc repro` before you queue experiments: they start from what dvc.lock says.")


@main.command()
@images_argument
@click.option("--key", "key_path", type=FILE, help="Your key; needed unless the method has none (gaussian_blur).")
@click.option("--params", "params_path", type=FILE, default="params.yaml", show_default=True, help="What to do.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the results, or x.png for one image."
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
    force: bool,
    allow_readable_key: bool,
) -> None:
    """Perturb images, or all images in folders, as a parameter file says, and write a PNG of each.

    Images are cropped to a square and scaled to data.image_size first. The PNG of block_scramble, gaussian_blur and
    none holds the exact values; filters and noise leave the range of an image, so theirs is stretched for display.
    Images that cannot be read are named at the end, the others are written all the same.

    \b
    Examples:
      privpipe perturb --key key.json --out out/look.png cat.jpg
      privpipe perturb --key key.json --params params.yaml --out out/perturbed/ cat.jpg holiday/
    """
    from privpipe.cli.png import write_queries
    from privpipe.cli.queries import expand, query_method, query_reading
    from privpipe.params import load_params

    params = load_params(params_path)
    how = params.perturb
    read = key_reader(key_path, allow_readable_key)
    method = query_method(how.method, how.k, how.scope, how.sigma, params.data.image_size, read)
    queries, problems = expand(images, outside=out)
    if method.name == "none":
        warn("perturb.method is none: the results are the images themselves. Do not send them.")
    written = write_queries(queries, method, query_reading(params.data.reading, like), out, force, problems.append)
    if written and not method.exact:
        click.echo(f"{method.name} gives floats: the PNGs are stretched for display, not exact.", err=True)
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
            click.echo(f"{path}: ok, {verify_file(path)}")
        except PrivpipeError as error:
            problems.append(str(error))
    exit_with(problems)


@main.command()
@images_argument
@click.option("--model", type=FILE, default="models/model.safetensors", show_default=True, help="The trained model.")
@click.option("--key", "key_path", type=FILE, help="The key of the training set, unless its method has none.")
@click.option("--top", type=click.IntRange(1), default=1, show_default=True, help="How many classes to show.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@readable_option
def predict(
    images: tuple[Path, ...],
    model: Path,
    key_path: Path | None,
    top: int,
    form: str | None,
    allow_readable_key: bool,
) -> None:
    """Classify images, or all images in folders, with a model that was trained on perturbed ones.

    Each image is cropped, scaled and perturbed as the training set was; nothing leaves this machine. Files that
    cannot be read are named at the end, the others are classified all the same, and the exit code is 1. A wrong key
    gives wrong classes without a sign, so the key is compared with the fingerprint in the model file.

    \b
    Examples:
      privpipe predict --key data/private/key.json cat.jpg holiday/
      privpipe predict --model models/model.safetensors --key key.json --top 3 cat.jpg
      privpipe predict --key key.json --csv holiday/ > out/classes.csv
    """
    from privpipe.cli import prediction
    from privpipe.cli.queries import expand

    classifier = prediction.load_classifier(model, key_reader(key_path, allow_readable_key))
    queries, problems = expand(images)
    top = min(top, len(classifier.bundle.class_names))
    found = prediction.classify(queries, classifier, top, problems.append)
    match form:
        case "json":
            click.echo(prediction.as_json(found))
        case "csv":
            click.echo(prediction.as_csv(found, top))
        case _ if found:
            click.echo(prediction.as_table(found))
    exit_with(problems)


@main.command()
@click.option("--model", type=FILE, default="models/model.safetensors", show_default=True, help="The trained model.")
@click.option("--out", required=True, type=FILE, help="The ONNX file to write; an existing one is replaced.")
def export(model: Path, out: Path) -> None:
    """Export a trained model as ONNX, for other programs.

    Its input `images` is float32 (N, H, W, C): perturbed images as they are stored, 0 to 255 for uint8. Its output
    `probabilities` is float32 (N, classes). Class names, method, k, scope, sigma and the fingerprint of the key are in
    its metadata. The result is compared with the original before it is written. It needs the packages onnx and
    onnxruntime.

    \b
    Examples:
      privpipe export --model models/model.safetensors --out out/model.onnx
    """
    try:
        from privpipe.nn.export import export_file
    except ImportError as error:
        raise PrivpipeError(
            f"the export needs the packages onnx and onnxruntime ({error}). Run `pip install onnx onnxruntime`."
        ) from error
    difference = export_file(model, out)
    click.echo(f"{out}: agrees with {model} (greatest difference of a probability: {difference:.1e})")


@main.command()
@click.option("--fix", is_flag=True, help="Do the remedy of each problem, where that is possible.")
@click.option(
    "--cache", is_flag=True, help="Also compare every file of DVC's cache with its checksum (reads all of it)."
)
def doctor(fix: bool, cache: bool) -> None:
    """Find, and with --fix repair, what killed runs left in the DVC project of the current folder.

    Empty locks, half a dvc.lock, half-written files, temporary folders with raw images, and folders of raw images
    that others can read. Nothing that cannot be made again is deleted: a secret key, a damaged file of the cache, is
    moved and the new place named. The exit code is 0 when nothing is left to do.

    \b
    Examples:
      privpipe doctor
      privpipe doctor --fix
      privpipe doctor --fix --cache
    """
    from privpipe.pipeline.doctor import examine
    from privpipe.pipeline.project import find_project

    project = find_project()
    if project is None:
        raise PrivpipeError("there is no DVC project here, nor in a folder above. Change to the folder of your clone.")
    found = left = 0
    for problem in examine(project, cache):
        found += 1
        click.echo(f"{problem.what}:\n  {problem.meaning}\n  remedy: {problem.remedy}")
        if fix and problem.fix is not None:
            try:
                problem.fix()
            except (OSError, PrivpipeError) as error:
                click.echo(f"  that failed: {error}")
            else:
                click.echo("  done")
                continue
        left += 1
    click.echo(f"{found} problem{'s' * (found != 1)} found in {project.root}, {found - left} repaired")
    if left:
        click.echo("Run `privpipe doctor --fix` to do what can be done." if not fix else "See the remedies above.")
        raise SystemExit(1)


def key_reader(path: Path | None, allow_readable: bool) -> "Callable[[], Key | None]":
    """A function that reads the key, once it turns out that one is needed."""

    def read() -> "Key | None":
        from privpipe.owner.keyring import read_guarded_key

        if path is None:
            return None
        found = read_guarded_key(path, allow_readable)
        warn_of_research_key(found)
        return found

    return read


def kind_of(found: "Key") -> str:
    return "research key" if found.research else "real key"


def warn_of_research_key(found: "Key") -> None:
    if found.research:
        warn("a research key protects nothing: anybody can make it again. `privpipe key new` makes a real one.")


def warn(message: str) -> None:
    click.secho(f"WARNING: {message}", err=True, fg="yellow", bold=True)


def exit_with(problems: list[str]) -> None:
    """Name what failed on standard error, with exit code 1."""
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        raise SystemExit(1)
