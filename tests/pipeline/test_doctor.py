"""`privpipe doctor` finds what killed runs leave, repairs it, and deletes nothing that cannot be made again."""

import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from privpipe.cli.main import main
from privpipe.owner.key import new_key, write_key
from privpipe.pipeline import doctor, lockfile
from privpipe.pipeline.project import Project, find_project

DEAD = 999_999_999  # above all numbers of processes
PIPELINE = """
stages:
  one:
    cmd: make one
    outs: [one.txt]
  two:
    cmd: make two
    metrics: [two.json]
  three:
    foreach: [a, b]
    do:
      cmd: make ${item}
      outs: ["${item}.txt"]
"""


def entry(name: str, seed: int = 0) -> str:
    file = f"    - path: {name}.txt\n      hash: md5\n      md5: {'ab' * 15}a{seed}\n      size: 1{seed}\n"
    parameters = "    params:\n      params.yaml:\n        k: 4\n"
    return f"  {name}:\n    cmd: make {name}\n    deps:\n{file}{parameters}    outs:\n{file}"


WHOLE = lockfile.HEAD + "".join(entry(name) for name in ("one", "two", "three@a", "three@b"))


def git(folder: Path, *command: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project as it is when all is well."""
    root = tmp_path / "clone"
    (root / ".dvc" / "tmp" / "exps").mkdir(parents=True)
    (root / ".dvc" / "cache").mkdir(mode=0o700)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    autostage = false\n")
    (root / ".dvc" / "tmp" / "rwlock").write_text("{}")
    (root / "data").mkdir()
    (root / "data" / "private").mkdir(mode=0o700)
    (root / "dvc.yaml").write_text(PIPELINE)
    (root / "dvc.lock").write_text(WHOLE)
    git(root, "init", "--quiet")
    git(root, "add", "dvc.yaml", "dvc.lock")
    git(root, "commit", "--quiet", "--message=start")
    monkeypatch.chdir(root)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(doctor, "at_work", lambda project: [])  # other tests may run DVC beside this one
    found = find_project()
    assert found is not None
    yield found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def expect_fixed(*messages: str) -> None:
    """The doctor names it, repairs it when told, and finds nothing then."""
    asked = run()
    assert asked.exit_code == 1 and "privpipe doctor --fix" in asked.output
    for message in messages:
        assert message in asked.output
    repaired = run("--fix")
    assert repaired.exit_code == 0, repaired.output
    assert run().output.startswith("0 problems found")


def test_a_healthy_project_has_no_problem(project: Project) -> None:
    done = run()
    assert (done.exit_code, done.output) == (0, f"0 problems found in {project.root}, 0 repaired\n")
    assert (project.root / "dvc.lock").read_text() == WHOLE


def test_outside_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run()
    assert done.exit_code == 1 and "there is no DVC project here" in done.output


@pytest.mark.parametrize("name", ["rwlock", "exps/rwlock"])
@pytest.mark.parametrize("content", ["", '{"write": {"/x": {"pid": 1', "[]", '{"write": {"/x": 3}}', "\x00\x00"])
def test_half_a_lock(project: Project, name: str, content: str) -> None:
    (project.tmp / name).write_text(content)
    expect_fixed("rwlock is empty or cut short", "JSON structure is corrupted")
    assert not (project.tmp / name).exists()


def test_a_lock_of_a_dead_process_is_left_to_dvc(project: Project) -> None:
    (project.tmp / "rwlock").write_text(json.dumps({"write": {"/x": {"pid": DEAD, "cmd": "dvc repro"}}}))
    assert run().exit_code == 0


def test_a_lock_whose_process_is_another_one_now(project: Project) -> None:
    lock = project.tmp / "rwlock"
    lock.write_text(json.dumps({"read": {"/x": [{"pid": os.getpid(), "cmd": "dvc repro"}]}, "write": {}}))
    os.utime(lock, (1, 1))
    expect_fixed("names a dead process whose number another program has now", "is busy, it is being blocked by")


def test_nothing_is_touched_while_dvc_is_at_work(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(project.root)
    (project.tmp / "rwlock").write_text("")
    program = "import sys, time; print(flush=True); time.sleep(60)"
    for words in (["stages.train"], ["/somewhere/bin/dvc", "repro"]):
        busy = subprocess.Popen([sys.executable, "-c", program, *words], stdout=subprocess.PIPE, cwd=project.root)
        try:
            assert busy.stdout is not None and busy.stdout.readline()
            done = run("--fix")
            assert done.exit_code == 1 and f"are at work in {project.root} ({busy.pid}: " in done.output
            assert (project.tmp / "rwlock").read_text() == ""
            assert doctor.at_work(project) == [psutil.Process(busy.pid)]
        finally:
            busy.kill()
            busy.communicate()


def test_half_a_lock_file_is_made_whole_from_what_git_has_wherever_it_was_cut(project: Project) -> None:
    path, newer = project.root / "dvc.lock", WHOLE.replace(entry("one"), entry("one", 7))
    rng = random.Random(1)
    for cut in [0, *rng.sample(range(1, len(newer)), 60)]:
        path.write_text(newer[:cut])
        damage = lockfile.damage(path)
        if newer[:cut].endswith("\n") and damage is None:
            continue  # cut between two lines: DVC reads it, and runs the stage of the last entry again
        assert damage is not None
        assert run("--fix").exit_code == 0 and lockfile.damage(path) is None
        # An entry that is whole is kept, though git has an older one.
        first_is_whole = cut > newer.index("  two:")
        assert path.read_text() == (newer if first_is_whole else WHOLE), cut


def test_a_lock_file_that_git_does_not_have_keeps_its_whole_entries(project: Project) -> None:
    git(project.root, "rm", "--quiet", "--cached", "dvc.lock")
    git(project.root, "commit", "--quiet", "--message=without")
    (project.root / "dvc.lock").write_text(lockfile.HEAD + entry("one") + entry("two")[:70])
    expect_fixed("dvc.lock is damaged (it ends within a line)", "`git checkout dvc.lock` would lose whole entries")
    assert (project.root / "dvc.lock").read_text() == lockfile.HEAD + entry("one")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("    outs:\n", "    outs:\n    - x\n", "has one of outs without a path"),
        ("md5: abab", "md5: ab", "has half a checksum of one.txt"),
        ("      size: 10\n", "", "says too little of one.txt"),
        ("    cmd: make one\n", "", "has no command"),
        ("schema: '2.0'\n", "", "ends before its first entry"),
    ],
)
def test_entries_that_dvc_stumbles_over(project: Project, old: str, new: str, what: str) -> None:
    (project.root / "dvc.lock").write_text(WHOLE.replace(old, new, 1))
    expect_fixed(what)
    assert (project.root / "dvc.lock").read_text() == WHOLE


def test_an_entry_without_its_outputs(project: Project) -> None:
    """DVC 3.67.1 says: failed to reproduce 'two': 'outs'."""
    block = entry("two")
    (project.root / "dvc.lock").write_text(WHOLE.replace(block, block[: block.index("    outs:")]))
    expect_fixed("the entry of two has no outputs")
    assert (project.root / "dvc.lock").read_text() == WHOLE


def test_a_lock_file_of_a_folder_below(project: Project) -> None:
    folder = project.root / "other"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "dvc.lock").write_text(WHOLE[:100])
    expect_fixed("other/dvc.lock is damaged")


def test_a_project_inside_is_left_to_itself_and_found_from_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = project.root / "inner"
    (inner / ".dvc" / "tmp").mkdir(parents=True)
    (inner / ".dvc" / "tmp" / "rwlock").write_text("")
    (inner / "dvc.lock").write_text("half")
    assert run().exit_code == 0
    monkeypatch.chdir(inner)
    (inner / "below").mkdir()
    monkeypatch.chdir(inner / "below")
    expect_fixed("inner/.dvc/tmp/rwlock", "inner/dvc.lock")


@pytest.mark.parametrize("where", ["standalone/tmp12ab", "tmp_3x"])
def test_a_folder_of_a_killed_experiment_is_removed_and_its_key_kept(project: Project, where: str) -> None:
    """A research key, or one that the project has, is made or found again; any other is not."""
    folder = project.tmp / "exps" / where
    private = folder / "data" / "private"
    private.mkdir(parents=True)
    (private / "images.h5").write_text("raw")
    outside = project.root.parent / "outside"
    outside.mkdir()
    (outside / "photo").write_text("photo")
    (folder / "link").symlink_to(outside)
    mine, only_there = new_key(None), new_key(None)
    write_key(project.root / "data" / "private" / "key.json", mine)
    for name, key in (("key.json", only_there), ("mine.json", mine), ("research.json", new_key(3))):
        write_key(private / name, key)
    content = (private / "key.json").read_bytes()
    expect_fixed(f"{folder} is what a killed experiment left", "move the key that is only there to")
    assert not folder.exists() and (outside / "photo").exists()
    kept = project.root / "data" / "private" / f"rescued-{only_there.fingerprint}-key.json"
    assert sorted(kept.parent.iterdir()) == [kept.with_name("key.json"), kept]
    assert kept.read_bytes() == content and stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_half_of_dvcs_notes(project: Project) -> None:
    for name in ("run/abc/abc.json", "standalone/run/abc/abc.run"):
        (project.tmp / "exps" / name).parent.mkdir(parents=True)
        (project.tmp / "exps" / name).write_text('{"pid": ')
    whole = project.tmp / "exps" / "run" / "abc" / "abc.run"
    whole.write_text("{}")
    expect_fixed("abc.json is empty or cut short", "abc.run is empty or cut short")
    assert whole.exists()


def test_half_files_of_dead_processes_and_of_older_versions(project: Project) -> None:
    folder = project.root / "plots"
    folder.mkdir()
    (folder / "victim").write_text("precious")
    gone = [folder / f".x.csv.{DEAD}-01234567.partial", project.root / "one.txt.partial"]
    for path in gone:
        path.write_text("half")
    gone.append(project.root / "two.json.partial")
    gone[-1].symlink_to(folder / "victim")
    stay = [folder / f".x.csv.{os.getpid()}-01234567.partial", folder / "my-own.partial"]
    for path in stay:
        path.write_text("half, or somebody's own")
    expect_fixed(*(f"{path} is half of an output" for path in gone))
    assert not any(os.path.lexists(path) for path in gone)
    assert sorted(folder.iterdir()) == sorted([*stay, folder / "victim"])
    assert (folder / "victim").read_text() == "precious"


@pytest.mark.parametrize(
    "name",
    [
        "ne.txt",
        "one",
        "one.tx",
        "e.txt",
        "two",
        "a",
        "make one",
        "stages",
        "sub/deep",
        "deep/out.txt",
        "in.txt",
        "item",
    ],
)
def test_a_file_of_somebodys_own_is_no_half_of_an_output(project: Project, name: str) -> None:
    """Parts of the words of dvc.yaml are no outputs, nor are dependencies."""
    more = "  four: {cmd: make four, wdir: sub, deps: [in.txt], outs: [{deep/out.txt: {cache: false}}]}\n"
    (project.root / "dvc.yaml").write_text(PIPELINE + more)
    own = project.root / f"{name}.partial"
    half = project.root / "sub" / "deep" / "out.txt.partial"
    for path in (own, half):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    expect_fixed(f"{half} is half of an output")
    assert own.read_text() == "precious" and not half.exists()


@pytest.mark.parametrize("text", ["", "[]", "stages: 3", "stages: {one: null}", "a: [", "stages: {one: {outs: [[]]}}"])
def test_a_pipeline_that_cannot_be_read_declares_nothing(project: Project, text: str) -> None:
    (project.root / "dvc.yaml").write_text(text)
    (project.root / "one.txt.partial").write_text("precious")
    assert run("--fix").exit_code == 0
    assert (project.root / "one.txt.partial").read_text() == "precious"


def test_gits_own_lock_is_named_and_left(project: Project) -> None:
    (project.root / ".git" / "index.lock").write_text("")
    done = run("--fix")
    assert done.exit_code == 1 and "rm " in done.output and (project.root / ".git" / "index.lock").exists()


def test_raw_images_that_others_can_read(project: Project) -> None:
    for folder in (project.root / "data" / "private", project.cache):
        folder.chmod(0o755)
    expect_fixed("data/private can be read by other users", ".dvc/cache can be read by other users", "mode 0444")
    assert {stat.S_IMODE(path.stat().st_mode) for path in (project.root / "data/private", project.cache)} == {0o700}


@pytest.mark.parametrize("setting", ["dir = ../../elsewhere", "shared = group"])
def test_a_shared_cache_is_named_and_not_closed(project: Project, setting: str) -> None:
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    project.cache.chmod(0o755)
    (project.root / ".dvc" / "config.local").write_text(f"[cache]\n    {setting}\n")
    found = find_project()
    assert found is not None and not found.owns_cache
    done = run("--fix")
    assert done.exit_code == 1 and f"the cache {found.cache} is shared, or can be read by" in done.output
    assert "dvc config --local --unset cache.dir" in done.output
    assert stat.S_IMODE(found.cache.stat().st_mode) == 0o755


def test_files_of_the_cache_that_are_not_what_their_names_say(project: Project) -> None:
    good, bad = "5d41402abc4b2a76b9719d911017c592", "7d793037a0760186574b0282f2f435e7"  # of hello, of world
    for name, content in ((good, "hello"), (bad, "word"), (bad + ".dir", "world"), ("00notmd5", "x")):
        path = project.cache / "files" / "md5" / name[:2] / name[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o444)
    assert run().exit_code == 0
    asked = run("--cache")
    assert asked.exit_code == 1 and asked.output.count("is not what its name says") == 1
    assert run("--cache", "--fix").exit_code == 0 and run("--cache").exit_code == 0
    (moved,) = (project.tmp / "damaged").iterdir()
    assert moved.read_text() == "word"
    assert not (project.cache / "files" / "md5" / bad[:2] / bad[2:]).exists()


def test_a_remedy_that_fails_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(13, "Permission denied")

    (project.tmp / "exps" / "tmpabc").mkdir()
    monkeypatch.setattr(doctor.shutil, "rmtree", refuse)
    done = run("--fix")
    assert done.exit_code == 1 and "that failed: [Errno 13] Permission denied" in done.output
    assert "1 problem found" in done.output and "0 repaired" in done.output
