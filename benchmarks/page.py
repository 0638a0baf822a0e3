"""docs/performance.md and its figures from benchmarks/results: `python -m benchmarks --page`."""

from pathlib import Path

from benchmarks.child import ROOT
from benchmarks.results import FOLDER, NOT_MEASURED, Cell, Figure, Result, Table, load_all, show, summary_row
from benchmarks.timing import Spread
from benchmarks.topics import GPU, TOPICS, topic
from privpipe.files import write_text

PAGE, IMAGES = ROOT / "docs" / "performance.md", ROOT / "docs" / "images"
FACTS = {"processor": "processor", "cores": "cores", "memory_gib": "GiB of memory", "system": "system"}
INTRODUCTION = """# How fast it is

Made by `make bench` from `benchmarks/results/*.json`; `python -m benchmarks --page` writes it again from these, and
measures nothing. Every number here is from there. Each contender ran in the same run as the one that it is compared
with, and in turns with it where there are rounds: ratios are medians over these, with the smallest and the largest
beside them. A verdict goes by the median. Topics that take long are measured only when named.
"""

AGAINST_FLOAT32, AGAINST_BFLOAT16 = "against plain", "against bfloat16 plain"  # columns of `benchmarks.topics.training`
PRECISIONS = """## Precision

`train.precision: auto` takes bfloat16 where convolutions are faster with it: on processors with AMX, and on those of
AMD with AVX512-BF16, see `privpipe.nn.device.resolve_precision`. Both were measured, with the same plain loop; the last
column is how many times as fast it is with bfloat16 as with float32.
"""


def write_page(results: Path = FOLDER, page: Path = PAGE, images: Path = IMAGES) -> None:
    """Write the page, and the figures that it shows."""
    found = load_all(results)
    write_text(page, page_text(found))
    for result in found:
        for figure in result.outcome.figures:
            draw_figure(figure, images / figure_file(result, figure))


def page_text(results: list[Result]) -> str:
    """The page, topics in the order of `TOPICS`, those of GPUs last."""
    order = [*TOPICS, GPU]
    results = sorted(results, key=lambda result: (order.index(module_name(result)), result.topic))
    parts = [INTRODUCTION, *machines(results), "## Targets\n", summary(results), *missed(results), *precisions(results)]
    told: set[str] = set()
    for result in results:
        parts += section(result, about=module_name(result) not in told)
        told.add(module_name(result))
    return "\n".join(parts)


def module_name(result: Result) -> str:
    """The module that measured a result: `training` for the topics `training` and `training-<machine>`."""
    return next(name for name in (*TOPICS, GPU) if f"{result.topic}-".startswith(f"{name}-"))


def elsewhere(result: Result) -> str:
    """The machine in the topic of a result, in brackets; nothing where there is none."""
    machine = result.topic.removeprefix(module_name(result)).removeprefix("-")
    return f" ({machine})" if machine else ""


def machines(results: list[Result]) -> list[str]:
    """The machines, and which topics were measured on each where there are several."""
    known: dict[str, list[Result]] = {}
    for result in results:
        known.setdefault(machine_text(result), []).append(result)
    lines = ["## Machine\n"]
    for text, here in known.items():
        whose = "" if len(known) == 1 else f" ({', '.join(result.topic for result in here)})"
        lines.append(f"{text}.{whose}\n")
    return lines


def machine_text(result: Result) -> str:
    """One machine, its versions, and the images, on one line."""
    facts = dict(result.machine)
    hardware = (
        f"{facts.pop('processor')}, {facts.pop('cores')} cores, {facts.pop('memory_gib')} GiB, {facts.pop('system')}"
    )
    versions = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
    return f"{hardware}; {versions}. Images of 32x32: {result.images}"


def summary(results: list[Result]) -> str:
    """All targets."""
    rows = []
    for result in results:
        for target in result.outcome.targets:
            what, *others = summary_row(target)
            rows.append([what + elsewhere(result), *others])
    return markdown(["target", "value", "range", "wanted", "verdict"], rows)


def missed(results: list[Result]) -> list[str]:
    """What limits what falls short."""
    short = [(result, target) for result in results for target in result.outcome.targets if target.bound]
    if not short:
        return []
    lines = "\n".join(f"- {target.what}{elsewhere(result)}: {target.bound}." for result, target in short)
    return ["What a profile says of those that are missed:\n", lines + "\n"]


def precisions(results: list[Result]) -> list[str]:
    """Which precision `train.precision: auto` takes on each processor where training was measured, and why."""
    rows = []
    for result in results:
        for table in result.outcome.tables if module_name(result) == "training" else ():
            for row in table.rows if {AGAINST_FLOAT32, AGAINST_BFLOAT16} <= set(table.columns) else ():
                of = dict(zip(table.columns, row, strict=True))
                single, half = (median_of(of[name]) for name in (AGAINST_FLOAT32, AGAINST_BFLOAT16))
                taken = next(t.what for t in result.outcome.targets if t.id == f"train-{of['model']}")
                taken = taken[taken.index("(") + 1 : taken.index(")")]
                rows.append([str(result.machine["processor"]), show(of["model"]), taken, show(single / half)])
    if not rows:
        return []
    return [PRECISIONS, markdown(["processor", "model", "auto takes", "bfloat16 against float32"], rows)]


def median_of(cell: Cell) -> float:
    """Of a measured value or a number."""
    return cell.median if isinstance(cell, Spread) else float(cell or 0)


def section(result: Result, about: bool) -> list[str]:
    """A topic: how to measure it again, what it is where the page has not told it yet, its tables and figures."""
    module = topic(module_name(result))
    parts = [f"## {module.TITLE}{elsewhere(result)}\n", f"`{result.command}`\n"]
    parts += [f"{result.note}\n"] if result.note else []
    parts += [module.ABOUT.strip() + "\n"] if about else []
    for table in result.outcome.tables:
        parts += table_text(table)
    for figure in result.outcome.figures:
        parts.append(f"![{figure.title}](images/{figure_file(result, figure)})\n")
    return parts


def figure_file(result: Result, figure: Figure) -> str:
    return f"performance-{result.topic.replace(module_name(result), figure.name, 1)}.png"


def table_text(table: Table) -> list[str]:
    note = [f"{table.note}\n"] if table.note else []
    return [
        f"### {table.title}\n",
        markdown(table.columns, [[show(cell) for cell in row] for row in table.rows]),
        *note,
    ]


def markdown(columns: list[str], rows: list[list[str]]) -> str:
    """A table of text cells."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def draw_figure(figure: Figure, path: Path) -> None:
    """A log-log plot: points, the fitted power law, and its exponent beside the expected one in the legend."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    fig, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    for line in figure.lines:
        label = f"{line.label}: exponent {line.exponent:.2f} (expected {line.expected:g})"
        points = axes.plot(line.x, line.y, "o", label=label)[0]
        ends = [min(line.x), max(line.x)]
        axes.plot(ends, [line.factor * x**line.exponent for x in ends], "--", color=points.get_color(), linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel=figure.x_label, ylabel=figure.y_label, title=figure.title)
    axes.grid(True, which="major", alpha=0.3)
    fig.legend(loc="outside lower center", fontsize="small")  # within the axes it would lie over points
    fig.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(fig)


__all__ = ["NOT_MEASURED", "draw_figure", "page_text", "write_page"]
