"""`privpipe key` as a person with images meets it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calls import good, refused, run

from privpipe.owner.key import new_key
from privpipe.owner.keyhome import read_key

Make = Callable[..., Any]


def test_a_new_key_is_real_and_ones_own() -> None:
    shown = good("key", "new", "safe/key.json")
    key, path = read_key("safe/key.json"), Path("safe/key.json")
    assert not key.research
    assert path.stat().st_mode & 0o777 == 0o600
    assert f"real key, fingerprint {key.fingerprint}" in shown.stdout
    assert not shown.stderr
    assert key.secret.hex() not in shown.output
    told = good("key", "show", path)
    assert told.stdout.split() == [
        "fingerprint:",
        key.fingerprint,
        "kind:",
        "real",
        "key",
        "derivation:",
        "shake256-aes256ctr-content/2",
    ]
    assert key.secret.hex() not in told.output


def test_a_research_key_says_so_every_time() -> None:
    shown = good("key", "new", "key.json", "--seed", "12")
    assert read_key("key.json") == new_key(12)
    assert "research key, fingerprint" in shown.stdout
    for result in (shown, good("key", "show", "key.json")):
        assert "WARNING: a research key protects nothing" in result.stderr


def test_a_new_key_replaces_nothing() -> None:
    Path("key.json").write_text("mine")
    Path("link.json").symlink_to("nowhere.json")
    for name in ("key.json", "link.json"):
        assert f"{name} exists, and a key is never overwritten" in refused("key", "new", name)
    assert Path("key.json").read_text() == "mine"
    assert not Path("nowhere.json").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_open_to_others_is_refused(experiment: Make, mode: int) -> None:
    made = experiment("block_scramble")
    key, image = made / "key.json", made.image_paths[0]
    key.chmod(mode)
    perturb = ("perturb", "--key", key, "--params", made / "params.yaml", "--out", "x.png", image)
    predict = ("predict", "--key", key, "--model", made / "model.safetensors", image)
    for words in (("key", "show", key), perturb, predict):
        message = refused(*words)
        assert f"(mode {mode:04o})" in message
        assert f"Run `chmod 600 {key}`" in message
        good(*words, "--allow-readable-key")


def test_a_missing_key_and_what_is_no_key() -> None:
    assert "Pass the key of the training set, or make a new one with `privpipe key new no.json`" in refused(
        "key", "show", "no.json"
    )
    Path("no.json").write_text("{}")
    Path("no.json").chmod(0o600)
    assert "no.json is no privpipe key file, or damaged" in refused("key", "show", "no.json")


def test_one_damaged_file_does_not_hide_the_other_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRIVPIPE_KEYS", str(tmp_path / "keys"))
    made = []
    for name in "abc":
        good("key", "new", f"{name}.json")
        good("key", "import", f"{name}.json")
        made.append(read_key(f"{name}.json").fingerprint)
    (tmp_path / "keys" / f"{made[0]}.json").write_text("{")
    (tmp_path / "keys" / f"{made[1]}.json").write_bytes(Path("c.json").read_bytes())
    (tmp_path / "keys" / "notes.json").write_text("mine")
    result = run("key", "list")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [f"1 in {tmp_path / 'keys'}", made[2]]
    assert f"{made[0]}.json is no privpipe key file, or damaged" in result.stderr
    assert f"{made[1]}.json is not the key {made[1]}" in result.stderr
    good("key", "replace")
    next((tmp_path / "keys" / "projects").iterdir()).write_text("{")
    result = run("key", "list")
    assert result.exit_code == 1 and made[2] in result.stdout and "which names the key of" in result.stderr


def test_keys_of_the_home_are_listed_brought_and_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRIVPIPE_KEYS", str(tmp_path / "keys"))
    assert good("key", "list").stdout == f"0 in {tmp_path / 'keys'}\n"
    good("key", "new", "mine.json")
    fingerprint = read_key("mine.json").fingerprint
    imported = good("key", "import", "mine.json")
    assert fingerprint in imported.stdout
    assert f"copy {fingerprint}.releases.json from the other key home" in imported.stderr
    assert good("key", "list").stdout.splitlines()[1:] == [fingerprint]
    shown = good("key", "replace")
    new = read_key("data/private/key.json")
    assert f"real key, fingerprint {new.fingerprint}" in shown.stdout and "Run `dvc repro`" in shown.stdout
    assert f"{new.fingerprint}  (this project)" in good("key", "list").stdout
    assert f"The key until now, {new.fingerprint}, stays" in good("key", "replace").stdout
    good("key", "export", fingerprint, "--out", "copy.json")
    good("key", "export", "--out", "this.json")
    assert read_key("copy.json").fingerprint == fingerprint
    assert read_key("this.json") == read_key("data/private/key.json")
    assert "a key is never overwritten" in refused("key", "export", "--out", "this.json")
    Path("mine.json").chmod(0o644)
    assert "Run `chmod 600 mine.json`" in refused("key", "import", "mine.json")
    good("key", "import", "mine.json", "--allow-readable-key")
