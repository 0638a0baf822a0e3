"""The table of the survey: one row for each point. `group` names the point; cells that are no `TEXT` are JSON."""

FIGURES = ("parameters", "perturb", "train", "evaluate", "privacy", "attempts", "problems")
TEXT = ("group", "processor", "code", "fingerprint")
COLUMNS = (TEXT[0], *FIGURES, *TEXT[1:])
