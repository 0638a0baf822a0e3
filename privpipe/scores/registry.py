"""Every score there is: those of `privpipe/scores/measures`, and of other packages (entry points `privpipe.scores`)."""

from collections.abc import Mapping
from typing import Any

from privpipe.errors import PrivpipeError
from privpipe.plugins import Registry
from privpipe.scores.base import Score

SCORES: Registry[Score] = Registry(
    "privpipe.scores.measures", "privpipe.scores.base:Score", "privpipe.scores", ("name", "label")
)
# Columns and metrics that are no scores: facts of one attempt, of which the best of several would mean nothing.
FACTS = ("level", "attack", "pairs", "stolen", "confidence", "seconds", "problem")


def scores() -> list[Score]:
    """All scores in the order of tables.

    Raises:
        PrivpipeError: see `privpipe.plugins.Registry`; or a score has the name of another column.
    """
    for name in FACTS:
        if name in SCORES:
            raise PrivpipeError(f"a score is called {name}, as another column of the tables. Rename it.")
    return sorted((kind() for kind in SCORES.values()), key=lambda score: (score.order, score.name))


def scores_in(metrics: Mapping[str, Any]) -> list[Score]:
    """Those of `scores` that metrics hold: a package may have been installed after they were made.

    Args:
        metrics: as `metrics/privacy.json`.
    """
    return [score for score in scores() if f"l0_{score.name}" in metrics]
