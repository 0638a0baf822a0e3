"""The step: what it computes, its precision, and what recording and replaying must not change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from benchmarks.together import Job, train_together
from privpipe.errors import PrivpipeError
from privpipe.networks.base import Architecture
from privpipe.networks.registry import NETWORKS
from privpipe.nn.data import Resident
from privpipe.nn.device import FLOAT32_IN, PRECISIONS, deterministic, resolve_precision
from privpipe.nn.engine import CudaGraph, Engine, Recipe, Recorded
from privpipe.nn.inference import measure
from privpipe.nn.models import build
from privpipe.nn.training import Epoch, train

CPU = torch.device("cpu")
SIZE = 8  # of the images


def toy(count: int, seed: int) -> Resident:
    """Four classes that differ in where they are bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    images = torch.randint(0, 100, (count, SIZE, SIZE, 3), generator=generator)
    for label in range(4):
        top, left = divmod(label, 2)
        half = SIZE // 2
        images[labels == label, half * top : half * top + half, half * left : half * left + half] += 100
    return Resident(images.to(torch.uint8), labels)


def network(arch: str = "three_layer", seed: int = 0) -> nn.Sequential:
    return build(Architecture(arch, SIZE, 3, 4, 4), torch.Generator().manual_seed(seed))


def style_of(arch: str) -> str:
    return "modern" if arch.startswith("modern") else "paper"


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def learned(
    arch: str, data: Resident, batches: list[Tensor], rates: list[float], penalty: str, reg: float
) -> tuple[nn.Sequential, float]:
    """Train the network by the formulas of its recipe, written out, and return it with the sum of the losses."""
    model = network(arch)
    modern = style_of(arch) == "modern"
    pixels = data.images.double()
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2), correction=0)
    inputs = ((pixels - mean) / std).float().movedim(3, 1)
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p)] for name, p in model.named_parameters()}
    smooth, total = (0.1 if modern else 0.0), 0.0
    for step, (rows, rate) in enumerate(zip(batches, rates, strict=True), start=1):
        logs = model(inputs[rows]).log_softmax(1)
        true = logs[torch.arange(len(rows)), data.labels[rows]]
        loss = -((1 - smooth) * true + smooth * logs.mean(1)).mean()
        total += loss.item() * len(rows)
        weights = dict(model.named_parameters())
        gradients = torch.autograd.grad(loss, list(weights.values()))
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            if name.startswith("bfc") and penalty == "l1":
                gradient = gradient + reg * weight.detach().sign()
            elif weight.ndim > 1:
                gradient = gradient + reg * weight.detach()
            first, second = moments[name]
            if modern:  # SGD with Nesterov momentum
                first.mul_(0.9).add_(gradient)
                change = gradient + 0.9 * first
            else:  # Adam: Kingma and Ba (2015), algorithm 1
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient.square())
                change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
            weight.data -= rate * change
    return model, total


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("arch", NETWORKS)
def test_a_step_does_what_its_recipe_says(arch: str, penalty: str) -> None:
    """Against the formulas, with a large penalty and rates that differ."""
    data, reg, rates = toy(48, 1), 0.05, [0.001, 0.002, 0.0005]
    batches = list(torch.randperm(48, generator=torch.Generator().manual_seed(0)).split(20))
    model, recipe = network(arch), Recipe(1, 20, 0.5, reg, 0, penalty, style_of(arch))
    engine = Engine(model, measure(data.images), recipe)
    with deterministic(1):
        for rows, rate in zip(batches, rates, strict=True):
            engine.step(data.images, data.labels, rows, rate)
        expected, total = learned(arch, data, batches, rates, penalty, reg)
    before = network(arch).state_dict()
    for name, value in expected.state_dict().items():
        if value.is_floating_point():
            change, wanted = model.state_dict()[name] - before[name], value - before[name]
            # A bias before a normalisation layer has no gradient but rounding.
            assert (change - wanted).norm() < 1e-3 * wanted.norm() + 1e-8, name
    weights = [expected.state_dict()[name] - before[name] for name, p in expected.named_parameters() if p.ndim > 1]
    assert all(weight.norm() > 1e-3 for weight in weights)
    assert engine.take_loss().item() == pytest.approx(total, rel=1e-5)
    assert engine.take_loss().item() == 0


class Replay:
    """Records work on a CPU as the function that it is; a graph on CUDA records kernels and runs none of them."""

    def warm_up(self, work: Callable[[], None]) -> None:
        work()

    def record(self, work: Callable[[], None]) -> None:
        self.work = work

    def replay(self) -> None:
        self.work()


@pytest.mark.parametrize("arch", NETWORKS)
def test_recorded_steps_do_what_steps_do(arch: str) -> None:
    """The steps of warming up leave nothing behind: not in weights, moments, statistics or the loss."""
    data, recipe = toy(48, 1), Recipe(1, 16, 0.01, 0.001, 0, style=style_of(arch))
    normalise = measure(data.images)
    models = [network(arch) for _ in range(2)]
    plain, recording = (Engine(model, normalise, recipe) for model in models)
    batches = [(data.images[rows], data.labels[rows]) for rows in torch.arange(48).split(16)]
    with deterministic(1):
        for batch in batches:
            plain._learn(*batch)
        recorded = Recorded(recording._learn, batches[0], recording._state, Replay())
        assert same(models[1], network(arch))
        for batch in batches:
            for place, source in zip(recorded.inputs, batch, strict=True):
                place.copy_(source)
            recorded.replay()
    assert same(*models)
    assert torch.equal(plain.take_loss(), recording.take_loss())


def test_recording_amid_a_training_keeps_the_moments() -> None:
    data, recipe = toy(48, 1), Recipe(1, 16, 0.01, 0.001, 0)
    normalise, models = measure(data.images), [network() for _ in range(2)]
    plain, recording = (Engine(model, normalise, recipe) for model in models)
    first, second = ((data.images[rows], data.labels[rows]) for rows in torch.arange(32).split(16))
    with deterministic(1):
        for engine in (plain, recording):
            engine._learn(*first)
        plain._learn(*second)
        Recorded(recording._learn, second, recording._state, Replay()).replay()
    assert same(*models)
    assert torch.equal(plain.take_loss(), recording.take_loss())


def test_a_graph_is_recorded_with_no_workspace_that_another_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch records all graphs on one stream, for which cuBLAS keeps its workspace."""
    calls: list[str] = []

    class Recording:
        def replay(self) -> None:
            calls.append("replay")

    @contextmanager
    def capture(graph: object, **how: str) -> Iterator[None]:
        assert isinstance(graph, Recording)
        calls.append(f"capture {how}")
        yield
        calls.append("captured")

    monkeypatch.setattr("torch.cuda.CUDAGraph", Recording)
    monkeypatch.setattr("torch.cuda.graph", capture)
    monkeypatch.setattr("torch._C._cuda_clearCublasWorkspaces", lambda: calls.append("clear"), raising=False)
    graph = CudaGraph()
    graph.record(lambda: calls.append("work"))
    graph.replay()
    # An allocation by another thread, such as the reader of a streamed set, must not end the recording.
    assert calls[:2] == ["clear", "capture {'capture_error_mode': 'thread_local'}"]
    assert calls[2:] == ["work", "captured", "clear", "replay"]

    def fail() -> None:
        raise RuntimeError("stop")

    calls.clear()
    with pytest.raises(RuntimeError, match="stop"):
        graph.record(fail)
    assert calls[0] == calls[-1] == "clear" and len(calls) == 3


def fitted(
    precision: str, arch: str = "three_layer", epochs: int = 4, count: int = 160
) -> tuple[nn.Sequential, list[Epoch]]:
    data, model = toy(count, 1), network(arch)
    lr = 0.02 if style_of(arch) == "modern" else 0.002
    recipe = Recipe(epochs, 16, lr, 0.0001, 0, style=style_of(arch), precision=precision)
    with deterministic(1):
        return model, train(model, measure(data.images), data, toy(80, 2), recipe, progress=False)


@pytest.mark.parametrize("arch", NETWORKS)
def test_bfloat16_learns_as_float32_does(arch: str) -> None:
    """Not the same bits: products have 8 bits of precision. Weights stay float32."""
    data, losses = toy(64, 1), []
    for precision in ("float32", "bfloat16"):
        recipe = Recipe(1, 64, 0.001, 0.001, 0, style=style_of(arch), precision=precision)
        engine = Engine(network(arch), measure(data.images), recipe)
        engine._learn(data.images, data.labels)
        losses.append(engine.take_loss().item())
    assert losses[0] != losses[1] and losses[1] == pytest.approx(losses[0], rel=0.02)
    model, history = fitted("bfloat16", arch)
    assert history[-1].val_accuracy > 0.9
    assert {p.dtype for p in model.state_dict().values()} == {torch.float32}
    assert same(*(fitted("bfloat16", arch, epochs=1, count=32)[0] for _ in range(2)))


def test_auto_is_what_is_faster_here() -> None:
    faster = resolve_precision("auto", CPU) == torch.bfloat16
    assert same(fitted("auto")[0], fitted("bfloat16" if faster else "float32")[0])
    assert [resolve_precision(name, CPU) for name in PRECISIONS[1:]] == [torch.float32, torch.bfloat16]
    with pytest.raises(PrivpipeError, match=r"train\.precision must be one of auto, float32, bfloat16; got 'half'"):
        resolve_precision("half", CPU)


@pytest.mark.parametrize(
    ("amx", "avx", "maker", "expected"),
    [
        (False, True, "vendor_id : AuthenticAMD", torch.bfloat16),
        (False, False, "vendor_id : AuthenticAMD", torch.float32),
        (False, True, "vendor_id : GenuineIntel", torch.float32),
        (False, True, "", torch.float32),
        (True, True, "vendor_id : GenuineIntel", torch.bfloat16),
    ],
)
def test_auto_is_bfloat16_where_the_processor_gains_by_it(
    monkeypatch: pytest.MonkeyPatch, amx: bool, avx: bool, maker: str, expected: torch.dtype
) -> None:
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: avx)
    monkeypatch.setattr("privpipe.nn.device._processors", lambda: maker)
    assert resolve_precision("auto", CPU) == expected


def test_the_block_of_deterministic_algorithms_leaves_torch_as_it_was() -> None:
    def state() -> tuple[object, ...]:
        filled = torch.utils.deterministic.fill_uninitialized_memory
        enabled, warn = torch.are_deterministic_algorithms_enabled(), torch.get_deterministic_debug_mode()
        return torch.get_num_threads(), enabled, warn, filled

    before = state()
    with pytest.raises(RuntimeError, match="stop"), deterministic(1):
        assert state() == (1, True, 1 if torch.cuda.is_available() else 2, False)
        raise RuntimeError("stop")
    assert state() == before


def test_float32_is_float32() -> None:
    """cuDNN's convolutions would take TF32, and products what the user asked for elsewhere."""
    products = FLOAT32_IN[-1]
    products.fp32_precision = "bf16"
    try:
        before = [library.fp32_precision for library in FLOAT32_IN]
        assert before[0] == "tf32" and before[-1] == "bf16"
        with pytest.raises(RuntimeError, match="stop"), deterministic(1):
            assert {library.fp32_precision for library in FLOAT32_IN} == {"ieee"}
            raise RuntimeError("stop")
        assert [library.fp32_precision for library in FLOAT32_IN] == before
    finally:
        products.fp32_precision = "none"


@pytest.mark.parametrize("told", ["none", "ieee", "tf32"])
def test_what_is_asked_of_all_libraries_reaches_them_after_a_training(told: str) -> None:
    def each() -> list[str]:
        torch.backends.fp32_precision = "ieee"
        return [library.fp32_precision for library in FLOAT32_IN]

    torch.backends.fp32_precision = told
    try:
        with deterministic(1):
            assert {library.fp32_precision for library in FLOAT32_IN} == {"ieee"}
        assert torch.backends.fp32_precision == told
        assert each() == ["ieee"] * len(FLOAT32_IN)
    finally:
        torch.backends.fp32_precision = "none"
    assert FLOAT32_IN[0].fp32_precision == "tf32" and FLOAT32_IN[1].fp32_precision == "none"


def test_models_come_out_as_they_would_alone() -> None:
    """Of different kinds, lengths and recipes, on shared images."""
    data, val = toy(100, 1), toy(40, 2)
    normalise = measure(data.images)
    plans = [
        ("three_layer", Recipe(3, 16, 0.002, 0.001, 1)),
        ("descrambler", Recipe(1, 32, 0.001, 0.001, 2)),
        ("modern_three_layer", Recipe(2, 64, 0.01, 0.001, 3, style="modern")),
        ("three_layer", Recipe(3, 16, 0.002, 0.001, 4, precision="bfloat16")),
    ]
    alone, company = ([network(arch, seed) for seed, (arch, _) in enumerate(plans)] for _ in range(2))
    with deterministic(1):
        expected = [
            train(model, normalise, data, val, recipe, progress=False)
            for model, (_, recipe) in zip(alone, plans, strict=True)
        ]
        jobs = [Job(model, normalise, data, val, recipe) for model, (_, recipe) in zip(company, plans, strict=True)]
        assert train_together(jobs) == expected
    for one, other in zip(alone, company, strict=True):
        assert same(one, other)


def test_pooling_before_relu_is_relu_before_pooling() -> None:
    """Bit for bit, gradients too."""
    x = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # with ties
    results = []
    for layers in ([nn.MaxPool2d(2), nn.ReLU(inplace=True)], [nn.ReLU(inplace=True), nn.MaxPool2d(2)]):
        source = x.clone().requires_grad_()
        out = nn.Sequential(nn.Identity(), *layers)(source * 1)
        weights = torch.arange(out.numel()).reshape(out.shape).float()
        (out * weights).sum().backward()
        results.append((out.detach(), source.grad))
    assert torch.equal(results[0][0], results[1][0])
    positive = x > 0
    assert torch.equal(_where(results[0][1], positive), _where(results[1][1], positive))


def _where(gradient: Tensor | None, positive: Tensor) -> Tensor:
    assert gradient is not None and not gradient[~positive].any()
    return gradient
