"""The commands about DVC projects: set one up, and repair one."""

from pathlib import Path
from typing import Any

import click

from privpipe.cli.console import printable_lines, warn
from privpipe.errors import PrivpipeError


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", metavar="PATH", help="Your images: a folder with one sub-folder per class.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Height and width that images are brought to.")
@click.option("-S", "--set-param", "settings", multiple=True, metavar="NAME=VALUE", help="Any other parameter.")
def init(folder: Path, images: str | None, image_size: int | None, settings: tuple[str, ...]) -> None:
    """Set up a DVC project in FOLDER that runs the installed package: dvc.yaml, params.yaml, ignore files, a README.

    FOLDER is new or empty, or a git repository without these files; nothing is overwritten. `git init` and `dvc init`
    are run where needed. Without --images the project's images are CIFAR-10, which it downloads.

    With --images the key is a real secret, and each image gets a fresh stream of it. params.yaml holds the PATH and is
    committed: '$IMAGES', in quotes, keeps the name of a variable there instead. It needs the extra `pipeline`
    (`pip install 'privpipe[pipeline]'`).

    \b
    Examples:
      privpipe init lab --images /home/me/images --image-size 64
      privpipe init lab --images '$IMAGES' --image-size 64 -S perturb.k=8
      privpipe init lab --images images --image-size 64 -S data.groups=groups.csv
      privpipe init trial -S data.source=synthetic
    """
    from privpipe.pipeline.new_project import (
        create,
        few_images_hint,
        first_images_problem,
        own_images,
        parse_setting,
    )

    chosen = dict(map(parse_setting, settings))
    values: dict[str, Any] = {}
    if images is not None:
        groups = chosen.pop("data.groups", None)
        values = own_images(images, None if groups is None else str(groups))
    if image_size is not None:
        values["data.image_size"] = image_size
    values |= chosen
    for line in create(folder, values):
        click.echo(line)
    if images is not None and (problem := first_images_problem(values)):
        warn(f"{problem}\nIf it is so with most images, change params.yaml before `dvc repro`.")
    if images is not None and (hint := few_images_hint(images, values["data.groups"])):
        click.echo(hint)
    click.echo(f"Next: cd {folder} && dvc repro, and open reports/index.html.")


@click.command()
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
        raise PrivpipeError("there is no DVC project here, nor in a folder above. Change to the folder of a project.")
    problems = left = 0
    for problem in examine(project, cache):
        problems += 1
        click.echo(printable_lines(f"{problem.what}:\n  {problem.meaning}\n  remedy: {problem.remedy}"))
        if fix and problem.fix is not None:
            try:
                problem.fix()
            except (OSError, PrivpipeError) as error:
                click.echo(f"  that failed: {error}")
            else:
                click.echo("  done")
                continue
        left += 1
    click.echo(f"{problems} problem{'s' * (problems != 1)} found in {project.root}, {problems - left} repaired")
    if left:
        click.echo("Run `privpipe doctor --fix` to do what can be done." if not fix else "See the remedies above.")
        raise SystemExit(1)
