"""A short run of benchmarks/fuzz.py: damaged files are read right or refused with our own error."""

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


@pytest.mark.parametrize("reader", ["archive", "store", "key", "model", "image"])
def test_no_damaged_file_crashes_its_reader(reader: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), reader, "--count", "60", "--seed", "1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name, inputs, refused, read, failed = done.stdout.splitlines()[1].split()
    assert (name, inputs, failed) == (reader, "60", "0")
    assert int(refused) + int(read) == 60
    assert int(refused) > 0
