"""One thin command per DVC stage: paths in, one call, paths out. Run as `python -m stages.<name>`.

In the wheel this folder is the package `privpipe.stages`, so imports among the stages are relative. What only an extra
brings is imported inside `stage()`, which then names the extra.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from privpipe.errors import PrivpipeError, extras_named
from privpipe.files import SMALL_OUTPUT, need_space


@contextmanager
def stage() -> Iterator[None]:
    """Show our own errors and missing extras as a message without a traceback, the library's warnings as lines."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        with extras_named():
            yield
    except PrivpipeError as error:
        raise click.ClickException(str(error)) from error


def in_path(name: str) -> Callable[[Any], Any]:
    """A required option for a file that the stage reads."""
    return click.option(name, required=True, type=click.Path(dir_okay=False), help="file to read")


def out_path(name: str) -> Callable[[Any], Any]:
    """A required option for a file that the stage writes; space for a small one is asked for before any work."""
    return click.option(
        name, required=True, type=click.Path(dir_okay=False), help="file to write", callback=_ask_for_space
    )


def _ask_for_space(_context: click.Context, _option: click.Parameter, path: str) -> str:
    with stage():
        need_space(path, SMALL_OUTPUT)
    return path


params_path = click.option(
    "--params", "params_file", default="params.yaml", show_default=True, type=click.Path(dir_okay=False)
)
