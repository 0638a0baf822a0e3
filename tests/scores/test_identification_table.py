"""The table on whose image an upload is: a row for every method and setting, releases of whole sets among them."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from privpipe.data.split import write_images
from privpipe.data.synthetic import draw
from privpipe.perturb import PERTURBATIONS, RELEASES, KeyStream
from privpipe.perturb.release import Labelled, NoisyRelease
from privpipe.scores import identification_table
from privpipe.scores.identification import at_most
from privpipe.scores.identification_table import (
    COLUMNS,
    main,
    markdown,
    rows_of,
    rows_of_releases,
    settings,
    settings_of,
)
from privpipe.statistics.accounting import mu_of
from privpipe.store import PUBLIC

KEY = KeyStream(bytes(32))
DRAWN = draw(260, 16, rng=np.random.default_rng(0))
NOISY = [name for name, kind in RELEASES.items() if issubclass(kind, NoisyRelease)]
SMALL = DRAWN.images[:30, :8, :8]


def test_there_is_a_row_for_every_setting() -> None:
    rows = list(rows_of(settings(8, KEY), SMALL, DRAWN.labels[:30] % 3, 10))
    lines = markdown(rows).splitlines()[2:]
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines} == set(PERTURBATIONS)
    assert "| block_scramble | k=2 | 100.00 % |  | 100.00 % |" in lines
    assert any(line.startswith("| gaussian_noise | sigma=1000 |  | ") for line in lines)
    assert all(len(row.record()) == len(COLUMNS) and row.seconds >= 0 for row in rows)


def test_releases_have_the_bound_of_their_epsilon_and_what_is_told_is_below_it() -> None:
    images, labels = DRAWN.images[:200], DRAWN.labels[:200]
    rows = list(rows_of_releases(images, labels, DRAWN.images[200:], KEY, 100))
    assert [row.record()[0] for row in rows] == [name for name in NOISY for _ in range(2)] + ["instahide"]
    for row, epsilon in zip(rows, (1.0, 3.0) * len(NOISY), strict=False):
        exactly, most, least = row.values
        assert exactly is None and most == pytest.approx(at_most(np.bincount(labels), mu_of(epsilon)))
        assert least is not None and most is not None and least <= most + 0.1
        assert f"| epsilon={epsilon:g} |  | {100 * most:.2f} % |" in markdown([row])


def test_releases_that_share_their_vectors_are_told_as_each_with_vectors_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identification_table, "EPSILONS", (10.0, 20.0))  # so that some images are told
    candidates = Labelled(DRAWN.images[:200], DRAWN.labels[:200])
    within = Labelled(DRAWN.images[190:200], DRAWN.labels[190:200])
    rows = list(rows_of_releases(candidates.images, candidates.labels, DRAWN.images[200:], KEY, 100))
    for row, (name, epsilon) in zip(rows, product(NOISY, (10.0, 20.0)), strict=False):
        kind = RELEASES[name]
        alone = kind(16, epsilon=epsilon)
        numbers = alone.release(within, DRAWN.images[200:], None, 10, KEY.child(kind.name))
        assert row.values[2] == alone.identified(numbers, candidates, 100) > 0.02


def test_a_release_without_noise_has_one_row_and_no_bound() -> None:
    row = list(rows_of_releases(DRAWN.images[:200], DRAWN.labels[:200], DRAWN.images[200:], KEY, 20))[-1]
    exactly, most, least = row.values
    assert exactly is None and most is None and least is not None and least > 10 / 200
    assert row.record()[4] is None and row.cells()[:2] == ["instahide", ""]


def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    images, public, like, out = (str(tmp_path / name) for name in ("images.h5", "public.h5", "like.csv", "out.csv"))
    write_images(images, DRAWN, DRAWN, {"test": np.arange(100)})
    write_images(public, DRAWN, DRAWN, {"train": np.arange(100, 200)}, PUBLIC)
    Path(like).write_text("method,k,scope,sigma\npixelate,4,dataset,0\nblock_scramble,2,dataset,0\n")
    assert [one.name for one in settings_of(like, 16, KEY)] == ["pixelate", "block_scramble"]
    text = main([images, "--public", public, "--like", like, "--csv", out])
    assert text.startswith("100 candidates; ") and "| dp_mixtures | epsilon=3 |" in text
    table = pd.read_csv(out)
    assert tuple(table.columns) == COLUMNS and len(table) == 2 + 2 * len(NOISY) + 1
    assert table.exactly[0] == 1.0 and np.isnan(table.at_most[0]) and np.isnan(table.exactly.iloc[-1])


def test_a_missing_file_is_named() -> None:
    assert "nothing.h5" in main(["nothing.h5"])


def test_rows_of_a_file_have_the_settings_of_their_method(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "method,k,scope,sigma,width\nneuracrypt,4,dataset,0,256\nneuracrypt,4,dataset,0,\nblock_mix,4,image,0,\n"
    )
    one, other, without = settings_of(str(path), 16, KEY)
    assert one.settings["width"] == 256 and other.settings["width"] == 64 and not without.settings
