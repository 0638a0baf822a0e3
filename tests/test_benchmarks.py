"""The benchmarks' arithmetic, verdicts and page; nothing here asserts a time."""

import platform
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click import ClickException

from benchmarks.against import Build, checked_out, compare, row
from benchmarks.child import Cost, in_child
from benchmarks.page import PAGE, page_text, write_page
from benchmarks.results import (
    FOLDER,
    Figure,
    Line,
    Outcome,
    Result,
    Table,
    Target,
    load,
    load_all,
    number,
    save,
    summary_row,
)
from benchmarks.timing import Spread, Timing, faster, power_law, side_by_side
from benchmarks.topics import sizes
from benchmarks.topics.builds import least

ROOT = Path(__file__).parents[1]


def test_contenders_take_turns_and_the_warm_up_does_not_count() -> None:
    calls: list[str] = []
    contenders = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    timings = side_by_side(contenders, repeats=3, warmup=2, items={"b": 4})
    assert calls == ["a", "b"] * 5
    assert {name: (len(t.wall), len(t.cpu)) for name, t in timings.items()} == {"a": (3, 3), "b": (3, 3)}


def test_seconds_are_per_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.timing.clocked", lambda call: call())
    contenders = {"one": lambda: (8.0, 16.0), "four": lambda: (8.0, 16.0)}
    timings = side_by_side(contenders, repeats=2, items={"four": 4})
    assert timings == {"one": Timing((8.0, 8.0), (16.0, 16.0)), "four": Timing((2.0, 2.0), (4.0, 4.0))}


def test_a_ratio_is_taken_within_each_round() -> None:
    # A machine that was slow in the second round, for both: the ratio does not see it.
    timings = {"ours": Timing((1.0, 10.0, 1.0), (2.0, 2.0, 2.0)), "loop": Timing((3.0, 30.0, 4.0), (2.0, 4.0, 8.0))}
    assert faster(timings, "ours", "loop") == Spread(3.0, 3.0, 4.0)
    assert faster(timings, "ours", "loop", "cpu") == Spread(2.0, 1.0, 4.0)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, -0.5])
def test_the_exponent_of_an_exact_power_law_is_found(exponent: float) -> None:
    x = [10.0, 100.0, 3000.0, 5000.0]
    assert power_law(x, [7 * value**exponent for value in x]) == pytest.approx((exponent, 7))


@pytest.mark.parametrize(
    ("limits", "value", "verdict"),
    [
        ({"at_least": 2}, Spread(2, 1, 3), "met"),
        ({"at_least": 2}, Spread(1.99, 1, 9), "missed"),
        ({"at_most": 2}, Spread(2, 1, 3), "met"),
        ({"at_most": 2}, Spread(2.01, 0, 3), "missed"),
        ({"at_most": 2}, None, "not measured"),
    ],
)
def test_a_verdict_goes_by_the_median(limits: dict[str, float], value: Spread | None, verdict: str) -> None:
    assert Target("id", "what", "x", value, **limits).verdict == verdict


def test_a_target_has_one_threshold() -> None:
    for limits in ({}, {"at_least": 1, "at_most": 1}):
        with pytest.raises(ValueError, match="needs at_least or at_most, one of them"):
            Target("id", "what", "x", None, **limits)


def test_a_target_as_a_row() -> None:
    met = Target("id", "blur", "x", Spread(2.346, 2.0, 3.2), at_least=2)
    assert summary_row(met) == ["blur", "2.35x", "2.00 to 3.20", ">= 2x", "met"]
    absent = Target("id", "attack", "s", None, at_most=5, reason="no disk")
    assert summary_row(absent) == ["attack", "", "", "<= 5 s", "not measured: no disk"]
    once = Target("id", "share", "%", Spread(70.0, 70.0, 70.0), at_least=80)
    assert summary_row(once) == ["share", "70.0%", "", ">= 80%", "missed"]


def test_numbers_have_three_digits_that_count() -> None:
    values = {0.012345: "0.0123", 1.2345: "1.23", 12.345: "12.3", 123.45: "123", 12345.6: "12,346", 60_000: "60,000"}
    assert {value: number(value) for value in values} == values
    assert number(0.0) == "0"


@pytest.fixture
def made_up() -> Result:
    """A result with everything in it that a file and the page can hold."""
    targets = [
        Target("write", "HDF5 write", "%", Spread(70.0, 60.0, 80.0), at_least=80, bound="by a profile, the disk"),
        Target("read", "HDF5 read", "%", Spread(90.0, 90.0, 90.0), at_least=80),
        Target("absent", "read of a tape", "s", None, at_most=5, reason="there is no tape"),
    ]
    tables = [
        Table("Rates", ["what", "n", "MB/s"], [["a|b", 60_000, Spread(1.5, 1.0, 2.0)], ["c", None, 0.25]], "A note.")
    ]
    lines = [Line("write", [1.0, 10.0], [2.0, 20.0], 1.0, 2.0, 1.0)]
    figures = [Figure("made-up", "Growth", "images", "seconds", lines)]
    machine = {"processor": "a processor", "cores": 2, "memory_gib": 24, "system": "Linux", "torch": "2.13.0"}
    outcome = Outcome(targets, tables, figures)
    return Result("storage", "python -m benchmarks --only storage", machine, {"1": 50.0, "2": 99.0}, "drawn", outcome)


def test_a_result_comes_back_from_its_file(made_up: Result, tmp_path: Path) -> None:
    save(made_up, tmp_path)
    assert load(tmp_path / "storage.json") == made_up
    text = (tmp_path / "storage.json").read_text()
    assert '"verdict": "missed"' in text and '"verdict": "not measured"' in text


def test_the_page_says_what_the_results_say(made_up: Result) -> None:
    page = page_text([made_up])
    assert "a processor, 2 cores, 24 GiB, Linux; torch 2.13.0" in page
    assert "| HDF5 write | 70.0% | 60.0 to 80.0 | >= 80% | missed |" in page
    assert "| read of a tape |  |  | <= 5 s | not measured: there is no tape |" in page
    assert "- HDF5 write: by a profile, the disk." in page
    assert "| a\\|b | 60,000 | 1.50 (1.00 to 2.00) |\n| c |  | 0.250 |" in page and "A note." in page
    assert "## Storage" in page and "`python -m benchmarks --only storage`" in page
    assert "![Growth](images/performance-made-up.png)" in page


def test_results_of_another_machine_stand_beside_the_others(made_up: Result, tmp_path: Path) -> None:
    other = replace(made_up, topic="storage-epyc", note="It was raining.")
    save(other, tmp_path)
    assert load(tmp_path / "storage-epyc.json") == other
    page = page_text([other, made_up])
    assert "| HDF5 write | 70.0% |" in page and "| HDF5 write (epyc) | 70.0% |" in page
    assert page.index("\n## Storage\n") < page.index("\n## Storage (epyc)\n")
    assert "\nIt was raining.\n" in page and page.count("The rate is of wall-clock time") == 1
    assert "images/performance-made-up.png" in page and "images/performance-made-up-epyc.png" in page


def test_the_page_says_which_precision_a_processor_takes_and_how_much_it_gains(made_up: Result) -> None:
    """A plain loop in float32 half as fast as ours, one in bfloat16 a quarter as fast: bfloat16 at half the rate."""
    columns = ["model", "against plain", "against bfloat16 plain"]
    table = Table("One model", columns, [["baseline", Spread(2.0, 1.0, 3.0), Spread(4.0, 3.0, 5.0)]])
    target = Target("train-baseline", "training baseline (float32): against a plain loop", "x", None, at_least=1.15)
    result = replace(made_up, topic="training-new", outcome=Outcome([target], [table]))
    row = f"| {result.machine['processor']} | baseline | float32 | 0.500 |"
    assert row in page_text([result])
    assert "## Precision" not in page_text([made_up])


def test_the_page_takes_results_of_gpus(made_up: Result) -> None:
    """Last, and each with its machine; what was measured is said once."""
    results = [replace(made_up, topic=f"gpu-{name}", command="python -m benchmarks.gpu") for name in ("h100", "h200")]
    page = page_text([*results, made_up])
    assert page.index("\n## Storage\n") < page.index("\n## Training on a GPU (h100)\n")
    assert "| HDF5 write (h200) | 70.0% |" in page and "`python -m benchmarks.gpu`" in page
    assert page.count("Epochs in batches of 64 on random images of 32x32.") == 1


def test_the_page_comes_with_its_figures(made_up: Result, tmp_path: Path) -> None:
    save(made_up, tmp_path)
    write_page(tmp_path, tmp_path / "page.md", tmp_path)
    assert (tmp_path / "page.md").read_text() == page_text([made_up])
    assert (tmp_path / "performance-made-up.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    results = load_all(FOLDER)
    if not results:
        pytest.skip("benchmarks/results is empty: `make bench` writes it")
    assert PAGE.read_text() == page_text(results)


def test_results_name_no_place_and_no_machine() -> None:
    for path in FOLDER.glob("*.json"):
        text = path.read_text()
        assert not re.search(r"[\s\"'(]/\w", text) and platform.node() not in text, path


def test_a_quick_run_leaves_nothing_behind() -> None:
    before = {path.name for path in ROOT.iterdir()}
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", "storage"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "HDF5 write, float16: share of the raw rate" in done.stdout and "nothing was written" in done.stdout
    assert not {name for name in {path.name for path in ROOT.iterdir()} - before if name.startswith(".bench-")}


def test_two_builds_are_compared_within_each_round() -> None:
    # Seconds by the clock on the wall and of CPU; the second round was slow for both.
    line = row("a case", [(1e-6, 1e-6), (9e-6, 1e-6), (1e-6, 1e-6)], [(2e-6, 4e-6), (18e-6, 4e-6), (3e-6, 4e-6)])
    assert line.split() == ["a", "case", "1.00", "3.00", "2.00", "2.00", "..", "2.50", "4.00", "4.00", "..", "4.00"]


def test_what_is_wanted_of_bfloat16_depends_on_the_processor() -> None:
    intel, amd = "Intel(R) Xeon(R) Processor (avx512_bf16, amx_bf16)", "AMD EPYC (avx512_bf16)"
    assert [least("baseline, bfloat16", on) for on in (intel, amd)] == [1.5, 1.15]
    assert {least("baseline, float32", on) for on in (intel, amd)} == {1.0}
    assert {least("8 models, precision auto", on) for on in (intel, amd)} == {1.5}


def test_builds_take_turns_and_change_the_order() -> None:
    asked: list[str] = []

    class Asked:
        def __init__(self, name: str):
            self.name = name

        def seconds(self, case: str) -> tuple[float, float]:
            asked.append(self.name)
            return float(self.name == "other"), 2.0

    ours, other = compare(Asked("ours"), Asked("other"), "case", rounds=3, warmup=1)
    assert asked == ["other", "ours", "ours", "other"] * 2
    assert ours == [(0.0, 2.0)] * 3 and other == [(1.0, 2.0)] * 3


def test_a_build_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    build = Build(ROOT, "perturbation")
    try:
        assert "block_scramble k=4, scope image, 32x32" in build.cases
        assert all(seconds > 0 for seconds in build.seconds("pixelate k=4, scope dataset, 32x32"))
    finally:
        build.close()
    (tmp_path / "privpipe").symlink_to(ROOT / "privpipe")  # not below the folder that it is said to be in
    with pytest.raises(ClickException, match="the process of a build ended with 1"):
        Build(tmp_path, "perturbation")


def test_an_unknown_revision_is_named() -> None:
    with pytest.raises(ClickException, match="git has no such revision 'no-such'"), checked_out("no-such"):
        pass


def test_what_larger_images_cost_is_judged_and_fitted() -> None:
    value = {"attack": 500.0, "score": 90.0, "ssim": {"l0": 0.5, "l1": 0.625, "l2": 1.0}}
    cost, case = Cost(value, 700.0, 600.0, 4 << 30, 1.0), sizes.CASES[0]
    cpu, memory = sizes.judged(case, 128, 1000, cost)
    assert (cpu.value, cpu.verdict) == (Spread(590.0, 590.0, 590.0), "met")
    assert (memory.value, memory.verdict) == (Spread(4.0, 4.0, 4.0), "missed")
    assert sizes.judged(case, 128, 999, cost) == sizes.judged(case, 64, 1000, cost) == []
    whole = ["block_scramble k=8, scope dataset", "128x128", 1000, 500.0, 90.0, 4096, "0.50, 0.62", 1.0]
    assert sizes.row(case, 128, 1000, cost) == whole
    assert sizes.growth({64: 500, 128: 1000}, {64: cost, 128: cost}) == ([1180.0, 590.0], [4096.0, 4096.0])
    fitted = sizes.line("blur", [32, 64], [1.0, 4.0])
    assert fitted.x == [1024.0, 4096.0] and fitted.exponent == pytest.approx(1)


def test_attack_and_score_are_measured_in_a_process_of_their_own() -> None:
    arguments = {"side": 16, "count": 30, "method": "gaussian_blur", "k": 3, "scope": "dataset"}
    cost = in_child("benchmarks.topics.sizes:attack_and_score", arguments)
    assert 0 < sizes.spent(cost) < cost.cpu and cost.peak >= cost.value["attack_peak"] > 0
    assert cost.value["refused"] == [] and cost.value["ssim"]["l1"] > 0.9


def test_a_case_tells_its_quality() -> None:
    build = Build(ROOT, "restoration")
    try:
        case = "random_filter k=3, scope image, 32x32"
        build.seconds(case)
        assert 35 < build.qualities[case] < 60
    finally:
        build.close()
