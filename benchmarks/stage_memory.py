"""What the topic `memory` runs in processes of their own: each stage's work on a file of many images, one call each."""

from benchmarks.loops import recipe
from benchmarks.topics.perturbation import perturb_once
from privpipe.attacks.base import AdversaryView, Pairs
from privpipe.attacks.registry import attacks
from privpipe.attacks.suite import suite
from privpipe.nn.bundle import save_bundle
from privpipe.nn.evaluate_job import evaluate_file
from privpipe.nn.train_job import train_file
from privpipe.store import PERTURBED, RAW, open_store

THREADS = 2
TARGETS = PAIRS = 1000
HOW = {"method": "block_scramble", "k": 4, "scope": "dataset"}


def nothing(raw: str, perturbed: str, model: str) -> None:
    """What every stage has: Python, and all that is imported here."""


def perturb(raw: str, perturbed: str, model: str) -> None:
    perturb_once(raw, perturbed, HOW)


def train(raw: str, perturbed: str, model: str) -> None:
    """One epoch of the default experiment's network."""
    done = train_file(perturbed, "descrambler", recipe("descrambler", "auto"), "cpu", THREADS, progress=False)
    save_bundle(model, done.bundle)


def evaluate(raw: str, perturbed: str, model: str) -> None:
    evaluate_file(perturbed, model, "cpu", THREADS)


def attack(raw: str, perturbed: str, model: str) -> None:
    """All attacks of the default experiment, with the images of the validation part as the public ones."""
    with open_store(raw, RAW) as store:
        known, public = store.rows("train", 0, PAIRS), store.images("val")
    with open_store(perturbed, PERTURBED) as store:
        stolen, targets = store.images("train"), store.rows("test", 0, TARGETS)
    pairs = Pairs(known, stolen[:PAIRS])
    suite(
        AdversaryView("block_scramble", 4, "dataset", 0.0, stolen, targets, public, pairs),
        attacks(3, 0, THREADS, "cpu"),
    )
