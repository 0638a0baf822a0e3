"""Note what the code of each stage does, so that a stage runs again when that changes, and for nothing else.

A STAGE is a module of `stages`, or one with its package, such as studies.paper.group: that is noted in group.txt.
"""

from pathlib import Path

import click

import privpipe
from privpipe.files import write_text
from privpipe.pipeline.code import Sources

from . import stage


@click.command(help=__doc__)
@click.argument("names", metavar="STAGE...", nargs=-1, required=True)
@click.option("--folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="folder to write")
def main(names: tuple[str, ...], folder: Path) -> None:
    with stage():
        root = Path(privpipe.__file__).parents[1]  # of what runs: a clone, or the folder of installed packages
        package = ".".join(Path(__file__).parent.relative_to(root).parts)  # stages; in the wheel privpipe.stages
        sources = Sources(root)
        for name in names:
            digests = sources.behind(name if "." in name else f"{package}.{name}")
            write_text(
                folder / f"{name.rpartition('.')[2]}.txt",
                "".join(f"{digest}  {path}\n" for path, digest in digests.items()),
            )


if __name__ == "__main__":
    main()
