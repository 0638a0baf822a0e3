"""A package that only an extra brings is named with its remedy; any other missing module stays what it is."""

import importlib.metadata
from importlib.metadata import PackageNotFoundError

import pytest

from privpipe.errors import PrivpipeError, extras_named

REQUIRES = [
    "numpy>=2.0",
    'matplotlib>=3.9; extra == "pipeline"',
    "pandas>=2.2; extra == 'pipeline'",
    'onnxruntime>=1.20 ; python_version > "3" and extra == "onnx"',
    'distributed>=2024.8; extra == "dask"',
    'privpipe[dask,onnx,pipeline]; extra == "dev"',
    'pandas; extra == "dev"',
]


@pytest.fixture(autouse=True)
def metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: REQUIRES if name == "privpipe" else None)


@pytest.mark.parametrize(
    ("module", "extra"),
    [("pandas", "pipeline"), ("matplotlib.figure", "pipeline"), ("onnxruntime", "onnx"), ("distributed", "dask")],
)
def test_the_extra_of_a_missing_package_is_named(module: str, extra: str) -> None:
    with pytest.raises(PrivpipeError) as caught, extras_named():
        raise ModuleNotFoundError(name=module)
    assert str(caught.value) == (
        f"this needs the package {module}, which is not installed. Run `pip install 'privpipe[{extra}]'`."
    )


@pytest.mark.parametrize("module", ["numpy", "privpipe.gone", "panda", None])
def test_other_missing_modules_are_left_as_they_are(module: str | None) -> None:
    with pytest.raises(ModuleNotFoundError), extras_named():
        raise ModuleNotFoundError(name=module)


def test_a_privpipe_that_is_not_installed_knows_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    with pytest.raises(ModuleNotFoundError), extras_named():
        raise ModuleNotFoundError(name="pandas")
