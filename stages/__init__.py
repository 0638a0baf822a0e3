"""One thin command per DVC stage: paths in, one call, paths out. Run as `python -m stages.<name>`.

In the wheel this folder is the package `privpipe.stages`, so imports among the stages are relative. What only an extra
brings is imported inside `stage()`, which then names the extra.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from privpipe.errors import PrivpipeError, extras_named
from privpipe.files import SMALL_OUTPUT, need_space

THREADS = 2  # of a stage that trains, by default


def wait_passively_in_company(load: Path = Path("/proc/loadavg"), processors: int | None = None) -> None:
    """Have OpenMP's threads wait for one another asleep where other programs are at work; results stay the same.

    Threads that wait by spinning, as they do by default, take from each other what the other programs leave them. On a
    quiet machine spinning is faster. OpenMP reads the variable when it is loaded, so this must come before torch.

    Args:
        load: where Linux says how many threads of the machine run, this one included; absent on other systems.
        processors: of the machine.
    """
    running = []
    with suppress(OSError):
        for _ in range(5):  # the least of them: what only flickers by is no company
            running.append(int(load.read_text().split()[3].split("/")[0]))
            time.sleep(0.002)
    if running and min(running) - 1 + THREADS > (processors or os.cpu_count() or 1):
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


wait_passively_in_company()


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
