"""Which device a training runs on, and that what makes it deterministic is undone."""

import pytest
import torch

from privpipe.errors import PrivpipeError
from privpipe.nn.device import deterministic, resolve_device


def test_deterministic_sets_and_restores() -> None:
    before = torch.get_num_threads()
    assert not torch.are_deterministic_algorithms_enabled()
    for threads in (1, 3):
        with deterministic(threads):
            assert torch.get_num_threads() == threads
            assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_num_threads() == before
        assert not torch.are_deterministic_algorithms_enabled()


def test_deterministic_restores_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(KeyError), deterministic(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("name", "there", "device"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_devices(monkeypatch: pytest.MonkeyPatch, name: str, there: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert resolve_device(name) == torch.device(device)


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        PrivpipeError, match=r"train\.device=cuda, but torch sees no CUDA device here\. Use .*auto or cpu"
    ):
        resolve_device("cuda")
