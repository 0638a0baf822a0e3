"""The errors that privpipe raises for bad input: what was given, what is allowed, what to do."""


class PrivpipeError(Exception):
    """A problem that the user can mend; the message says how. Stages print it without a traceback."""


class WriteError(PrivpipeError):
    """A file that cannot be written: the disk is full, or the folder forbids it."""
