"""Normalisation, prediction and evaluation as NumPy computes them, in batches that fit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privpipe.nn.inference import EVALUATION_BATCH, Normalisation, evaluate, measure, predict

IMAGES = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (30, 8, 8, 3), np.uint8))
LABELS = torch.arange(30) % 2


def network() -> nn.Sequential:
    """Two scores from the mean of each colour and place, as a generator draws them."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(8 * 8 * 3, 2))
    nn.init.normal_(model[1].weight, std=0.1, generator=torch.Generator().manual_seed(4))
    return model


@pytest.mark.parametrize("dtype", [np.uint8, np.float16])
@pytest.mark.parametrize("chunk", [1, 3 * 72, 1 << 20])
def test_statistics_as_numpy_computes_them(dtype: type, chunk: int) -> None:
    rng = np.random.default_rng(0)
    images = (rng.normal(100, 30, (10, 4, 6, 3)) * [0.5, 1, 1.2]).clip(0, 255).astype(dtype)
    statistics = measure(torch.from_numpy(images), chunk)
    exact = images.astype(np.float64)
    assert statistics.mean.dtype == statistics.std.dtype == torch.float32
    np.testing.assert_allclose(statistics.mean.numpy(), exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(statistics.std.numpy(), exact.std((0, 1, 2)), rtol=1e-6)


def test_normalised_images_have_mean_0_and_deviation_1_in_the_layout_of_networks() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, 4, 6, 3), np.uint8))
    out = measure(images)(images)
    assert out.shape == (50, 3, 4, 6)
    assert out.dtype == torch.float32
    assert out.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(out.numpy().mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.numpy().std((0, 2, 3)), 1, atol=1e-5)
    mean, std = images.numpy()[..., 2].mean(), images.numpy()[..., 2].std()
    assert out[7, 2, 3, 5].item() == pytest.approx((int(images[7, 3, 5, 2]) - mean) / std, rel=1e-5)


@pytest.mark.parametrize("images", [IMAGES, IMAGES.half() * 1.37, IMAGES[:0], IMAGES[..., :1]])
def test_normalisation_is_the_formula_bit_for_bit(images: Tensor) -> None:
    channels = images.shape[3]
    mean, std = torch.tensor([101.3, 99.7, 120.1])[:channels], torch.tensor([31.7, 29.3, 40.9])[:channels]
    before = images.clone()
    expected = ((images.float() - mean) / std).permute(0, 3, 1, 2)
    assert torch.equal(Normalisation(mean, std)(images), expected)
    assert torch.equal(images, before)


@pytest.mark.parametrize("value", [0, 37, 255])
def test_a_constant_colour_is_centred_and_not_blown_up(value: int) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), np.uint8))
    images[..., 1] = value
    normalise = measure(images)
    assert normalise.std[1] == 1
    assert not normalise(images)[:, 1].any()


def test_evaluation_as_numpy_computes_it() -> None:
    images, labels, model = IMAGES, LABELS.numpy(), network()
    normalise = measure(images)
    loss, accuracy, predicted = evaluate(model, normalise, images, LABELS)
    scores = predict(model, normalise, images).double().numpy()
    likelihood = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert loss == pytest.approx(-np.log(likelihood[np.arange(30), labels]).mean(), rel=1e-9)
    assert predicted.tolist() == scores.argmax(1).tolist()
    assert accuracy == sum(int(a) == int(b) for a, b in zip(predicted, labels, strict=True)) / 30


def test_prediction_in_batches_is_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    images, model = IMAGES[:23], network()
    normalise = measure(images)
    whole = predict(model, normalise, images)
    monkeypatch.setattr("privpipe.nn.inference.EVALUATION_BATCH", {"cpu": 5})
    torch.testing.assert_close(predict(model, normalise, images), whole)
    assert whole.shape == (23, 2)
    assert not whole.requires_grad


class Small(nn.Module):
    """Scores of a device that holds `most` images at a time."""

    def __init__(self, most: int):
        super().__init__()
        self.most, self.batches = most, list[int]()

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return images.flatten(1)[:, :2]


def test_a_batch_that_the_memory_does_not_hold_is_halved(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.randint(0, 256, (100, 4, 4, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    normalise = measure(images)
    small = Small(20)
    assert torch.equal(predict(small, normalise, images), predict(Small(100), normalise, images))
    assert small.batches == [64, 32, 16, 16, 16, 16, 16, 16, 4]
    assert caplog.messages == [
        "out of memory with batches of 64 images: going on with 32",
        "out of memory with batches of 32 images: going on with 16",
    ]
    with pytest.raises(torch.OutOfMemoryError, match=r"CUDA out of memory\."):
        predict(Small(0), normalise, images)


@pytest.mark.parametrize(("device", "size", "expected"), [("cpu", 32, 64), ("cpu", 224, 20), ("cuda", 32, 1000)])
def test_a_batch_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch, device: str, size: int, expected: int) -> None:
    """65 GB of activations would come of 1,000 images of 224x224."""
    monkeypatch.setattr("privpipe.nn.inference.EVALUATION_BATCH", {"cpu": EVALUATION_BATCH[device]})
    images, model = torch.zeros(expected + 1, size, size, 3, dtype=torch.uint8), Small(expected)
    predict(model, Normalisation(torch.zeros(3), torch.ones(3)), images)
    assert model.batches == [expected, 1]
