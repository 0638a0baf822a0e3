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
    "sizes",
    "builds",
    "overhead",
    "growth",
    "scale",
)
LONG = ("sizes",)  # measured only when named: more than an hour
AGAINST, GPU = "against", "gpu"
COMMANDS = (AGAINST, GPU)  # measured by a command of their own


def topic(name: str) -> ModuleType:
    """The module of a topic, or of a command's measurements; imported when asked for."""
    return import_module(f"benchmarks.{name}" if name in COMMANDS else f"benchmarks.topics.{name}")
