"""The record of an evaluation as text for a terminal."""

from privpipe.scores.entry import Entry, Interval
from privpipe.scores.privacy import LEVELS
from privpipe.scores.registry import scores

STATEMENTS = {
    "exactly": "exactly (a theorem about the method, its key integrated out)",
    "at_most": "at most (a theorem about noise)",
    "at_least": "at least (our adversary did it)",
}


def percent(value: float | None) -> str:
    return "no number" if value is None else f"{100 * value:.2f} %"


def interval(accuracy: Interval) -> str:
    """Such as "41.2 % (39.0 to 43.4 %, 1 run)"."""
    runs = f"{accuracy.runs} run{'s' * (accuracy.runs != 1)}"
    return f"{100 * accuracy.mean:.1f} % ({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %, {runs})"


def as_text(entry: Entry) -> str:
    """What a user wants to know of a record first: accuracy, the three statements, scores, cost, flags."""
    budget, cost, found = entry.budget, entry.cost, entry.identified
    lines = [
        entry.title,
        f"{entry.suite.title}, size {entry.suite.size}: {budget.train:,} uploads, {budget.public:,} public images, "
        f"{budget.pairs:,} known pairs, {budget.network_steps:,} network steps, {budget.seconds:,.0f} s of attacks",
        f"on {entry.machine.processor}; {entry.machine.device}",
        "",
        f"accuracy                {interval(entry.accuracy)}",
        f"owner's seconds         {cost.owner_seconds:.2f}",
        f"cloud's seconds         {cost.cloud_seconds:.1f}",
        f"bytes uploaded          {cost.bytes:,}",
        "",
        f"Whose image is an upload, of {budget.candidates:,} (by the class alone {percent(found.prior)})?",
    ]
    for kind, meaning in STATEMENTS.items():
        value = getattr(found, kind)
        lines.append(f"  {percent(value):>10}  {meaning}" + (f": {found.why[kind]}" if value is None else ""))
    columns = [level.lower() for level in LEVELS]
    lines += ["", f"{'best attack of each level':<26}" + "".join(f"{level:>12}" for level in LEVELS)]
    for score in scores():
        means = [entry.privacy.get(f"{level}_{score.name}") for level in columns]
        if any(means):
            cells = ["" if mean is None else score.shown(mean.mean) for mean in means]
            lines.append(f"{score.label:<26}" + "".join(f"{cell:>12}" for cell in cells))
    lines += ["", *(f"FLAG {flag}" for flag in entry.flags)] if entry.flags else ["", "no flags"]
    return "\n".join(lines)
