"""A training that does not get the processor says so once; on a quiet machine nothing is said."""

import pytest

from privpipe.nn.contention import ENOUGH, WINDOW, Contention


class Clocks:
    """Of a machine that gives the thread a fraction of the time."""

    def __init__(self, fraction: float):
        self.fraction, self.wall, self.worked = fraction, 0.0, 0.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.worked += seconds * self.fraction


def run(clocks: Clocks, steps: int, threads: int = 2, watch: Contention | None = None) -> Contention:
    """Steps of a second each."""
    watch = watch or Contention(threads, lambda: clocks.wall, lambda: clocks.worked)
    for _ in range(steps):
        with watch:
            clocks.pass_by(1.0)
    return watch


def test_it_says_once_what_would_help(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    clocks = Clocks(0.5)
    watch = run(clocks, int(WINDOW) - 1)
    assert not caplog.messages
    run(clocks, 100, watch=watch)
    assert caplog.messages == [
        "other programs keep the processor busy: the training had 50 % of the time that it asked for in the last 10 s. "
        "What helps is OMP_WAIT_POLICY=passive in the environment (the same results), train.threads=1 (now 2; results "
        "differ in rounding), or a time when the machine is less busy."
    ]


@pytest.mark.parametrize(
    ("threads", "policy", "advice"),
    [
        (1, "", "What helps is a time when the machine is less busy."),
        (4, "PASSIVE", "What helps is train.threads=1 (now 4; results differ in rounding), or a time when"),
    ],
)
def test_it_advises_nothing_that_is_so_already(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, threads: int, policy: str, advice: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    run(Clocks(0.3), 20, threads)
    assert len(caplog.messages) == 1 and advice in caplog.messages[0] and "OMP" not in caplog.messages[0]


def test_nothing_is_said_on_a_quiet_machine(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks(0.97)
    watch = run(clocks, 100)
    for _ in range(100):  # what passes between steps, such as the reading of images, counts for nothing
        clocks.wall += 60.0
        run(clocks, 1, watch=watch)
    clocks.fraction = ENOUGH + 0.01
    run(clocks, 100, watch=watch)
    assert not caplog.messages


def test_company_that_comes_later_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    clocks = Clocks(1.0)
    watch = run(clocks, 1000)
    clocks.fraction = 0.4
    run(clocks, 20, watch=watch)
    assert len(caplog.messages) == 1 and "had 40 %" in caplog.messages[0]
