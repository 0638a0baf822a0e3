"""One experiment in one process, with the attacks on it and what they came to."""

from functools import cached_property
from pathlib import Path

from privpipe.attacks.records import Record
from privpipe.params import Params
from privpipe.pipeline.experiment import Experiment
from privpipe.pipeline.steps.attack import attack
from privpipe.pipeline.steps.score import Inputs, score
from privpipe.scores.scoring import Judgement


class AttackedExperiment(Experiment):
    """An experiment that is attacked and scored where that is asked for."""

    def __init__(self, params: Params, inputs: Inputs, scratch: Path) -> None:
        super().__init__(params, inputs.images, scratch, inputs.public)
        self.inputs = inputs

    @cached_property
    def records(self) -> list[Record]:
        """What every attack brought."""
        return attack(self.params, self.perturbed, self.inputs.public, self.inputs.leaked)

    @cached_property
    def judgement(self) -> Judgement:
        """Its metrics are as `metrics/privacy.json`, before they are rounded."""
        return score(self.params, self.key, self.perturbed, self.inputs, self.records)[0]
