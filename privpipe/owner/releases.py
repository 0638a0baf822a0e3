"""The owner's ledger: what all releases of whole sets under one key come to, so that a budget is not passed unnoticed.

It is a file beside the key, in the key home (`privpipe.owner.keyhome`): clones, experiments and DVC's temporary folders
come and go, and what they released stays released. Each entry holds the digest of a release, and its cost mu, whose
squares add up (`privpipe.statistics.accounting`). A release that is repeated byte for byte costs nothing. An entry is
written before the release has its final name: a run that is killed between the two costs budget, never privacy.

Releases with a research key are not recorded. Anybody can make their noise again, so nothing that they could add to is
guaranteed; each is checked by itself.
"""

import fcntl
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from privpipe.owner.key import Key
from privpipe.owner.keyhome import home, keep
from privpipe.statistics.accounting import composed, epsilon_of

FORMAT = "privpipe-releases"


@dataclass(frozen=True)
class Entry:
    """One release: its digest (`privpipe.released.Released.digest`), method, cost mu, and the epsilon at delta."""

    digest: str
    method: str
    mu: float
    epsilon: float
    delta: float


def place(key: Key) -> Path:
    """Where the ledger of a key lies, or would."""
    return home() / f"{key.fingerprint}.releases.json"


def entries(key: Key) -> list[Entry]:
    """The releases so far, the first one first; none where there is no ledger.

    Raises:
        PrivpipeError: it cannot be read.
    """
    path = place(key)
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        found = [Entry(**entry) for entry in content["releases"]]
        if not all(0 < entry.mu < math.inf for entry in found):
            raise ValueError("a cost is not over 0")
        return found
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PrivpipeError(
            f"cannot read {path}, the ledger of what was released under the key {key.fingerprint} ({error}). "
            "Restore it from your backup of the key home: without it nobody knows what the releases come to together."
        ) from error


def record(key: Key, entry: Entry, budget: float | None) -> float:
    """Add a release to the ledger of a real key, unless it is there already.

    Args:
        budget: the epsilon, at the delta of `entry`, that all releases may come to; None: no limit.

    Returns:
        The epsilon that all releases come to with this one.

    Raises:
        PrivpipeError: that is over the budget, and nothing was recorded; or the ledger cannot be read or written.
    """
    if key.research:
        return _within(budget, entry, [entry], "A research key has no ledger; this is the release alone.")
    keep(key)
    with _locked(place(key)) as path:
        before = entries(key)
        new = all(entry.digest != other.digest for other in before)
        together = [*before, entry] if new else before
        if not new:
            return _epsilon(together, entry.delta)
        total = _within(budget, entry, together, f"{len(before)} releases came before; {path} lists them.")
        content = {"format": FORMAT, "releases": [asdict(one) for one in together]}
        write_text(path, json.dumps(content, indent=2) + "\n", private=True)
    return total


def _within(budget: float | None, entry: Entry, together: list[Entry], why: str) -> float:
    total = _epsilon(together, entry.delta)
    if budget is not None and total > budget * (1 + 1e-9):  # the epsilon asked for, there and back, is off by rounding
        raise PrivpipeError(
            f"with this release all come to epsilon {total:.4g} at delta {entry.delta:g}; key.budget is "
            f"{budget:g}. {why} Use a smaller perturb.epsilon, or a larger budget if the images can bear it."
        )
    return total


def _epsilon(together: list[Entry], delta: float) -> float:
    return epsilon_of(composed(entry.mu for entry in together), delta)


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """The ledger, for one process at a time: two runs side by side must not both take what is left of a budget."""
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
