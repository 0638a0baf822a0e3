"""What the commands have in common: options, the reading of keys, warnings and errors."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privpipe.errors import PrivpipeError, extras_named

if TYPE_CHECKING:
    from privpipe.owner.key import Key

FILE = click.Path(dir_okay=False, path_type=Path)
readable_option = click.option(
    "--allow-readable-key", is_flag=True, help="Read a key file that others on this machine can read too."
)


class Commands(click.Group):
    """A group that shows our own errors and missing extras without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with extras_named():
                return super().invoke(ctx)
        except PrivpipeError as error:
            raise click.ClickException(printable_lines(str(error))) from error


def printable(text: str) -> str:
    """Text that cannot steer a terminal: names of classes and methods come from a cloud that is not trusted, names of
    files from anybody."""
    return "".join(character if character.isprintable() else "?" for character in text)


def printable_lines(text: str) -> str:
    """The same of a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def key_reader(path: Path | None, allow_readable: bool) -> "Callable[[], Key | None]":
    """A function that reads the key, once it turns out that one is needed."""

    def read() -> "Key | None":
        from privpipe.owner.keyring import read_guarded_key

        if path is None:
            return None
        key = read_guarded_key(path, allow_readable)
        warn_of_research_key(key)
        return key

    return read


def kind_of(key: "Key") -> str:
    return "research key" if key.research else "real key"


def warn_of_research_key(key: "Key") -> None:
    if key.research:
        warn("a research key protects nothing: anybody can make it again. `privpipe key new` makes a real one.")


def warn(message: str) -> None:
    click.secho(f"WARNING: {printable_lines(message)}", err=True, fg="yellow", bold=True)


def exit_with(problems: list[str]) -> None:
    """Name what failed on standard error, with exit code 1."""
    for problem in problems:
        click.echo(printable_lines(problem), err=True)
    if problems:
        raise SystemExit(1)
