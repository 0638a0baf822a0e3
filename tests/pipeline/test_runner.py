"""A sweep is run to its end, whatever happens on the way, and no finished experiment is run again."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import preloaded
import psutil
import pytest
from distributed import Client, LocalCluster
from small_sweep import ROOT, SECONDS, how, models, results, table, write_small_images, write_sweep

from privpipe.errors import PrivpipeError
from privpipe.params import Params
from privpipe.pipeline import runner
from privpipe.pipeline.executors import open_executor
from privpipe.pipeline.fingerprint import Measurement, Row, code_of
from privpipe.pipeline.grid import Sweep, Task
from privpipe.pipeline.runner import ONE_RUN_AT_A_TIME, run, run_sweep
from studies.paper.columns import COLUMNS
from studies.paper.group import MODEL

SCRAMBLE = {"method": "block_scramble", "k": [2, 4]}
GROUP: dict[str, Any] = {
    "perturb": SCRAMBLE,
    "model": {"arch": ["descrambler", "baseline"]},
    "train": {"epochs": 15},  # about a second: long enough to be killed in the middle
}


def run_models(tasks: list[Task], images: Path, rows: Path, scratch: Path, sweep: Sweep) -> None:
    """Run models of the study."""
    run_sweep(tasks, MODEL, {"images": images}, rows, scratch, sweep)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_images(tmp_path_factory.mktemp("images") / "images.h5")


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    """Four models of about a second each."""
    return models(tmp_path_factory.mktemp("group"), GROUP)


@pytest.fixture(scope="module")
def finished(group: list[Task], images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of `group`, run one model after the other in this process."""
    folder = tmp_path_factory.mktemp("finished")
    run_models(group, images, folder / "small.csv", folder / "scratch", how())
    assert not (folder / "scratch").exists()
    return folder / "small.csv"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return tmp_path / "results" / "small.csv"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Params]:
    """The models that are trained in this process from now on."""
    seen = []

    def note(measurement: Any, params: Params, *others: Any) -> Row:
        seen.append(params)
        return run(measurement, params, *others)

    monkeypatch.setattr(runner, "run", note)
    return seen


def die(*_: Any) -> Row:
    """What a worker does that runs out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@contextmanager
def one_worker_killed(scratch: Path) -> Iterator[list[int]]:
    """Within the block, kill the first worker process that is found training a model; yields its number."""
    killed: list[int] = []
    over = threading.Event()

    def kill() -> None:
        while not over.is_set() and not killed:
            for perturbed in scratch.glob("*/worker-*/*.json"):  # written right before training
                pid = int(perturbed.parent.name.rpartition("-")[2])
                assert pid != os.getpid()
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.005)

    hunter = threading.Thread(target=kill)
    hunter.start()
    try:
        yield killed
    finally:
        over.set()
        hunter.join()


def stage(folder: Path, images: Path, rows: Path) -> list[str]:
    """The command that runs the group `small` of the study in `folder`."""
    options = {
        **{"grid": folder / "params.yaml", "common": folder / "common.yaml", "group": "small"},
        **{"images": images, "scratch": folder / "scratch", "rows": rows},
    }
    return [sys.executable, "-m", "studies.paper.group", *(f"--{name}={value}" for name, value in options.items())]


def test_each_model_has_its_row_in_the_order_of_the_grid(
    group: list[Task], finished: Path, images: Path, tmp_path: Path
) -> None:
    expected = [MODEL.measure(task.params, tmp_path / "scratch", images=images) for task in group]
    kept = [name for name in COLUMNS if name not in ("group", "seconds", "code", "fingerprint")]
    assert [{name: row[name] for name in kept} for row in results(finished)] == [
        {name: "" if row.get(name) is None else str(row[name]) for name in kept} for row in expected
    ]
    assert {row["group"] for row in results(finished)} == {"small"}
    assert {row["code"] for row in results(finished)} == {code_of(MODEL, "block_scramble")[:16]}
    assert [(row["arch"], row["k"]) for row in results(finished)] == [
        (arch, k) for k in ("2", "4") for arch in ("descrambler", "baseline")
    ]


def test_worker_processes_give_the_same_rows(
    group: list[Task], finished: Path, images: Path, rows: Path, scratch: Path
) -> None:
    """Also where one of them is killed in the middle of a model, as the system does for want of memory."""
    with one_worker_killed(scratch) as killed:
        run_models(group, images, rows, scratch, how("processes", 2))
    assert killed
    assert results(rows) == results(finished)
    assert not scratch.exists()


def test_a_second_run_trains_nothing(
    group: list[Task], finished: Path, images: Path, scratch: Path, trained: list[Params]
) -> None:
    before = finished.read_bytes()
    run_models(group, images, finished, scratch, how("processes"))
    assert finished.read_bytes() == before
    assert trained == []


def test_a_model_that_is_added_is_the_only_one_trained(
    finished: Path, images: Path, tmp_path: Path, rows: Path, scratch: Path, trained: list[Params]
) -> None:
    rows.parent.mkdir()
    rows.write_bytes(finished.read_bytes())
    larger = models(tmp_path, {**GROUP, "perturb": {**SCRAMBLE, "k": [2, 8, 4]}, "model": {"arch": "descrambler"}})
    run_models(larger, images, rows, scratch, how())
    assert trained == [larger[1].params]
    lines, old = rows.read_text().splitlines(), finished.read_text().splitlines()
    # In the order of the grid, the others as they were; the baselines, no longer wanted, are gone.
    assert [lines[0], lines[1], lines[3]] == [old[0], old[1], old[3]]
    assert [row["k"] for row in table(rows)] == ["2", "8", "4"]


def test_other_images_are_other_models(
    group: list[Task], finished: Path, tmp_path: Path, rows: Path, scratch: Path, trained: list[Params]
) -> None:
    rows.parent.mkdir()
    rows.write_bytes(finished.read_bytes())
    run_models(group[:1], write_small_images(tmp_path / "images.h5", seed=1), rows, scratch, how())
    assert trained == [group[0].params]
    assert [row["fingerprint"] for row in table(rows)] != [table(finished)[0]["fingerprint"]]


@pytest.mark.parametrize("scheduler", ["inline", "processes"])
def test_a_killed_run_goes_on_where_it_was(
    scheduler: str, finished: Path, images: Path, tmp_path: Path, rows: Path
) -> None:
    write_sweep(tmp_path, {"small": GROUP}, sweep={"scheduler": scheduler, "workers": 1})
    command = stage(tmp_path, images, rows)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as first:
        children = []
        try:
            while not rows.exists() or len(rows.read_text().splitlines()) < 2:
                assert first.poll() is None
                time.sleep(0.005)
            children = psutil.Process(first.pid).children(recursive=True)
        finally:
            first.kill()
    _, alive = psutil.wait_procs(children, SECONDS)
    assert not alive
    before = rows.read_text()
    assert 2 <= len(before.splitlines()) < 5
    command[0] = preloaded.python()
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL, timeout=SECONDS)
    assert rows.read_text().startswith(before)  # the seconds too: nothing was run twice
    assert results(rows) == results(finished)
    assert not (tmp_path / "scratch").exists()


def test_workers_that_always_die_are_given_up(
    group: list[Task], finished: Path, images: Path, rows: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.parent.mkdir()
    rows.write_text("".join(finished.read_text().splitlines(keepends=True)[:2]))
    before = rows.read_bytes()
    monkeypatch.setattr(runner, "run", die)
    monkeypatch.setattr(runner, "BREAKS", 1)
    with pytest.raises(PrivpipeError) as caught:
        run_models(group, images, rows, scratch, how("processes", 1))
    assert str(caught.value) == (
        "worker processes died 2 times, perhaps for want of memory. What is done is on disk. Set sweep.workers to a "
        "smaller number and run the same command again."
    )
    assert rows.read_bytes() == before
    assert not scratch.exists()


def test_no_row_is_lost_that_comes_at_the_moment_of_a_death(
    group: list[Task], finished: Path, images: Path, rows: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dying(Executor):
        """Whose only worker dies right after the last of the calls."""

        def submit(self, call: Callable[..., Row], /, *args: Any, **kwargs: Any) -> Future[Row]:
            future: Future[Row] = Future()
            if args[1] in (group[0].params, group[2].params):
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(call(*args, **kwargs))
            return future

    @contextmanager
    def dying(*_: Any) -> Iterator[tuple[Executor, int]]:
        yield Dying(), 4

    monkeypatch.setattr(runner, "open_executor", dying)
    with pytest.raises(PrivpipeError, match=r"worker processes died 4 times"):
        run_models(group, images, rows, scratch, how())
    assert sorted(results(rows), key=lambda row: row["k"]) == results(finished)[1::2]


def test_a_model_that_fails_lets_the_others_finish_and_is_tried_again(
    tmp_path: Path, rows: Path, scratch: Path, trained: list[Params]
) -> None:
    few = write_small_images(tmp_path / "images.h5", train=3)  # too few to infer a permutation from
    model = {"arch": "descrambler", "descrambler": ["inferred", "learned"]}
    group = models(tmp_path, {"perturb": {**SCRAMBLE, "k": 4}, "model": model})
    message = (
        f"1 of 2 of small failed. The others are in {rows}; run the same command again for these alone:\n"
        f"{group[0].name}: "
    )
    for expected in (group, group[:1]):
        trained.clear()
        with pytest.raises(PrivpipeError) as caught:
            run_models(group, few, rows, scratch, how())
        assert str(caught.value).startswith(message)
        assert "must be uint8 (N, H, W, C) with N at least 4" in str(caught.value)
        assert trained == [task.params for task in expected]
        assert [row["status"] for row in table(rows)] == ["done"]
        assert not scratch.exists()


def test_a_diverged_model_is_a_result_like_others(
    images: Path, tmp_path: Path, rows: Path, scratch: Path, trained: list[Params]
) -> None:
    group = models(tmp_path, {"train": {"lr": [1e30, 0.001]}})
    for _ in range(2):
        run_models(group, images, rows, scratch, how())
    assert [(row["lr"], row["status"]) for row in table(rows)] == [("1e+30", "diverged"), ("0.001", "done")]
    assert trained == [task.params for task in group]


def test_an_interrupted_group_keeps_what_is_done(
    group: list[Task], images: Path, rows: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def interrupted(*arguments: Any) -> Row:
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(runner, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_models(group, images, rows, scratch, how())
    assert len(table(rows)) == 1
    assert not scratch.exists()


def test_missing_images_and_unknown_schedulers_are_told(
    group: list[Task], images: Path, tmp_path: Path, rows: Path, scratch: Path
) -> None:
    with pytest.raises(PrivpipeError, match=r"cannot read .*none.h5: No such file.* Make it with `dvc repro`"):
        run_models(group, tmp_path / "none.h5", rows, scratch, how())
    with pytest.raises(PrivpipeError, match=r"sweep.scheduler must be one of auto, inline, .*; got 'slurm'"):
        run_models(group, images, rows, scratch, how("slurm"))
    assert table(rows) == []


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A Dask scheduler with two workers, each a process of one thread under a nanny that replaces it."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def test_a_dask_cluster_gives_the_same_rows(
    group: list[Task], finished: Path, images: Path, rows: Path, scratch: Path, cluster: LocalCluster
) -> None:
    """Also where one of its workers is killed in the middle of a model."""
    with one_worker_killed(scratch) as killed:
        run_models(group, images, rows, scratch, how(cluster.scheduler_address))
    assert killed
    assert results(rows) == results(finished)


def test_nobody_waits_for_a_cluster_after_an_error(cluster: LocalCluster, tmp_path: Path) -> None:
    call = "import os, time\nfor _ in range(1200): os.path.exists(PATH) or time.sleep(0.1)"
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt), open_executor(cluster.scheduler_address, None, "cpu", 1) as (executor, _):
        for _ in range(5):
            executor.submit(exec, call, {"PATH": str(tmp_path / "over")})
        raise KeyboardInterrupt
    assert time.monotonic() - begin < 100
    (tmp_path / "over").touch()


def test_a_cluster_that_gives_up_is_told(
    images: Path, tmp_path: Path, rows: Path, scratch: Path, cluster: LocalCluster
) -> None:
    group = models(tmp_path, {"train": {"epochs": [15, 10_000]}})

    def restart() -> None:
        while not rows.exists() or len(rows.read_text().splitlines()) < 2:
            time.sleep(0.01)
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            client.restart(wait_for_workers=False)  # their coming back is not what is tested

    other = threading.Thread(target=restart)
    other.start()
    with pytest.raises(PrivpipeError) as caught:
        run_models(group, images, rows, scratch, how(cluster.scheduler_address))
    other.join()
    assert str(caught.value) == (
        f"sweep.scheduler={cluster.scheduler_address} gave experiments up: it has ended, or was restarted. "
        "What is done is on disk. Start it again and run the same command again."
    )
    assert [row["epochs"] for row in table(rows)] == ["15"]


def test_dask_workers_with_several_threads_are_told(group: list[Task], images: Path, rows: Path, scratch: Path) -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        pytest.raises(PrivpipeError) as caught,
    ):
        run_models(group, images, rows, scratch, how(cluster.scheduler_address))
    assert "this process runs another experiment already. Start Dask workers with `--nthreads 1`" in str(caught.value)
    assert len(table(rows)) >= 1


def wait(params: Params, scratch: Path, folder: Path) -> Row:
    """A measurement that says that it has begun and ends when it is told to."""
    scratch.mkdir(parents=True)
    (folder / "begun").touch()
    while not (folder / "end").exists():
        time.sleep(0.005)
    assert scratch.exists()
    return {"k": params.perturb.k}


def test_a_second_experiment_in_the_same_process_is_refused(
    group: list[Task], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_code_here", lambda *_: "code")
    arguments = (Measurement(wait, ("k",)), group[0].params, tmp_path / "scratch", {"folder": tmp_path}, "code")
    rows: list[Row] = []
    first = threading.Thread(target=lambda: rows.append(run(*arguments)))
    first.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.001)
    with pytest.raises(PrivpipeError) as caught:
        run(*arguments)
    (tmp_path / "end").touch()
    first.join()
    assert str(caught.value) == (
        "this process runs another experiment already. Start Dask workers with `--nthreads 1`, and as many as needed "
        "with `--nworkers`."
    )
    assert rows == [{"k": group[0].params.perturb.k}]


def test_a_worker_of_other_code_is_refused(group: list[Task], tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"this worker runs other code than the sweep: .* Start the Dask workers"):
        run(MODEL, group[0].params, tmp_path, {"images": tmp_path / "none.h5"}, 64 * "0")
    assert not ONE_RUN_AT_A_TIME.locked()


def test_a_second_sweep_of_the_same_table_is_refused(
    group: list[Task], images: Path, tmp_path: Path, rows: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def again(*arguments: Any) -> Row:
        with pytest.raises(PrivpipeError, match="another run fills") as caught:
            run_models(group, images, rows, scratch, how())
        said.append(caught.value)
        return run(*arguments)

    monkeypatch.setattr(runner, "run", again)
    run_models(group[:1], images, rows, scratch, how())
    assert len(said) == len(table(rows)) == 1


def test_an_experiment_that_failed_leaves_the_process_free(group: list[Task], tmp_path: Path) -> None:
    with pytest.raises(PrivpipeError, match=r"none.h5 is missing"):
        run(MODEL, group[0].params, tmp_path, {"images": tmp_path / "none.h5"}, code_of(MODEL, "block_scramble"))
    assert not ONE_RUN_AT_A_TIME.locked()


def test_two_groups_at_the_same_time_do_not_disturb_each_other(
    finished: Path, images: Path, tmp_path: Path, scratch: Path
) -> None:
    """By processes of their own, as `dvc repro` of each would start them."""
    commands = []
    for name in ("one", "two"):
        write_sweep(tmp_path / name, {"small": {**GROUP, "perturb": {**SCRAMBLE, "k": 2}}})
        command = stage(tmp_path / name, images, tmp_path / f"{name}.csv")
        command[0] = preloaded.python()
        commands.append([f"--scratch={scratch}" if part.startswith("--scratch") else part for part in command])
    both = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) for command in commands]
    assert [process.wait(SECONDS) for process in both] == [0, 0]
    assert results(tmp_path / "one.csv") == results(tmp_path / "two.csv") == results(finished)[:2]
    assert not scratch.exists()


def test_experiments_that_are_measured_alike_are_refused(
    images: Path, tmp_path: Path, rows: Path, scratch: Path
) -> None:
    """The study measures nothing that depends on the attacks' seed."""
    group = models(tmp_path, {"attack": {"seed": [0, 1]}})
    with pytest.raises(PrivpipeError) as caught:
        run_models(group, images, rows, scratch, how())
    name = "small (paper, baseline, k=1, key.seed=0, train.seed=0, train.lr=0.001, train.reg=0.001)"
    assert str(caught.value) == f"{name} and {name} are measured alike. Take one of them out."
    assert not rows.exists()
