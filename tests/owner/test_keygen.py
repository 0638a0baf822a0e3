"""The key home and keygen: a project has one real key wherever its runs are, and no second one is ever made."""

import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from privpipe.errors import PrivpipeError
from privpipe.owner import keyhome
from privpipe.owner.key import Key, new_key, read_any, write_key
from privpipe.owner.keygen import ensure_key, replace_key
from privpipe.owner.keyhome import read_key
from privpipe.owner.keyring import export_key, import_key, read_guarded_key

REFERENCE = Path("data/private/key.json")
METRICS = Path("metrics/perturb.json")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def git(*words: str) -> None:
    who = {f"GIT_{who}_{what}": "t@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *words], check=True, capture_output=True, env={**os.environ, **who})


def perturbed_under(fingerprint: str, **more: bool) -> None:
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps({"key_fingerprint": fingerprint, **more}))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with a commit, as the current folder; the key home lies beside it."""
    monkeypatch.setenv("PRIVPIPE_KEYS", str(tmp_path / "home" / "keys"))
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(folder)
    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "--message=start")
    return folder


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# where the home is


def test_the_home_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRIVPIPE_KEYS", "~/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keyhome.home() == tmp_path / "mine"
    monkeypatch.delenv("PRIVPIPE_KEYS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert keyhome.home() == tmp_path / "data" / "privpipe" / "keys"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert keyhome.home() == tmp_path / ".local" / "share" / "privpipe" / "keys"


@pytest.mark.usefixtures("open_umask")
def test_only_its_owner_enters_it_and_git_takes_nothing_of_it() -> None:
    key = ensure_key(REFERENCE, None)
    home = keyhome.home()
    assert (mode(home), mode(home / "projects"), mode(keyhome.place(key.fingerprint))) == (0o700, 0o700, 0o600)
    git("init", "--quiet", str(home.parent))
    git("-C", str(home.parent), "add", "--all")
    listed = subprocess.run(["git", "-C", str(home.parent), "ls-files"], capture_output=True, check=True)
    assert not listed.stdout
    assert not [path for path in home.rglob("*") if path.name.startswith(".") and path.name != ".gitignore"]


def test_a_home_in_the_project_is_refused(monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setenv("PRIVPIPE_KEYS", "keys")
    with pytest.raises(PrivpipeError, match=r"lies in the project .*Set PRIVPIPE_KEYS to a folder outside"):
        ensure_key(REFERENCE, None)
    assert not REFERENCE.exists() and not (project / "keys").exists()


def test_a_key_in_the_home_that_others_can_read_is_closed_again() -> None:
    key = ensure_key(REFERENCE, None)
    keyhome.place(key.fingerprint).chmod(0o644)
    with pytest.raises(PrivpipeError, match=r"open to others on this machine \(mode 0644\)"):
        read_guarded_key(REFERENCE)
    assert read_guarded_key(REFERENCE, allow_readable=True) == key
    ensure_key(REFERENCE, None)
    assert mode(keyhome.place(key.fingerprint)) == 0o600


def test_another_key_under_a_fingerprint_is_refused() -> None:
    key = ensure_key(REFERENCE, None)
    write_key(keyhome.place(key.fingerprint), new_key(None))
    with pytest.raises(PrivpipeError, match=f"is not the key {key.fingerprint}"):
        read_key(REFERENCE)


# one key for a project


def test_the_workspace_holds_no_secret() -> None:
    key = ensure_key(REFERENCE, None)
    assert not key.research and read_key(REFERENCE) == key
    content = REFERENCE.read_bytes()
    assert key.secret not in content and key.secret.hex().encode() not in content
    assert ensure_key(REFERENCE, None) == key
    assert REFERENCE.read_bytes() == content


def test_one_key_before_the_first_commit_in_temporary_copies_worktrees_and_after_a_loss(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [project / ".dvc/tmp/exps/tmpabc", project / ".dvc/tmp/exps/standalone/tmpdef", tmp_path / "tree", project]
    git("worktree", "add", "--quiet", str(places[2]))
    found = []
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        if place.is_relative_to(project / ".dvc"):
            git("init", "--quiet", str(place))  # as DVC makes it
        monkeypatch.chdir(place)
        found.append(ensure_key(REFERENCE, None))
    assert len({key.secret for key in found}) == 1
    assert keyhome.keys() == found[:1]
    shutil.rmtree(project / "data")
    monkeypatch.chdir(project)
    assert ensure_key(REFERENCE, None) == found[0]


def test_projects_of_one_repository_have_a_key_each(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever their runs are: in their folder, one below it, DVC's temporary copies, and worktrees."""
    found = {"": [ensure_key(REFERENCE, None)]}
    for name in ("one", "two", "deep/three"):
        (project / name / ".dvc").mkdir(parents=True)
        (project / name / ".dvc" / "config").write_text("")
        found[name] = []
    git("add", "--all", ":!data")
    git("commit", "--quiet", "--message=projects")
    git("worktree", "add", "--quiet", str(tmp_path / "tree"))
    for name, keys in found.items():
        # DVC makes its copy of the whole repository, with the project where it is in it.
        copies = [project / name / f".dvc/tmp/exps/{place}" for place in ("tmpabc", "standalone/tmpdef")]
        outer = project / ".dvc/tmp/exps" / ("outer-" + name.replace("/", "-"))  # of the project around it
        for copy in (*copies, outer):
            git("clone", "--quiet", str(project), str(copy))
        (project / name / "below").mkdir()
        for place in (project, *copies, outer, tmp_path / "tree"):
            monkeypatch.chdir(place / name)
            shutil.rmtree("data", ignore_errors=True)
            keys.append(ensure_key(REFERENCE, None))
        monkeypatch.chdir(project / name / "below")
        assert keyhome.project().fingerprint() == keys[0].fingerprint
    assert [len({key.secret for key in keys}) for keys in found.values()] == [1, 1, 1, 1]
    assert len(keyhome.keys()) == 4
    monkeypatch.chdir(project / "one")
    replaced = replace_key(REFERENCE)[1]
    assert ensure_key(REFERENCE, None) == replaced
    monkeypatch.chdir(project / "two")
    shutil.rmtree("data")
    assert ensure_key(REFERENCE, None) == found["two"][0]


def test_a_project_at_the_top_keeps_its_name(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert keyhome.project() == keyhome.Project(project / ".git", project, project)
    (project / "docs").mkdir()
    assert keyhome.project(project / "docs") == keyhome.project()
    monkeypatch.setenv("PATH", "")
    assert keyhome.project() == keyhome.Project(project, project, project)
    assert keyhome.project(tmp_path) == keyhome.Project(tmp_path, tmp_path, tmp_path)


def test_runs_side_by_side_make_one_key(project: Path) -> None:
    paths = [project / f"{number}/key.json" for number in range(16)]
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda path: ensure_key(path, None), paths))
    assert len({key.secret for key in made}) == 1
    assert keyhome.keys() == made[:1]


def test_a_second_clone_takes_the_key_that_its_metrics_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = ensure_key(REFERENCE, None)
    content = REFERENCE.read_bytes()
    clone = tmp_path / "clone"
    git("clone", "--quiet", ".", str(clone))
    monkeypatch.chdir(clone)
    for more in ({"key_research": False}, {}):  # files of earlier versions do not say which kind it is
        perturbed_under(key.fingerprint, **more)
        shutil.rmtree("data", ignore_errors=True)
        assert ensure_key(REFERENCE, None, METRICS) == key
        assert REFERENCE.read_bytes() == content


@pytest.mark.parametrize("more", [{"key_research": False}, {}])
def test_where_the_key_cannot_be_reached_none_is_made(more: dict[str, bool]) -> None:
    far = new_key(None)
    perturbed_under(far.fingerprint, **more)
    with pytest.raises(PrivpipeError) as caught:
        ensure_key(REFERENCE, None, METRICS)
    message = str(caught.value)
    assert far.fingerprint in message and str(keyhome.home()) in message and str(METRICS) in message
    assert "privpipe key import FILE" in message and "PRIVPIPE_KEYS" in message
    assert not REFERENCE.exists() and not keyhome.keys()
    write_key("backup.json", far)
    import_key("backup.json")
    assert ensure_key(REFERENCE, None, METRICS) == far


def test_a_key_that_is_lost_from_the_home_is_not_made_again() -> None:
    key = ensure_key(REFERENCE, None)
    keyhome.place(key.fingerprint).unlink()
    for _ in range(2):
        with pytest.raises(PrivpipeError, match=f"secret of the key {key.fingerprint} is not on this machine"):
            ensure_key(REFERENCE, None)
        shutil.rmtree("data", ignore_errors=True)  # then the project's record names it
    assert not keyhome.keys()


@pytest.mark.parametrize("more", [{"key_research": True}, {}])
def test_what_was_perturbed_with_a_research_key_binds_to_nothing(more: dict[str, bool]) -> None:
    perturbed_under(new_key(77).fingerprint, **more)
    assert not ensure_key(REFERENCE, None, METRICS).research


@pytest.mark.parametrize("content", ["<<<<<<< HEAD\n{}", "[]", ""])
def test_metrics_that_cannot_be_read_are_no_reason_for_a_new_key(content: str) -> None:
    METRICS.parent.mkdir()
    METRICS.write_text(content)
    with pytest.raises(PrivpipeError, match=r"cannot read metrics/perturb.json .*`git checkout metrics/perturb.json`"):
        ensure_key(REFERENCE, None, METRICS)
    assert not keyhome.keys()


def test_a_damaged_record_is_no_reason_for_a_new_key() -> None:
    key = ensure_key(REFERENCE, None)
    keyhome.project().record.write_text("{")
    shutil.rmtree("data")
    with pytest.raises(PrivpipeError, match="which names the key of"):
        ensure_key(REFERENCE, None)
    assert keyhome.keys() == [key]


# research keys beside it


def test_a_research_key_takes_turns_with_the_real_one() -> None:
    key = ensure_key(REFERENCE, None)
    assert ensure_key(REFERENCE, 3) == read_key(REFERENCE) == new_key(3)
    assert ensure_key(REFERENCE, 4) == new_key(4)
    assert ensure_key(REFERENCE, None) == read_key(REFERENCE) == key


@pytest.mark.parametrize("content", [b"", b"{}", b"damaged"])
def test_what_cannot_be_read_is_not_replaced(content: bytes) -> None:
    REFERENCE.parent.mkdir(parents=True)
    REFERENCE.write_bytes(content)
    for seed in (None, 0):
        with pytest.raises(PrivpipeError, match="is no privpipe key file"):
            ensure_key(REFERENCE, seed)
    assert REFERENCE.read_bytes() == content


# key files of earlier versions


def left_by_an_earlier_version() -> Key:
    key = new_key(None)
    write_key(REFERENCE, key)
    return key


def test_a_secret_in_the_workspace_moves_into_the_home() -> None:
    key = left_by_an_earlier_version()
    perturbed_under(key.fingerprint)
    assert ensure_key(REFERENCE, None, METRICS) == key == read_key(keyhome.place(key.fingerprint))
    assert key.secret.hex() not in REFERENCE.read_text()
    assert read_key(REFERENCE) == key


def test_it_stays_until_the_home_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    key = left_by_an_earlier_version()

    def full(*_: object) -> None:
        raise PrivpipeError("no space left")

    monkeypatch.setattr(keyhome, "write_key", full)
    with pytest.raises(PrivpipeError, match="no space left"):
        ensure_key(REFERENCE, None)
    assert read_any(REFERENCE) == key


def test_it_is_never_replaced_by_a_research_key() -> None:
    key = left_by_an_earlier_version()
    before = REFERENCE.read_bytes()
    with pytest.raises(PrivpipeError, match=f"holds a real key .{key.fingerprint}.*key.seed=0.*Nothing was changed"):
        ensure_key(REFERENCE, 0)
    assert REFERENCE.read_bytes() == before


@pytest.mark.parametrize("perturbed", [True, False])
def test_a_temporary_copy_finds_it_too(project: Path, monkeypatch: pytest.MonkeyPatch, perturbed: bool) -> None:
    key = left_by_an_earlier_version()
    copy = project / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    if perturbed:
        perturbed_under(key.fingerprint)
    assert ensure_key(REFERENCE, None, METRICS) == key
    assert read_any(project / REFERENCE) == key


def test_a_worktree_finds_that_of_its_own_project_alone(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (project / name / ".dvc").mkdir(parents=True)
        (project / name / ".dvc" / "config").write_text("")
    git("add", "--all")
    git("commit", "--quiet", "--message=projects")
    git("worktree", "add", "--quiet", str(tmp_path / "tree"))
    key = new_key(None)
    write_key(project / "one" / REFERENCE, key)
    monkeypatch.chdir(tmp_path / "tree" / "two")
    assert ensure_key(REFERENCE, None) != key
    monkeypatch.chdir(tmp_path / "tree" / "one")
    assert ensure_key(REFERENCE, None) == key


def test_a_temporary_copy_takes_the_key_that_its_project_refers_to(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the home has no record of the project: earlier versions knew of one in a repository alone."""
    key = ensure_key(REFERENCE, None)
    keyhome.project().record.unlink()
    copy = project / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    assert ensure_key(REFERENCE, None) == key


def test_a_research_key_file_gives_way_to_a_reference() -> None:
    write_key(REFERENCE, new_key(0))
    assert ensure_key(REFERENCE, 0) == new_key(0)
    assert "secret" not in json.loads(REFERENCE.read_text())


# by hand


def test_a_new_key_on_purpose_keeps_the_old_one() -> None:
    first = ensure_key(REFERENCE, None)
    perturbed_under(first.fingerprint, key_research=False)
    before, second = replace_key(REFERENCE)
    assert before == first.fingerprint and second != first
    assert ensure_key(REFERENCE, None, METRICS) == second
    assert set(map(str, keyhome.keys())) == {str(first), str(second)}
    shutil.rmtree("data")
    METRICS.unlink()
    assert ensure_key(REFERENCE, None, METRICS) == second


def test_a_copy_of_a_key_goes_out_and_comes_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, one = ensure_key(REFERENCE, None), tmp_path / "one.json"
    assert export_key(REFERENCE, one) == export_key(key.fingerprint, tmp_path / "two.json") == key
    assert mode(one) == 0o600
    with pytest.raises(PrivpipeError, match="a key is never overwritten"):
        export_key(REFERENCE, one)
    with pytest.raises(PrivpipeError, match="secret of the key 0123456789abcdef is not on this machine"):
        export_key("0123456789abcdef", tmp_path / "three.json")
    monkeypatch.setenv("PRIVPIPE_KEYS", str(tmp_path / "elsewhere"))
    with pytest.raises(PrivpipeError, match="not on this machine"):
        read_key(REFERENCE)
    with pytest.raises(PrivpipeError, match="a reference, which holds no secret"):
        import_key(REFERENCE)
    assert import_key(one) == (key, tmp_path / "elsewhere" / f"{key.fingerprint}.json")
    assert read_key(REFERENCE) == key
    write_key("research.json", new_key(1))
    with pytest.raises(PrivpipeError, match="a research key needs no keeping"):
        import_key("research.json")


def test_a_file_system_without_hard_links_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(PrivpipeError, match="on a file system with hard links; set PRIVPIPE_KEYS"):
        ensure_key(REFERENCE, None)
    assert not keyhome.keys() and not REFERENCE.exists()
