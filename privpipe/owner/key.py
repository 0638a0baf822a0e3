"""The owner's key: one 256-bit secret, made once, readable by its owner alone."""

import hashlib
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from privpipe.perturb.keystream import DERIVATION, SECRET_BYTES, KeyStream

FORMAT = "privpipe-key"
MAX_FILE_BYTES = 4096


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


def read_key(path: str | Path) -> Key:
    """Read and check a key file.

    Raises:
        PrivpipeError: the file is missing, no key file, damaged, or its key material is derived another way.
    """
    path = Path(path)
    remedy = "Restore your copy of it; without the key, images cannot be perturbed as the training set was."
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
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        derivation, seed, fingerprint = content["derivation"], content["seed"], content["fingerprint"]
        key = Key(bytes.fromhex(content["secret"]), seed)
        fits = (
            len(key.secret) == SECRET_BYTES
            and (seed is None or (type(seed) is int))
            and content["research"] == key.research
        )
        if not fits:
            raise ValueError("its fields contradict each other")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PrivpipeError(f"{path} is no privpipe key file, or damaged ({error}). {remedy}") from error
    if derivation != DERIVATION:
        raise PrivpipeError(
            f"{path} is a key for the derivation {derivation!r}; this privpipe derives by {DERIVATION!r}. "
            "Use the version of privpipe that made it, or make a new key and perturb again."
        )
    if fingerprint != key.fingerprint:
        raise PrivpipeError(f"{path} is damaged: its secret and its fingerprint do not belong together. {remedy}")
    if seed is not None and key != new_key(seed):
        raise PrivpipeError(f"{path} is damaged: its secret is not the research key of its seed {seed}. {remedy}")
    return key


def ensure_key(path: str | Path, seed: int | None) -> Key:
    """The key at `path` that `seed` asks for, made where it is not there yet.

    A real key (`seed` None) that exists is kept: it may be the only one that can undo a perturbation.

    Raises:
        PrivpipeError: a real key exists and a research key was asked for, or the file is no key.
    """
    path = Path(path)
    old = read_key(path) if path.exists() else None
    if old is not None and not old.research and seed is not None:
        raise PrivpipeError(
            f"{path} holds a real key ({old.fingerprint}), and key.seed={seed} asks for a research key in its place. "
            "Nothing was changed. Move the file to a safe place first, or set key.seed=null to go on with it."
        )
    if old is not None and old.seed == seed:
        path.chmod(0o600)
        return old
    key = new_key(seed)
    write_key(path, key)
    return key
