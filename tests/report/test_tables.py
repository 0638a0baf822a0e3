"""What the page reads: class names are text, whatever they look like, and a survey need not be there."""

from pathlib import Path

import pandas as pd
import pytest

from privpipe.errors import PrivpipeError
from privpipe.files import write_csv
from privpipe.params import load_params
from privpipe.report.page import SURVEY, Inputs, draw_tradeoff

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


def inputs_in(metrics: Path, source: str) -> Inputs:
    params = load_params(ROOT / "params.yaml")
    data = params.data.model_copy(update={"source": source})
    return Inputs(metrics, metrics, metrics, metrics, metrics, params.model_copy(update={"data": data}))


def test_this_experiment_is_marked_in_the_survey_where_its_images_are_those_of_the_survey() -> None:
    drawn = [draw_tradeoff(inputs_in(ROOT / "metrics", source)) for source in ("synthetic", "cifar10")]
    counts = [[len(axes.collections) for axes in figure.axes] for figure in drawn if figure is not None]
    assert counts[1] == [count + 1 for count in counts[0]]


def test_a_survey_that_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    assert draw_tradeoff(inputs_in(tmp_path, "cifar10")) is None


@pytest.mark.parametrize("content", ["", "point,method\na,none\n"])
def test_what_is_no_survey_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / SURVEY).write_text(content)
    with pytest.raises(PrivpipeError) as caught:
        draw_tradeoff(inputs_in(tmp_path, "synthetic"))
    assert str(caught.value).startswith(f"cannot read {tmp_path / SURVEY}: ")
    assert str(caught.value).endswith("Make it again, or remove it.")
