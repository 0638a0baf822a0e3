"""Runs and records of evaluations that were never run, for tests of what is made of them."""

import base64
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from privpipe.attacks.standard import NEWEST
from privpipe.pipeline.entries import data_of, params_of
from privpipe.scores.entry import Entry, save_entry
from privpipe.scores.registry import scores

ATTACKS = ["as_is", "pixel_correlation"]
SIZE = NEWEST.sizes["smoke"]


def png() -> str:
    return base64.b64encode(cv2.imencode(".png", np.zeros((16, 64, 3), np.uint8))[1].tobytes()).decode()


def run(
    key: int = 0, seed: int = 0, accuracy: float = 0.5, source: str = "synthetic", **perturb: Any
) -> dict[str, Any]:
    """What `privpipe.pipeline.evaluation.measure` gives; the run of seed 0 attacks."""
    settings = {"method": "block_scramble", "k": 4, "scope": "dataset", "sigma": 0.0}
    params = params_of(SIZE, data_of(SIZE, "synthetic"), settings, "baseline", "paper").model_dump()
    params["key"]["seed"], params["train"]["seed"] = key, seed
    privacy: dict[str, Any] = {f"l{level}_ssim": 0.2 * level + 0.01 * key for level in range(4)}
    privacy |= {"l0_attack": "as_is", "l3_key_recovery": None, "identified_candidates": 1000, "identified_prior": 0.01}
    privacy |= {"identified_exactly": 0.5, "identified_at_most": None, "identified_at_least": 0.3 + 0.1 * key}
    privacy |= {"identified_exactly_why": None, "identified_at_most_why": "no noise", "identified_at_least_why": None}
    attempt = {"level": "L0", "attack": "as_is"} | {score.name: None for score in scores()}
    attacked = {
        "privacy": privacy,
        "attempts": [attempt],
        "problems": ["other at L1: too few images"],
        "flags": ["network: it was still learning."],
        "attacks": ATTACKS,
        "public": 1000,
        "pairs": 100,
        "targets": 200,
        "seconds": 12.5,
        "figure": {"rows": ["original", "upload"], "png": png()},
    }
    machine = {"processor": "a processor, 2 usable", "device": "cpu, 1 threads", "versions": {"python": "3.11"}}
    return {
        "params": params,
        "evaluate": {"test_accuracy": accuracy},
        "cost": {"owner_seconds": 1.0 + key, "cloud_seconds": 20.0, "bytes": 3000},
        "counts": {"train": 2000, "test": 500},
        "machine": machine,
        "attacked": attacked if seed == 0 else None,
        "code": "c" * 16,
    }


def entry(**changed: Any) -> Entry:
    """A record; `changed` names fields of `Entry`, and groups are merged."""
    content: dict[str, Any] = {
        "scheme": {
            "name": "block_scramble",
            "package": "privpipe 0.1.0",
            "k": 4,
            "scope": "dataset",
            "sigma": 0.0,
            "network": "baseline",
            "recipe": "paper",
        },
        "suite": {"title": NEWEST.title, "size": "smoke", "attacks": ATTACKS},
        "budget": {
            **{"train": 2000, "test": 500, "public": 1000, "targets": 200, "candidates": 1000, "pairs": 100},
            **{"network_steps": 150, "epochs": 3, "seconds": 12.5},
        },
        "images": {"source": "cifar10", "digest": "a" * 64, "public_digest": "b" * 64},
        "machine": {"processor": "a processor", "device": "cpu, 1 threads", "versions": {"python": "3.11"}},
        "code": "c" * 16,
        "keys": [0],
        "seeds": [0],
        "accuracy": {"mean": 0.5, "low": 0.45, "high": 0.55, "runs": 1},
        "identified": {"prior": 0.01, "exactly": 0.5, "at_most": None, "at_least": 0.4, "why": {"at_most": "no noise"}},
        "privacy": {f"l{n}_ssim": {"mean": 0.2 * n, "low": 0.2 * n, "high": 0.2 * n, "runs": 1} for n in range(4)},
        "attempts": [{"level": "L0", "attack": "as_is"}],
        "problems": [],
        "flags": [],
        "cost": {"owner_seconds": 1.0, "cloud_seconds": 20.0, "bytes": 3_000_000},
        "figure": {"rows": ["original", "upload"], "png": png()},
    }
    for name, value in changed.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    return Entry.model_validate(content)


def saved(folder: Path, name: str, **changed: Any) -> Path:
    """The file of `entry`."""
    save_entry(folder / name, entry(**changed))
    return folder / name
