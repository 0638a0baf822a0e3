"""Class names are text, whatever they look like."""

from pathlib import Path

import pandas as pd

from privpipe.files import write_csv
from privpipe.params import load_params
from privpipe.report.page import Inputs

ROOT = Path(__file__).parents[2]


def test_class_names_stay_as_they_are(tmp_path: Path) -> None:
    names = ["007", "NA", "null", "1e3"]
    write_csv(tmp_path / "classes.csv", ("class", "accuracy", "images"), [(name, None, 0) for name in names])
    write_csv(tmp_path / "confusion.csv", ("actual", "predicted"), zip(names, reversed(names), strict=True))
    inputs = Inputs(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path, load_params(ROOT / "params.yaml"))
    classes, pairs = inputs.table("classes"), inputs.table("confusion")
    assert list(classes["class"]) == list(pairs["actual"]) == names
    assert classes["accuracy"].isna().all()
    assert list(pd.crosstab(pairs["actual"], pairs["predicted"]).index) == sorted(names)
