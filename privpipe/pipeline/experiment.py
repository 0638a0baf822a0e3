"""One experiment in one process: what the stages do one after the other, with the same functions and the same bytes.

Only what is asked for is done, with all that it needs: who asks for the evaluation has perturbed and trained.
`privpipe.pipeline.attacked` goes on with attacks and scores.
"""

import hashlib
import json
import shutil
import time
from functools import cached_property
from pathlib import Path
from typing import Any

from privpipe.attacks.descrambler_init import preparation
from privpipe.nn.bundle import save_bundle
from privpipe.nn.evaluate_job import Evaluation, evaluate_file
from privpipe.nn.train_job import Training, train_experiment
from privpipe.owner.key import Key, new_key
from privpipe.owner.releasing import cross
from privpipe.params import Params
from privpipe.scores.descrambler import DescramblerScore, score


class Experiment:
    """One experiment, from raw images to its metrics.

    Its attributes raise PrivpipeError where a file is missing or damaged, or the parameters do not fit the images.

    Args:
        params: of the experiment; its key is the research key of `key.seed`.
        images, public: raw images of the owner (RAW) and of everybody (PUBLIC); releases of a whole set need both.
        scratch: a folder of this process, and of one file of images, for files that are not kept. Experiments that
            follow each other in it share the perturbed images where they can.
    """

    def __init__(self, params: Params, images: Path, scratch: Path, public: Path | None = None) -> None:
        self.params, self.images, self.scratch, self.public = params, images, scratch, public

    @cached_property
    def key(self) -> Key:
        return new_key(self.params.key.seed)

    @cached_property
    def perturbed(self) -> Path:
        """The file of perturbed images, or the release; all others in the scratch folder go when it is made."""
        what = json.dumps([self.params.perturb.model_dump(), self.params.key.seed], sort_keys=True)
        path = self.scratch / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.h5"
        done = path.with_suffix(".json")
        if not done.exists():
            shutil.rmtree(self.scratch, ignore_errors=True)  # there is none before the first experiment
            self.scratch.mkdir(parents=True)
            settings, queries = self.params.perturb, path.with_suffix(".queries.h5")
            start = time.perf_counter()
            budget = self.params.key.budget
            metrics = cross(self.images, self.public, path, queries, settings, self.key, budget, progress=False)
            done.write_text(json.dumps({"metrics": metrics, "seconds": time.perf_counter() - start}))
        return path

    @cached_property
    def perturbing(self) -> dict[str, Any]:
        """As `metrics/perturb.json`."""
        metrics: dict[str, Any] = self._perturbing["metrics"]
        return metrics

    @property
    def perturbing_seconds(self) -> float:
        """Wall-clock seconds that the perturbed file took, also where an experiment before this one made it."""
        return float(self._perturbing["seconds"])

    @cached_property
    def _perturbing(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.perturbed.with_suffix(".json").read_text())
        return content

    @cached_property
    def training(self) -> Training:
        """Its metrics are as `metrics/train.json`. Raises Diverged where the training came to nothing."""
        model, prepare = self.params.model, preparation(self.params.model.descrambler, progress=False)
        training = train_experiment(self.perturbed, model, self.params.train, prepare, progress=False)
        save_bundle(self._model, training.bundle)
        return training

    @cached_property
    def evaluation(self) -> Evaluation:
        """Its metrics are as `metrics/evaluate.json`."""
        machine, _ = self.params.train, self.training
        queries = self.perturbed.with_suffix(".queries.h5")
        return evaluate_file(self.perturbed, self._model, machine.device, machine.threads, queries)

    @cached_property
    def descrambler(self) -> DescramblerScore:
        """Its metrics are as `metrics/descrambler.json`."""
        return score(self.training.bundle, self.key)

    @property
    def _model(self) -> Path:
        return self.perturbed.with_suffix(".safetensors")
