"""The one error that privpipe raises for bad input: what was given, what is allowed, what to do."""


class PrivpipeError(Exception):
    """A problem that the user can mend; the message says how. Stages print it without a traceback."""
