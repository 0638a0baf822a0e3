"""What one would guess from general knowledge of the field, noted before measuring, beside what was measured.

    python -m studies.outcomes docs/outcomes.md

makes that page from the committed tables of the study and the survey.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd

from privpipe.attacks.suite import COUNTS
from privpipe.errors import PrivpipeError
from privpipe.files import write_text
from studies.paper.claims import Quantity, difference
from studies.paper.table import accuracy, load_results

ROOT = Path(__file__).parents[1]
STUDY = "dvc --cd studies/paper repro"
SURVEY = "dvc --cd studies/survey repro"
BENCHMARK = "python -m benchmarks --only training"
INTRODUCTION = """# What one would guess, and what is so

Before anything was measured, each figure below was guessed from what the field knows. Where the guess is outside the
interval, intuition misleads. Accuracies are on test images (CIFAR-10 after one pass of JPEG); the interval is of 95 %,
where nothing else is said. The reasons are ours and not tested. This page is made from the committed tables:

```console
$ python -m studies.outcomes docs/outcomes.md
```

"""


@dataclass(frozen=True)
class Measured:
    """A figure with its 95 % interval, in the unit of the guess; both ends equal where there is no interval."""

    value: float
    low: float
    high: float
    runs: str


@dataclass(frozen=True)
class Outcome:
    """A guess, and how it is answered.

    Args:
        question: what was asked.
        guess: the least and the largest value guessed, noted before the measurement.
        unit: of the guess and of the figure.
        measure: from the study's table and the survey's to the figure.
        command: what makes the table again.
        why: the reason in one sentence.
    """

    question: str
    guess: tuple[float, float]
    unit: str
    measure: Callable[[pd.DataFrame, pd.DataFrame], Measured]
    command: str
    why: str


def trained(group: str, k: int) -> Callable[[pd.DataFrame, pd.DataFrame], Measured]:
    """Test accuracy of an experiment of the study, in percent."""

    def measure(study: pd.DataFrame, survey: pd.DataFrame) -> Measured:
        runs = study[(study["group"] == group) & (study["k"] == k) & (study["recipe"] == "paper")]
        result = accuracy(runs, "test")
        if result is None:
            raise PrivpipeError(f"no model of {group} k={k} is finished. Run `{STUDY}`.")
        words = f"{result.runs} training seeds" if result.runs > 1 else "1 model"
        return Measured(100 * result.mean, 100 * result.low, 100 * result.high, words)

    return measure


def loss(group: str, other: str, k: int) -> Callable[[pd.DataFrame, pd.DataFrame], Measured]:
    """By how many points the models of `other` are below those of `group` in the study, over their training seeds."""

    def measure(study: pd.DataFrame, survey: pd.DataFrame) -> Measured:
        results = (trained(name, k)(study, survey) for name in (group, other))
        one, each = (Quantity(r.value / 100, r.low / 100, r.high / 100, r.runs) for r in results)
        below = difference(one, each)
        assert below is not None  # both are there
        return Measured(100 * below.mean, 100 * below.low, 100 * below.high, below.runs)

    return measure


def images_for_key(point: str) -> Callable[[pd.DataFrame, pd.DataFrame], Measured]:
    """How many perturbed images give 99 % of the key, among the numbers that the survey tries (100, 300, 1000, ...)."""

    def measure(study: pd.DataFrame, survey: pd.DataFrame) -> Measured:
        count = float(survey.set_index("point").loc[point, "images_for_99"])
        fewer = [tried for tried in COUNTS if tried < count]
        if not fewer:
            return Measured(count, 1, count, "the least number tried: fewer may do")
        return Measured(count, fewer[-1], count, "between the two numbers tried")

    return measure


def bfloat16_gain(path: Path, model: str) -> Callable[[pd.DataFrame, pd.DataFrame], Measured]:
    """How many times as fast a plain loop trains in bfloat16 as in float32 on a Xeon without AMX.

    Args:
        path: of a result of the topic `training` of the benchmarks.
    """

    def measure(study: pd.DataFrame, survey: pd.DataFrame) -> Measured:
        known = json.loads(path.read_text(encoding="utf-8"))
        processor = known["machine"]["processor"]
        if "Xeon" not in processor or "amx" in processor:
            raise PrivpipeError(f"{path} must be of a Xeon without AMX; got {processor}.")
        table = known["outcome"]["tables"][0]
        rows = (dict(zip(table["columns"], row, strict=True)) for row in table["rows"])
        row = next(row for row in rows if row["model"] == model)
        single, half = row["against plain"], row["against bfloat16 plain"]
        ends = single["low"] / half["high"], single["high"] / half["low"]
        return Measured(single["median"] / half["median"], *ends, "no more apart than the rounds of both")

    return measure


OUTCOMES = (
    Outcome(
        "block_scramble k = 4, one key: accuracy",
        (54, 54),
        "%",
        trained("block_scramble", 4),
        STUDY,
        "A convolution over whole blocks learns what a fixed permutation did, since it is the same in every image.",
    ),
    Outcome(
        "block_scramble k = 8, one key: accuracy",
        (48, 48),
        "%",
        trained("block_scramble", 8),
        STUDY,
        "Colours and coarse shapes survive, and they decide most of what a small network gets right.",
    ),
    Outcome(
        "random_filter k = 5, a fresh filter for each image: accuracy",
        (50, 50),
        "%",
        trained("random_filter-image", 5),
        STUDY,
        "A linear filter keeps edges where they are, whatever its weights, and float output clips nothing.",
    ),
    *(
        Outcome(
            f"block_scramble k = {k}: points lost by a key for each image",
            (5, 11),
            "points",
            loss("block_scramble", "block_scramble-image", k),
            STUDY,
            "What a network learns of a block it learns from what no permutation changes, with one key as well.",
        )
        for k in (2, 4, 8)
    ),
    Outcome(
        "block_scramble k = 4, one key: images that give 99 % of it away",
        (1500, 1500),
        "images",
        images_for_key("block_scramble-4-dataset"),
        SURVEY,
        "Each image has 64 blocks, and each pair of neighbouring pixels votes in every one of them.",
    ),
    Outcome(
        "training in bfloat16 on a Xeon with AVX512-BF16 and without AMX, against float32",
        (1.1, 1.1),
        "times as fast",
        bfloat16_gain(ROOT / "benchmarks" / "results" / "training.json", "baseline"),
        BENCHMARK,
        "Where products of bfloat16 are no faster than those of float32, what is left is converting to them and back.",
    ),
)


def page(study: pd.DataFrame, survey: pd.DataFrame) -> str:
    """The page of all outcomes, as Markdown.

    Args:
        study: from `load_results`.
        survey: `metrics/survey.csv`.
    """
    lines = [
        "| what | guessed | measured | interval, runs | outside? | a likely reason, and the command |",
        "|---|---|---|---|---|---|",
    ]
    for outcome in OUTCOMES:
        result = outcome.measure(study, survey)
        guess = " to ".join(dict.fromkeys(f"{end:,g}" for end in outcome.guess))
        outside = outcome.guess[1] < result.low or outcome.guess[0] > result.high
        lines.append(
            f"| {outcome.question} | {guess} {outcome.unit} | {result.value:,.4g} {outcome.unit} "
            f"| {result.low:,.3g} to {result.high:,.3g}, {result.runs} | {'yes' if outside else 'no'} "
            f"| {outcome.why} `{outcome.command}` |"
        )
    return INTRODUCTION + "\n".join(lines) + "\n"


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(out: Path) -> None:
    study = load_results(ROOT / "studies" / "paper" / "results.csv")
    write_text(out, page(study, pd.read_csv(ROOT / "metrics" / "survey.csv")))


if __name__ == "__main__":
    main()
