"""One experiment in one process, with the attacks on it and what they came to."""

from collections.abc import Container
from functools import cached_property
from pathlib import Path

from privpipe.attacks.records import Record
from privpipe.params import Params
from privpipe.perturb.base import Array, Images
from privpipe.pipeline.experiment import Experiment
from privpipe.pipeline.steps.attack import attack
from privpipe.pipeline.steps.score import Inputs, score
from privpipe.scores.scoring import Judgement


class AttackedExperiment(Experiment):
    """An experiment that is attacked and scored where that is asked for.

    Args:
        only: the names of the attacks that are run; None: all that there are.
    """

    def __init__(self, params: Params, inputs: Inputs, scratch: Path, only: Container[str] | None = None) -> None:
        super().__init__(params, inputs.images, scratch, inputs.public)
        self.inputs, self.only = inputs, only

    @cached_property
    def records(self) -> list[Record]:
        """What every attack brought."""
        return attack(self.params, self.perturbed, self.inputs.public, self.inputs.leaked, only=self.only)

    @cached_property
    def scored(self) -> tuple[Judgement, Images, Array | None]:
        """The judgement, the originals of the targets, and the targets, as `privpipe.pipeline.steps.score.score`."""
        return score(self.params, self.key, self.perturbed, self.inputs, self.records)

    @property
    def judgement(self) -> Judgement:
        """Its metrics are as `metrics/privacy.json`, before they are rounded."""
        return self.scored[0]
