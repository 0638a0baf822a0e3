"""The key file: who can read it, and what is refused as a key or as a reference to one."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privpipe.errors import PrivpipeError
from privpipe.owner.key import Key, Reference, new_key, read_any, write_key, write_reference
from privpipe.owner.keyhome import check_key, read_key

# printf 'privpipe research key 0' | sha256sum: a key that changed would take published results with it.
SECRET_OF_SEED_0 = "9dcb948b033304fd02dcfc46c73b510dd736c3613c8be238fcfe94df099d8efa"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def edit(path: Path, **changes: Any) -> None:
    """Change fields of a key file; a field set to `...` is left out."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "key.json"


@pytest.fixture
def real(path: Path) -> Key:
    """A real key, written to `path`."""
    key = new_key(None)
    write_key(path, key)
    return key


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_research_key_follows_from_its_seed() -> None:
    assert new_key(0) == new_key(0)
    assert new_key(0).secret.hex() == SECRET_OF_SEED_0
    assert new_key(0).research
    assert len({new_key(seed).secret for seed in range(50)}) == 50


def test_real_keys_differ_from_each_other() -> None:
    keys = [new_key(None) for _ in range(20)]
    assert len({key.secret for key in keys}) == 20
    assert {len(key.secret) for key in keys} == {32}
    assert not any(key.research for key in keys)


def test_the_fingerprint_tells_keys_apart_and_is_no_part_of_the_secret() -> None:
    key = new_key(7)
    assert key.fingerprint == hashlib.sha256(b"privpipe key fingerprint" + key.secret).hexdigest()[:16]
    assert len({new_key(seed).fingerprint for seed in range(100)}) == 100
    assert key.fingerprint not in key.secret.hex()


@pytest.mark.parametrize("seed", [3, None])
def test_repr_shows_no_secret(seed: int | None) -> None:
    key = new_key(seed)
    for shown in (repr(key), str(key), f"{key}", repr([key]), repr(key.stream), repr(key.stream.child("purpose"))):
        assert key.secret.hex() not in shown
        assert repr(key.secret)[2:-1] not in shown
    assert key.fingerprint in repr(key)


@pytest.mark.parametrize("seed", [0, 2**63 - 1, None])
def test_a_written_key_reads_as_the_same_key(path: Path, seed: int | None) -> None:
    key = new_key(seed)
    write_key(path, key)
    assert read_key(path) == key


def test_the_file_says_whether_it_is_a_research_key(path: Path) -> None:
    write_key(path, new_key(5))
    content = json.loads(path.read_text())
    assert (content["research"], content["seed"], content["secret"]) == (True, 5, new_key(5).secret.hex())
    write_key(path, new_key(None))
    content = json.loads(path.read_text())
    assert (content["research"], content["seed"]) == (False, None)


@pytest.mark.usefixtures("open_umask")
def test_only_its_owner_can_read_it_under_any_umask(path: Path) -> None:
    write_key(path, new_key(None))
    assert mode(path) == 0o600


@pytest.mark.usefixtures("open_umask")
def test_only_its_owner_can_read_it_at_any_moment(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes go to a file that was made with mode 0600, never to one that is narrowed afterwards."""
    made = []
    original = os.open

    def spy(name: Any, flags: int, mode: int = 0o777, **more: Any) -> int:
        descriptor = original(name, flags, mode, **more)
        made.append((flags & os.O_EXCL != 0, stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    write_key(path, new_key(None))
    assert made == [(True, 0o600)]


@pytest.mark.usefixtures("open_umask")
def test_an_open_file_or_leftover_in_its_place_does_not_open_it(path: Path) -> None:
    path.parent.mkdir()
    for name in (path, path.with_name(".key.json.999999999-00000000.partial")):
        name.write_text("left by another program")
        name.chmod(0o666)
    write_key(path, new_key(1))
    assert mode(path) == 0o600
    assert read_key(path) == new_key(1)
    assert [file.name for file in path.parent.iterdir()] == ["key.json"]


def test_a_missing_key_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"cannot read the key .*key\.json: No such file.*`dvc repro keygen`"):
        read_key(path)


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match="Is a directory"):
        read_key(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"[]",
        b"null",
        b'"privpipe-key"',
        b"\xff\xfe\x00",
        b"\x80\x81",
        b"[" * 4000,
        b'{"format":' * 400,
        b'{"format": "privpipe-key"}',
        b'{"format": "another"}',
    ],
)
def test_other_content_is_no_key_file(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(PrivpipeError, match=r"is no privpipe key file, or damaged \(.*Restore your copy"):
        read_key(path)


def test_too_long_a_file_is_not_read_further(path: Path, real: Key) -> None:
    valid = path.read_text()
    path.write_text(valid + " " * (4096 - len(valid)))
    assert read_key(path) == real
    path.write_text(valid + " " * (4097 - len(valid)))
    with pytest.raises(PrivpipeError, match="too long"):
        read_key(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "privpipe-model"}, "format 'privpipe-model'"),
        ({"seed": 4}, "its fields contradict each other"),
        ({"research": True}, "its fields contradict each other"),
        ({"research": None}, "its fields contradict each other"),
        ({"secret": "00" * 31}, "its fields contradict each other"),
        ({"secret": "00" * 33}, "its fields contradict each other"),
        ({"secret": "xy" * 32}, "non-hexadecimal"),
        ({"secret": 7}, "no privpipe key file, or damaged"),
        ({"secret": ...}, "'secret'"),
        ({"seed": ...}, "'seed'"),
        ({"fingerprint": ...}, "'fingerprint'"),
        ({"fingerprint": "0" * 16}, "its secret and its fingerprint do not belong together"),
        ({"secret": "00" * 32}, "its secret and its fingerprint do not belong together"),
    ],
)
@pytest.mark.usefixtures("real")
def test_a_changed_field_is_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    edit(path, **changes)
    with pytest.raises(PrivpipeError, match=message):
        read_key(path)


@pytest.mark.parametrize("seed", [1, True, 0.0, "0", [0]])
def test_a_research_key_of_another_seed_is_refused(path: Path, seed: Any) -> None:
    write_key(path, new_key(0))
    edit(path, seed=seed)
    with pytest.raises(PrivpipeError, match=r"not the research key of its seed 1|fields contradict each other"):
        read_key(path)


@pytest.mark.usefixtures("real")
def test_a_key_of_another_derivation_says_which(path: Path) -> None:
    edit(path, derivation="shake256/1")
    with pytest.raises(
        PrivpipeError, match=r"is a key for the derivation 'shake256/1'.*derives by 'shake256-aes256ctr-content/2'"
    ):
        read_key(path)


def test_messages_show_no_secret(path: Path, real: Key) -> None:
    short = real.secret.hex()[:-2]
    for changes in ({"fingerprint": "0" * 16}, {"derivation": "x"}, {"research": True}, {"secret": short}):
        write_key(path, real)
        edit(path, **changes)
        with pytest.raises(PrivpipeError) as caught:
            read_key(path)
        assert real.secret.hex()[:8] not in str(caught.value)


@pytest.mark.parametrize("seed", [0, 2**63 - 1, None])
def test_a_reference_holds_no_secret_and_is_the_same_each_time(path: Path, seed: int | None) -> None:
    key = new_key(seed)
    write_reference(path, key)
    before = path.read_bytes()
    assert key.secret not in before and key.secret.hex().encode() not in before
    assert read_any(path) == Reference(key.fingerprint, seed)
    write_reference(path, key)
    assert path.read_bytes() == before


def test_a_reference_to_a_research_key_needs_nothing_else(path: Path) -> None:
    write_reference(path, new_key(5))
    assert read_key(path) == new_key(5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": "0" * 15}, "is no privpipe key file, or damaged"),
        ({"fingerprint": "../../../etc/x"}, "is no privpipe key file, or damaged"),
        ({"fingerprint": 7}, "is no privpipe key file, or damaged"),
        ({"research": True}, "its fields contradict each other"),
        ({"seed": 3}, "its fields contradict each other"),
        ({"seed": 3, "research": True}, "is not the research key of its seed 3"),
        ({"derivation": "chacha20/1"}, "is a key for the derivation 'chacha20/1'"),
    ],
)
def test_a_changed_reference_is_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    write_reference(path, new_key(None))
    edit(path, **changes)
    with pytest.raises(PrivpipeError, match=message):
        read_key(path)


edits = st.lists(
    st.tuples(st.sampled_from(["set", "drop", "insert"]), st.floats(0, 1, exclude_max=True), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.sampled_from([0, 12, None]), edits=edits)
def test_a_mutated_file_is_refused_or_gives_exactly_the_same_key(
    tmp_path: Path, seed: int | None, edits: list[tuple[str, float, int]]
) -> None:
    path, key = tmp_path / "key.json", new_key(seed)
    write_key(path, key)
    content = bytearray(path.read_bytes())
    for kind, where, byte in edits:
        place = int(where * len(content))
        if kind == "insert":
            content.insert(place, byte)
        elif kind == "drop":
            del content[place]
        else:
            content[place] = byte
    path.write_bytes(content)
    try:
        found = read_key(path)
    except PrivpipeError:
        return
    assert found == key


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ["format", "derivation", "research", "seed", "fingerprint", "secret"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.sampled_from([0, None]), changes=st.dictionaries(st.sampled_from(FIELDS), values, min_size=1))
def test_a_field_of_any_value_is_refused_or_gives_exactly_the_same_key(
    tmp_path: Path, seed: int | None, changes: dict[str, Any]
) -> None:
    path, key = tmp_path / "key.json", new_key(seed)
    write_key(path, key)
    edit(path, **changes)
    try:
        found = read_key(path)
    except PrivpipeError:
        return
    assert found == key
    assert type(found.seed) is type(key.seed)


def test_the_key_of_a_file_is_checked() -> None:
    key, other = new_key(0), new_key(1)
    check_key(key, key.fingerprint, "m.h5")
    message = rf"key {key.fingerprint} is not the one of m\.h5, which was made with {other.fingerprint}\. .* not hold"
    with pytest.raises(PrivpipeError, match=message):
        check_key(key, other.fingerprint, "m.h5")
    with pytest.raises(PrivpipeError, match=r"m\.h5, which was made with no key"):
        check_key(key, "", "m.h5")
