"""Groups stay on one side of the split; tables and folders say what belongs together."""

from pathlib import Path

import numpy as np
import pytest
from drawn import make
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privpipe.data.folder import FolderIndex, scan
from privpipe.data.folder_split import split_folder
from privpipe.errors import PrivpipeError


def patients(root: Path, count: int = 12) -> Path:
    folders = {f"{name}/patient{i:02}": 3 + i % 3 for name in ("ill", "well") for i in range(count)}
    return make(root, folders, suffixes=("png",))


def sides(index: FolderIndex, rows: dict[str, np.ndarray]) -> dict[int, set[str]]:
    """The sets in which each group has images."""
    assert index.groups is not None
    out: dict[int, set[str]] = {}
    for name, chosen in rows.items():
        for group in index.groups[chosen].tolist():
            out.setdefault(group, set()).add(name)
    return out


def test_a_group_is_on_one_side(tmp_path: Path) -> None:
    index = scan(patients(tmp_path), "folders")
    assert index.groups is not None and len(np.unique(index.groups)) == 12  # one of each name, whatever the class
    rows = split_folder(index, None, 8, None, np.random.default_rng(0), public=0.2)
    assert all(len(names) == 1 for names in sides(index, rows).values())
    assert len(rows["val"]) == 8 and np.bincount(index.labels[rows["val"]]).tolist() == [4, 4]
    assert len(rows["test"]) >= 0.2 * len(index.paths) and len(rows["public"]) > 0
    again = split_folder(index, None, 8, None, np.random.default_rng(0), public=0.2)
    assert all(np.array_equal(rows[name], again[name]) for name in rows)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    labels=st.lists(st.integers(0, 2), min_size=10, max_size=120),
    kinds=st.integers(1, 40),
    n_val=st.integers(3, 12),
    n_test=st.none() | st.integers(3, 12),
    seed=st.integers(0, 9),
)
def test_any_groups_stay_together_or_the_set_is_refused(
    labels: list[int], kinds: int, n_val: int, n_test: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    every = np.array([0, 1, 2, *labels], np.int64)
    parts, groups = {"train": np.arange(len(every))}, rng.integers(0, kinds, len(every))
    index = FolderIndex([Path(str(i)) for i in range(len(every))], every, ("a", "b", "c"), parts, groups)
    try:
        rows = split_folder(index, None, n_val, n_test, rng, public=0.1)
    except PrivpipeError:
        return
    assert all(len(names) == 1 for names in sides(index, rows).values())
    assert len(rows["val"]) == n_val and (n_test is None or len(rows["test"]) == n_test)
    assert set(every[rows["train"]].tolist()) == {0, 1, 2}
    assert len(np.unique(np.concatenate(list(rows.values())))) == sum(map(len, rows.values()))


def test_too_few_groups(tmp_path: Path) -> None:
    index = scan(patients(tmp_path, 2), "folders")
    with pytest.raises(PrivpipeError, match=r"^2 groups \(data\.groups\) cannot fill test, val, public and train, "):
        split_folder(index, None, 4, None, np.random.default_rng(0), public=0.2)


def test_a_group_in_two_parts(tmp_path: Path) -> None:
    make(tmp_path, {f"{part}/{name}/p1": 2 for part in ("train", "test") for name in ("a", "b")})
    with pytest.raises(PrivpipeError, match=r"lies in both train/ and test/, so that the sets are not independent"):
        scan(tmp_path, "folders")


def test_a_table_says_classes_and_groups(tmp_path: Path) -> None:
    root = make(tmp_path / "images", {"all": 9}, suffixes=("png",))
    lines = [f"all/{i}.png,{'ill' if i % 2 else 'well'},p{i // 2}" for i in range(8)]
    table = tmp_path / "groups.csv"
    table.write_text("file,class,group\n" + "\n".join(lines), encoding="utf-8-sig")
    index = scan(root, table)
    assert index.class_names == ("ill", "well") and index.labels.tolist() == [1, 0] * 4
    assert index.groups is not None and index.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [(one.path.name, one.reason) for one in index.left_out] == [("8.png", "not in groups.csv")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file;class;group\n", "must have the columns file, class, group, separated by commas; got file;class;group."),
        ("", "must have the columns file, class, group, separated by commas; got none."),
        ("file,class,group\n", "does not fit the images: it has no rows. Correct it."),
        ("file,class,group\nall/0.png,,p\n", "does not fit the images: line 2 has an empty field. Correct it."),
        ("file,class,group\nx.png,a,p\n", "line 2: there is no x.png in "),
        ("file,class,group\nall/0.png,a,p\nall/0.png,b,p\n", "line 3 names all/0.png again"),
    ],
)
def test_tables_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    make(tmp_path / "images", {"all": 2}, suffixes=("png",))
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(PrivpipeError) as caught:
        scan(tmp_path / "images", tmp_path / "groups.csv")
    assert message in str(caught.value) and str(caught.value).startswith(f"data.groups={tmp_path / 'groups.csv'} ")


def test_what_is_not_taken_is_named(tmp_path: Path) -> None:
    root = make(tmp_path, {"a": 2, "b": 2, "a/@eaDir": 2, "@eaDir": 1}, suffixes=("png",))
    for name in ("a/x.heic", "a/x.czi", "a/Thumbs.db", "b/notes.txt", "b/._0.png", "b/.hidden"):
        (root / name).write_bytes(b"x")
    index = scan(root)
    assert index.class_names == ("a", "b") and len(index.paths) == 4
    reasons = {one.path.relative_to(root).as_posix(): one.reason for one in index.left_out}
    assert reasons == {
        "a/@eaDir": "thumbnails or copies of a file server",
        "a/Thumbs.db": "thumbnails or copies of a file server",
        "a/x.czi": "a microscope's or scanner's own format; export as OME-TIFF",
        "a/x.heic": "HEIC, which is not read; save as PNG, TIFF or JPEG",
        "b/._0.png": "hidden",
        "b/notes.txt": "no image by its name (.txt)",
    }
