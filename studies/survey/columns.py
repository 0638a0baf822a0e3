"""The table of the survey: one row for each point. `group` names the point; other cells are JSON."""

COLUMNS = ("group", "parameters", "perturb", "train", "evaluate", "privacy", "attempts", "problems", "fingerprint")
