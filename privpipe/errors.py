"""The errors that privpipe raises for bad input: what was given, what is allowed, what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches

# For the messages of damaged files: DVC trusts its cache, and brings the same damage back.
CACHE_REMEDY = "If the same damage comes back, it is in DVC's cache: run `privpipe doctor --fix --cache` first."
# A requirement in the metadata of an installed package, such as: pandas>=2.2; extra == "pipeline"
OPTIONAL = re.compile(r"(?!privpipe\b)([\w.-]+).*;.*\bextra == ['\"](\w+)['\"]")


class PrivpipeError(Exception):
    """A problem that the user can repair; the message says how. Stages print it without a traceback."""


class WriteError(PrivpipeError):
    """A file that cannot be written: the disk is full, or the folder forbids it."""


def unknown(name: str, given: str, legal: list[str]) -> str:
    """The message for a value that is none of the `legal` names."""
    near = get_close_matches(given, legal, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name} must be one of {', '.join(legal)}; got {given!r}.{hint}"


@contextmanager
def extras_named() -> Iterator[None]:
    """Around what a program does, its imports included: name the remedy for a package that only an extra brings.

    Raises:
        PrivpipeError: a package is missing that an extra of privpipe brings. Other missing modules stay as they are.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        extra = _extra_of(error.name or "")
        if extra is None:
            raise
        raise PrivpipeError(
            f"this needs the package {error.name}, which is not installed. Run `pip install 'privpipe[{extra}]'`."
        ) from error


def _extra_of(module: str) -> str | None:
    """The first extra of privpipe that brings a package; None where none does, or privpipe is not installed."""
    from importlib.metadata import PackageNotFoundError, requires  # slow, and seldom needed

    try:
        lines = requires("privpipe") or []
    except PackageNotFoundError:
        return None
    found = [match for line in lines if (match := OPTIONAL.match(line))]
    return next((match[2] for match in found if match[1] == module.partition(".")[0]), None)
