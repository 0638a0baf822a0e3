"""One optimiser step: how it is computed, and how a GPU repeats it without asking the CPU.

The step is the same code everywhere. On CUDA it is recorded once, as a graph of kernels, and then replayed: the
networks are so small that launching their kernels one by one would take longer than running them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privpipe.layers import BlockFullyConnected
from privpipe.nn.device import resolve_precision
from privpipe.nn.inference import Normalisation

MOMENTUM, LABEL_SMOOTHING, WARM_UP = 0.9, 0.1, 0.2  # of the modern recipe; the last as a fraction of all steps
WARM_UP_STEPS = 3  # before a step is recorded, so that libraries have chosen their algorithms and allocated


@dataclass(frozen=True)
class Recipe:
    """How to train; the meaning of each is in `privpipe.parameters.Train`.

    Args:
        penalty: `l1` or `l2`, on the BFC layer; the other weights always have l2.
        style: `paper`: Adam, the learning rate falling by a factor after each epoch, cross-entropy. `modern`: SGD with
            Nesterov momentum, a one-cycle learning rate, cross-entropy with smoothed labels.
        precision: see `privpipe.nn.device.resolve_precision`. Weights, their updates and the loss are float32
            always.
    """

    epochs: int
    batch_size: int
    lr: float
    reg: float
    seed: int
    penalty: str = "l1"
    style: str = "paper"
    lr_decay: float = 1.0
    precision: str = "float32"


def learning_rates(recipe: Recipe, steps: int) -> Iterator[float]:
    """The learning rate of each step in turn, over all epochs of `steps` steps each.

    paper: `lr`, times `lr_decay` after each epoch. modern: up to `lr` in a straight line over the first fifth of the
    steps, then down to 0 (a one-cycle schedule, after Smith and Topin 2018, arXiv 1708.07120).
    """
    total = recipe.epochs * steps
    warm = max(1, round(WARM_UP * total))
    for step in range(total):
        if recipe.style == "modern":
            yield recipe.lr * min((step + 1) / warm, (total - step) / max(1, total - warm))
        else:
            yield recipe.lr * recipe.lr_decay ** (step // steps)


class Engine:
    """A model, its optimiser and the running loss of an epoch.

    Args:
        model: on the device that trains.
        record: on CUDA, replay a recorded step for full batches rather than launch its kernels one by one.
    """

    def __init__(self, model: nn.Sequential, normalise: Normalisation, recipe: Recipe, record: bool = True):
        self.model, self.normalise, self.recipe = model, normalise, recipe
        self.device = next(model.parameters()).device
        self.precision = resolve_precision(recipe.precision, self.device)
        self.optimiser, self._l1_weights = _optimiser(model, recipe, self.device)
        self._smoothing = LABEL_SMOOTHING if recipe.style == "modern" else 0.0
        self._total = torch.zeros((), device=self.device)
        self._record = record and self.device.type == "cuda"
        self._recorded: Recorded | None = None
        self._rate: float | None = None

    def step(self, images: Tensor, labels: Tensor, rows: Tensor, rate: float) -> None:
        """One step on `images[rows]`; nothing here waits for the device.

        Args:
            images, labels: stored images (N, H, W, C) and labels int64 (N,), on the device.
            rows: int64 (B,), on the device.
            rate: the learning rate.
        """
        self._set_rate(rate)
        if not self._record or len(rows) != self.recipe.batch_size:
            self._learn(images[rows], labels[rows])
            return
        if self._recorded is None:
            batch = images[rows], labels[rows]
            self._recorded = Recorded(self._learn, batch, self._state, CudaGraph())
        for source, place in zip((images, labels), self._recorded.inputs, strict=True):
            torch.index_select(source, 0, rows, out=place)
        self._recorded.replay()

    def take_loss(self) -> Tensor:
        """The sum of the losses of all images since the last call, float32, on the device."""
        total = self._total.clone()
        self._total.zero_()
        return total

    def _learn(self, images: Tensor, labels: Tensor) -> None:
        """Forward, backward, update."""
        self.model.train(len(labels) > 1)  # one image has no statistics: it is normalised as in prediction
        self.optimiser.zero_grad()
        # Weights are used once a step, so that keeping their casts gains nothing; a recorded step must not.
        with torch.autocast(
            self.device.type, self.precision, enabled=self.precision != torch.float32, cache_enabled=False
        ):
            scores = self.model(self.normalise(images))
        scores = scores.float() if self.precision != torch.float32 else scores
        loss = F.cross_entropy(scores, labels, label_smoothing=self._smoothing)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stubs give it no types
        for weight in self._l1_weights:
            assert weight.grad is not None
            weight.grad.add_(weight.detach().sign(), alpha=self.recipe.reg)
        self.optimiser.step()
        self._total += loss.detach() * len(labels)

    def _set_rate(self, rate: float) -> None:
        if rate == self._rate:
            return
        self._rate = rate
        for group in self.optimiser.param_groups:
            if isinstance(group["lr"], Tensor):  # a recorded step reads it from the device
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _state(self) -> list[Tensor]:
        """Every tensor that a step changes."""
        moments = [t for state in self.optimiser.state.values() for t in state.values() if isinstance(t, Tensor)]
        return [*self.model.parameters(), *self.model.buffers(), self._total, *moments]


class Graph(Protocol):
    """What records work on a device and does it again."""

    def warm_up(self, work: Callable[[], None]) -> None: ...

    def record(self, work: Callable[[], None]) -> None: ...

    def replay(self) -> None: ...


class CudaGraph:
    """A CUDA graph, with the memory that it needs.

    cuBLAS keeps a workspace for each stream, and torch records all graphs on one. Graphs that found the same workspace
    would write into it at once when they are replayed on different streams, and the end of one would free what the
    others use (https://github.com/pytorch/pytorch/issues/193402). So there is no workspace when the recording begins,
    and the one that it makes, in the graph's own memory, is forgotten when it ends.
    """

    def __init__(self) -> None:
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, work: Callable[[], None]) -> None:
        """On a stream of its own, as torch asks for."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's stubs give it no types
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            work()
        torch.cuda.current_stream().wait_stream(stream)

    def record(self, work: Callable[[], None]) -> None:
        """Other threads may allocate memory meanwhile, as the reader of a streamed set does."""
        torch._C._cuda_clearCublasWorkspaces()
        try:
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                work()
        finally:
            torch._C._cuda_clearCublasWorkspaces()

    def replay(self) -> None:
        self._graph.replay()


class Recorded:
    """A step that was recorded, to be replayed on other images in the same memory.

    Recording needs some steps of warming up. They are undone: what was the state before them, is again, and moments
    that did not exist yet are 0, which is what they begin with.
    """

    def __init__(
        self,
        learn: Callable[[Tensor, Tensor], None],
        batch: tuple[Tensor, Tensor],
        state: Callable[[], list[Tensor]],
        graph: Graph,
    ):
        self.inputs = tuple(tensor.clone() for tensor in batch)
        self._graph = graph
        before = {id(tensor): (tensor, tensor.clone()) for tensor in state()}

        def work() -> None:
            learn(*self.inputs)

        def warm_up() -> None:
            for _ in range(WARM_UP_STEPS):
                work()

        graph.warm_up(warm_up)
        graph.record(work)
        with torch.no_grad():
            for tensor in state():
                known = before.get(id(tensor))
                tensor.zero_() if known is None else tensor.copy_(known[1])

    def replay(self) -> None:
        """One step on what `inputs` hold."""
        self._graph.replay()


def _optimiser(
    model: nn.Sequential, recipe: Recipe, device: torch.device
) -> tuple[torch.optim.Optimizer, list[nn.Parameter]]:
    """The optimiser of the recipe, and the weights whose l1 penalty the step adds to their gradient.

    Adam (Kingma and Ba 2015) or SGD with Nesterov momentum. The penalty reg/2 · |w|² on weights, none on biases, enters
    as its gradient reg · w. Weights that ask for no gradient are left alone.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    layers = [layer for layer in model if isinstance(layer, BlockFullyConnected) and recipe.penalty == "l1"]
    l1 = [layer.weight for layer in layers if layer.weight.requires_grad]
    skip = {id(weight) for weight in l1}
    decayed = [p for p in trained if p.ndim > 1 and id(p) not in skip]
    others = [p for p in trained if p.ndim <= 1 or id(p) in skip]
    groups = [{"params": decayed, "weight_decay": recipe.reg}, {"params": others, "weight_decay": 0.0}]
    on_cuda = device.type == "cuda"
    for group in groups:  # each its own tensor: one for both would be set twice
        group["lr"] = torch.tensor(recipe.lr, device=device) if on_cuda else recipe.lr
    if recipe.style == "modern":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=MOMENTUM, nesterov=True, fused=True), l1
    return torch.optim.Adam(groups, lr=recipe.lr, fused=True, capturable=on_cuda), l1
