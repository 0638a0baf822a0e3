"""Whether a training gets the processor that it asks for: people share machines, and threads that wait for one another
lose far more by that than their fair share.

    watch = Contention(threads=2)
    for batch in batches:
        with watch:
            step(batch)
"""

import logging
import os
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

WINDOW = 10.0  # seconds of steps that are looked at together
ENOUGH = 0.75  # of the time in which the training's own thread is at work; on a quiet machine it is nearly all


class Contention:
    """Compares the processor time of the calling thread with the time that passes, and warns once.

    That thread takes part in all work and waits for nothing but the others that work beside it, whether they wait by
    spinning or asleep, so it gets less than the clock only where the processor is somebody else's.

    Args:
        threads: that the training works with.
        clock, processor_time: seconds, of the wall clock and of the calling thread.
    """

    def __init__(
        self,
        threads: int,
        clock: Callable[[], float] = time.perf_counter,
        processor_time: Callable[[], float] = time.thread_time,
    ):
        self._threads, self._clock, self._processor_time = threads, clock, processor_time
        self._passed = self._worked = 0.0
        self._warned = False

    def __enter__(self) -> None:
        self._start = self._clock(), self._processor_time()

    def __exit__(self, *_: object) -> None:
        self._passed += self._clock() - self._start[0]
        self._worked += self._processor_time() - self._start[1]
        if self._passed < WINDOW or self._warned:
            return
        if self._worked < ENOUGH * self._passed:
            logger.warning(
                "other programs keep the processor busy: the training had %.0f %% of the time that it asked for in the "
                "last %.0f s. %s",
                *(100 * self._worked / self._passed, self._passed, self._advice()),
            )
            self._warned = True
        self._passed = self._worked = 0.0

    def _advice(self) -> str:
        quiet = "a time when the machine is less busy"
        if self._threads == 1:
            return f"What helps is {quiet}."
        fewer = f"train.threads=1 (now {self._threads}; results differ in rounding)"
        if os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive":
            return f"What helps is {fewer}, or {quiet}."
        return f"What helps is OMP_WAIT_POLICY=passive in the environment (the same results), {fewer}, or {quiet}."
