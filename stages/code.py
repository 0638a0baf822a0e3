"""Note what code does, comments and docstrings left out, for stages that run too long to be run again for a comment."""

import click

from privpipe.code import digests
from privpipe.files import write_json
from stages import out_path, stage


@click.command(help=__doc__)
@click.argument("code", nargs=-1, required=True, type=click.Path())
@out_path("--target")
def main(code: tuple[str, ...], target: str) -> None:
    with stage():
        write_json(target, digests(code))


if __name__ == "__main__":
    main()
