"""The errors that privpipe raises for bad input: what was given, what is allowed, what to do."""

from difflib import get_close_matches

# For the messages of damaged files: DVC trusts its cache, and brings the same damage back.
CACHE_REMEDY = "If the same damage comes back, it is in DVC's cache: run `privpipe doctor --fix --cache` first."


class PrivpipeError(Exception):
    """A problem that the user can repair; the message says how. Stages print it without a traceback."""


class WriteError(PrivpipeError):
    """A file that cannot be written: the disk is full, or the folder forbids it."""


def unknown(name: str, given: str, legal: list[str]) -> str:
    """The message for a value that is none of the `legal` names."""
    near = get_close_matches(given, legal, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name} must be one of {', '.join(legal)}; got {given!r}.{hint}"
