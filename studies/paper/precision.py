"""What bfloat16 changes of a result: models trained in both precisions from the same seed, and their differences."""

import pandas as pd
from scipy.stats import t as student

PAIRS = ("group", "method", "k", "seed")
COLUMNS = ("experiment", "pairs", "float32", "bfloat16", "difference in points (95 % interval)")


def differences(results: pd.DataFrame) -> pd.DataFrame:
    """Test accuracies of each experiment and seed in both precisions.

    Args:
        results: see `studies.paper.table.load_results`; runs without a partner are left out.

    Returns:
        `PAIRS`, then float32 and bfloat16, 0..1, one row for each pair.
    """
    done = results[results["status"] == "done"]
    wide = done.pivot(index=list(PAIRS), columns="precision", values="test_accuracy")
    return wide.reindex(columns=["float32", "bfloat16"]).dropna().reset_index()


def precision_page(results: pd.DataFrame) -> str:
    """The means of each experiment, and the mean difference with Student's interval over the seeds, in Markdown.

    Args:
        results: see `differences`. An experiment with one pair has no interval and is left out. Where several are left,
            a last line has all of them.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    groups = differences(results).groupby(list(PAIRS[:-1]), sort=False)
    experiments = [
        ("unperturbed" if method == "none" else f"{method} k={k}", pairs)
        for (_, method, k), pairs in groups
        if len(pairs) > 1
    ]
    if len(experiments) > 1:
        experiments.append(("all of these", pd.concat([pairs for _, pairs in experiments])))
    for name, pairs in experiments:
        change = 100 * (pairs["bfloat16"] - pairs["float32"])
        half = student.ppf(0.975, len(pairs) - 1) * change.std(ddof=1) / len(pairs) ** 0.5
        cells = [
            name,
            str(len(pairs)),
            *(f"{100 * pairs[precision].mean():.2f} %" for precision in ("float32", "bfloat16")),
            f"{change.mean():+.2f} ({change.mean() - half:+.2f} to {change.mean() + half:+.2f})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
