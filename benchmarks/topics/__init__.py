"""What is measured: one module for each topic, with `TITLE`, `ABOUT` (for the page) and `measure(setting)`."""

from importlib import import_module
from types import ModuleType

TOPICS = (
    "perturbation",
    "schemes",
    "peers",
    "storage",
    "memory",
    "training",
    "loaded",
    "attack",
    "identification",
    "linkage",
    "sizes",
    "builds",
    "survey",
    "laboratory",
    "overhead",
    "first_page",
    "growth",
    "scale",
)
LONG = ("sizes", "survey", "laboratory", "first_page")  # measured only when named: an hour, or a quarter of one each
GPU = "gpu"


def topic(name: str) -> ModuleType:
    """The module of a topic, or of the GPU's measurements; imported when asked for."""
    return import_module(f"benchmarks.{name}" if name == GPU else f"benchmarks.topics.{name}")
