"""Calls of the command line, and how they end."""

from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from privpipe.cli.main import main


def run(*words: object) -> Result:
    """Run a command; it must succeed or fail with exit code 1 or 2 and a message, never a traceback."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.stderr
    return result


def good(*words: object) -> Result:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return result


def refused(*words: object) -> str:
    result = run(*words)
    assert result.exit_code == 1, result.output
    return " ".join(result.stderr.split())


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))
