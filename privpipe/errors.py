"""The errors that privpipe raises for bad input: what was given, what is allowed, what to do."""

# For the messages of damaged files: DVC trusts its cache, and brings the same damage back.
CACHE_REMEDY = "If the same damage comes back, it is in DVC's cache: run `privpipe doctor --fix --cache` first."


class PrivpipeError(Exception):
    """A problem that the user can repair; the message says how. Stages print it without a traceback."""


class WriteError(PrivpipeError):
    """A file that cannot be written: the disk is full, or the folder forbids it."""
