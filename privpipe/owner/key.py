"""The owner's key: one 256-bit secret, made once, readable by its owner alone.

Two kinds of file. A *key file* holds the secret. A *reference* holds nothing secret: the seed of a research key, or
the fingerprint of a real one, whose key file lies in the key home (`privpipe.owner.keyhome`), outside every repository.
"""

import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privpipe.errors import PrivpipeError
from privpipe.files import write_json, write_text
from privpipe.perturb.keystream import DERIVATION, SECRET_BYTES, KeyStream

FORMAT, REFERENCE_FORMAT = "privpipe-key", "privpipe-key-reference"
FINGERPRINT = re.compile(r"[0-9a-f]{16}")
MAX_FILE_BYTES = 4096
REMEDY = "Restore your copy of it; without the key, images cannot be perturbed as the training set was."


@dataclass(frozen=True)
class Key:
    """A secret and what it is for.

    Args:
        secret: 32 bytes; never shown in `repr`.
        seed: the number it was made from, for a research key that anybody can make again; None for a real one.
    """

    secret: bytes
    seed: int | None

    def __repr__(self) -> str:
        return f"Key(fingerprint={self.fingerprint!r}, research={self.research})"

    @property
    def research(self) -> bool:
        """Whether anybody who reads the parameters can make this key again."""
        return self.seed is not None

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that tell keys apart and tell nothing of the secret."""
        return hashlib.sha256(b"privpipe key fingerprint" + self.secret).hexdigest()[:16]

    @property
    def stream(self) -> KeyStream:
        """The source of all key material."""
        return KeyStream(self.secret)


def new_key(seed: int | None) -> Key:
    """A reproducible research key from a number, or a real one from the operating system for None."""
    if seed is None:
        return Key(secrets.token_bytes(SECRET_BYTES), None)
    return Key(hashlib.sha256(f"privpipe research key {seed}".encode()).digest(), seed)


def write_key(path: str | Path, key: Key) -> None:
    """Write a key file with mode 0600, atomically; it is never readable by others, not even for a moment."""
    content = {
        "format": FORMAT,
        "derivation": DERIVATION,
        "research": key.research,
        "seed": key.seed,
        "fingerprint": key.fingerprint,
        "secret": key.secret.hex(),
    }
    write_text(path, json.dumps(content, indent=2) + "\n", private=True)


@dataclass(frozen=True)
class Reference:
    """What may be known of a key by everybody.

    Args:
        fingerprint: of the key.
        seed: of a research key, which needs nothing else; None for a real one.
    """

    fingerprint: str
    seed: int | None


def write_reference(path: str | Path, key: Key) -> None:
    """Write a reference to a key, atomically; the same key gives the same bytes."""
    content = {
        "format": REFERENCE_FORMAT,
        "derivation": DERIVATION,
        "research": key.research,
        "seed": key.seed,
        "fingerprint": key.fingerprint,
    }
    write_json(path, content)


def read_any(path: str | Path) -> Key | Reference:
    """Read and check a key file or a reference.

    Raises:
        PrivpipeError: the file is missing, neither of the two, damaged, or its key material is derived another way.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PrivpipeError(
            f"cannot read the key {path}: {error.strerror}. Make one with `dvc repro keygen`."
        ) from error
    try:
        if len(text) > MAX_FILE_BYTES:
            raise ValueError("too long")
        content = json.loads(text)
        stored = _parse(content)
        derivation, fingerprint = content["derivation"], content["fingerprint"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PrivpipeError(f"{path} is no privpipe key file, or damaged ({error}). {REMEDY}") from error
    if derivation != DERIVATION:
        raise PrivpipeError(
            f"{path} is a key for the derivation {derivation!r}; this privpipe derives by {DERIVATION!r}. "
            "Use the version of privpipe that made it, or make a new key and perturb again."
        )
    if fingerprint != stored.fingerprint:
        raise PrivpipeError(f"{path} is damaged: its secret and its fingerprint do not belong together. {REMEDY}")
    seed = stored.seed
    if seed is not None and stored.fingerprint != new_key(seed).fingerprint:
        raise PrivpipeError(f"{path} is damaged: its secret is not the research key of its seed {seed}. {REMEDY}")
    return stored


def _parse(content: Any) -> Key | Reference:
    """The key or reference that a JSON value stands for; ValueError, KeyError or TypeError where it is neither."""
    kind, seed = content["format"], content["seed"]
    if kind not in (FORMAT, REFERENCE_FORMAT):
        raise ValueError(f"format {kind!r}")
    if seed is not None and type(seed) is not int:
        raise ValueError("its fields contradict each other")
    if content["research"] is not (seed is not None):
        raise ValueError("its fields contradict each other")
    if kind == REFERENCE_FORMAT:
        fingerprint = content["fingerprint"]
        if not isinstance(fingerprint, str) or not FINGERPRINT.fullmatch(fingerprint):
            raise ValueError(f"fingerprint {fingerprint!r}")
        return Reference(fingerprint, seed)
    key = Key(bytes.fromhex(content["secret"]), seed)
    if len(key.secret) != SECRET_BYTES:
        raise ValueError("its fields contradict each other")
    return key
