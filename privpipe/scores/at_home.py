"""The table of docs/results.md on training at home, where nothing is uploaded but perhaps the model.

    python -m privpipe.scores.at_home data/private/images.h5 data/public.h5
    python -m privpipe.scores.at_home data/private/images.h5 data/public.h5 --only network --epsilons 3

- plain: the paper's network as `params.yaml` would train it on plain images. Nothing bounds what the model tells.
- network: the same network by DP-SGD (`privpipe.statistics.dp_sgd`), normalised by public images.
- head: a linear classifier by DP-SGD on the vectors of `dp_statistics`, beginning with what public images tell.

With DP-SGD the model itself is (epsilon, delta)-differentially private for adding or removing one image, and so is
everything before it: whoever sees it names one of the candidates no more often than the bound says. Settings were
fixed, or chosen on public images, before any private one was looked at. Noise is of a seed: for measuring, not for
publishing the model.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from privpipe.files import write_csv
from privpipe.networks.base import Architecture
from privpipe.nn.data import Resident
from privpipe.nn.device import resolve_precision
from privpipe.nn.engine import Recipe
from privpipe.nn.inference import evaluate, measure
from privpipe.nn.models import build
from privpipe.nn.training import train as train_plain
from privpipe.scores.accuracy_rows import COLUMNS, WITH, WITHOUT, Row, cells, markdown
from privpipe.scores.release_accuracy import EPSILONS
from privpipe.statistics.accounting import DELTA
from privpipe.statistics.dp_sgd import Plan, train
from privpipe.statistics.heads import Start
from privpipe.statistics.recipe import prepare
from privpipe.statistics.sampled import sampled_identified_at_most, sampled_noise
from privpipe.statistics.values import Floats
from privpipe.store import PUBLIC, RAW, open_store

ARCH = "baseline"
NETWORK_RATE, NETWORK_CLIP, NETWORK_LR, MOMENTUM = 0.02, 1.0, 0.25, 0.9
HEAD_RATE, HEAD_STEPS, HEAD_CLIP, HEAD_LR = 0.1, 100, 1.0, 30.0  # the last chosen on public images
PLAIN = Recipe(epochs=10, batch_size=64, lr=0.001, reg=0.001, seed=0, lr_decay=0.8)  # the study's


@dataclass(frozen=True)
class Sets:
    """Images uint8 (N, H, W, C), as tensors, and labels int64 (N,), of an experiment."""

    private: Resident
    val: Resident
    test: Resident
    public: Resident
    classes: int

    @classmethod
    def read(cls, images: str | Path, public: str | Path) -> "Sets":
        """Of files of raw and of public images."""
        with open_store(images, RAW) as raw, open_store(public, PUBLIC) as others:
            private, val, test, known = (
                Resident(torch.from_numpy(store.images(split)), torch.from_numpy(store.labels(split)))
                for store, split in ((raw, "train"), (raw, "val"), (raw, "test"), (others, "train"))
            )
            return cls(private, val, test, known, len(raw.header.class_names))

    def network(self, seed: int) -> nn.Sequential:
        """The paper's network with its first weights."""
        _, size, _, channels = self.private.images.shape
        return build(Architecture(ARCH, size, channels, self.classes), torch.Generator().manual_seed(seed))


def bound(labels: Tensor, plan: Plan) -> float:
    """How often at most one of the candidates that `labels` are of is named by the model; the class is known."""
    sizes = np.unique(labels.numpy(), return_counts=True)[1]
    bounds = sampled_identified_at_most(1 / sizes, plan.noise, plan.rate, plan.steps)
    return float((sizes * bounds).sum() / sizes.sum())


def plain(sets: Sets, epochs: int) -> float:
    """Test accuracy of the paper's network on plain images."""
    precision = str(resolve_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    recipe = Recipe(**{**vars(PLAIN), "epochs": epochs, "precision": precision})
    model, normalise = sets.network(recipe.seed), measure(sets.private.images)
    train_plain(model, normalise, sets.private, sets.val, recipe)
    return evaluate(model, normalise, sets.test.images, sets.test.labels)[1]


def network_plan(epsilon: float, epochs: int) -> Plan:
    """DP-SGD of the paper's network."""
    steps = round(epochs / NETWORK_RATE)
    noise = sampled_noise(epsilon, NETWORK_RATE, steps)
    return Plan(NETWORK_RATE, steps, noise, NETWORK_CLIP, NETWORK_LR, MOMENTUM)


def network(sets: Sets, plan: Plan, seed: int) -> float:
    """Test accuracy of the paper's network by DP-SGD."""
    normalise = measure(sets.public.images)
    model = sets.network(seed)
    train(model, normalise(sets.private.images), sets.private.labels, plan, torch.Generator().manual_seed(seed))
    return evaluate(model, normalise, sets.test.images, sets.test.labels)[1]


def head_plan(epsilon: float) -> Plan:
    """DP-SGD of a linear classifier."""
    return Plan(HEAD_RATE, HEAD_STEPS, sampled_noise(epsilon, HEAD_RATE, HEAD_STEPS), HEAD_CLIP, HEAD_LR)


def head(start: Start, vectors: Floats, labels: Tensor, plan: Plan, seed: int) -> nn.Linear:
    """A linear classifier of vectors z by DP-SGD.

    Scores of `start` are probabilities less 1 / classes; to first order, times the number of classes, they are logits.
    """
    dims, classes = start.weights.shape
    layer = nn.Linear(dims, classes, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(classes * start.weights.T))
    train(layer, torch.from_numpy(vectors), labels, plan, torch.Generator().manual_seed(seed))
    return layer


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """What it returns, and minutes of the processor."""
    began = time.process_time()
    return work(), (time.process_time() - began) / 60


def heads(sets: Sets, epsilons: Sequence[float], labelled: bool, seeds: Sequence[int]) -> Iterator[Row]:
    """A row for each epsilon, with the minutes that the vectors took."""
    began = time.process_time()
    public = sets.public.images.numpy()
    recipe = prepare(public, sets.public.labels.numpy() if labelled else None, sets.classes)
    vectors, tests = (recipe.vectors(part.images.numpy()) for part in (sets.private, sets.test))
    yield from head_rows(sets, recipe.start, vectors, tests, epsilons, (time.process_time() - began) / 60, seeds)


def head_rows(
    sets: Sets,
    start: Start,
    vectors: Floats,
    tests: Floats,
    epsilons: Sequence[float],
    minutes: float,
    seeds: Sequence[int],
) -> Iterator[Row]:
    """`heads` of vectors that have been made: the mean over seeds with the range, and minutes of one of them."""
    for epsilon in epsilons:
        plan = head_plan(epsilon)

        def work(seed: int, plan: Plan = plan) -> float:
            scores = head(start, vectors, sets.private.labels, plan, seed)(torch.from_numpy(tests))
            return float((scores.argmax(1) == sets.test.labels).double().mean())

        found, spent = zip(*(timed(partial(work, seed)) for seed in seeds), strict=True)
        most, public = bound(sets.test.labels, plan), WITH if start.labelled else WITHOUT
        mean, each = float(np.mean(found)), minutes + float(np.mean(spent))
        low, high = (min(found), max(found)) if len(found) > 1 else (None, None)
        yield Row("at_home, head", "", epsilon, most, None, mean, each, low, high, public)


def rows(
    sets: Sets, only: Sequence[str], epsilons: Sequence[float], epochs: int, labelled: bool, seeds: Sequence[int] = (0,)
) -> Iterator[Row]:
    """What is asked for, as it is done."""
    if "plain" in only:
        accuracy, minutes = timed(lambda: plain(sets, PLAIN.epochs))
        yield Row("at_home, plain", f"{PLAIN.epochs} epochs", None, None, None, accuracy, minutes)
    if "head" in only:
        yield from heads(sets, epsilons, labelled, seeds)
    for epsilon in epsilons if "network" in only else ():
        plan = network_plan(epsilon, epochs)
        accuracy, minutes = timed(partial(network, sets, plan, 0))
        most = bound(sets.test.labels, plan)
        yield Row("at_home, network", f"{epochs} epochs", epsilon, most, None, accuracy, minutes)


def main(words: Sequence[str] | None = None) -> Iterator[str]:
    """Rows of the table, as they are done."""
    parser = argparse.ArgumentParser(prog="python -m privpipe.scores.at_home")
    parser.add_argument("images", help="raw images: data/private/images.h5")
    parser.add_argument("public", help="public images: data/public.h5")
    kinds = ["plain", "head", "network"]
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--epsilons", type=float, nargs="+", default=list(EPSILONS), help=f"at delta {DELTA:g}")
    parser.add_argument("--epochs", type=int, default=5, help="of the network under DP-SGD")
    parser.add_argument("--without-labels", action="store_true", help="of public images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the head: its samples and noises")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", help="file to write")
    chosen = parser.parse_args(words)
    torch.set_num_threads(chosen.threads)
    sets = Sets.read(chosen.images, chosen.public)
    done: list[Row] = []
    for row in rows(sets, chosen.only, chosen.epsilons, chosen.epochs, not chosen.without_labels, chosen.seeds):
        done.append(row)
        yield markdown([row], header=len(done) == 1)
    if chosen.csv:
        write_csv(Path(chosen.csv), COLUMNS, map(cells, done))


if __name__ == "__main__":
    for line in main():
        print(line, flush=True)
