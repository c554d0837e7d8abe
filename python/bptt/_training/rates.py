"""The learning rates of a run."""

from __future__ import annotations

from bptt._core import Trainer
from bptt._training.state import Training
from bptt.schedules import Rate


class Rates:
    """The learning rates of a run; the trainer gets them before each stretch of steps."""

    def __init__(self, trainer: Trainer, training: Training, steps: int | None) -> None:
        """Take the number of optimiser steps in the run; None if it is not known."""
        self._trainer, self._training = trainer, training
        self._taken = trainer.optimizer_steps
        schedule = training.schedule
        if schedule is not None:
            schedule._plan(training.schedule_state, steps)
            self.set(1)  # the core refuses bad rates here

    def ahead(self, step: int = 0) -> Rate:
        """Return the rate `step` steps from now."""
        schedule, lr = self._training.schedule, float(self._training.optimizer.lr)
        if schedule is None:
            return lr, None
        return schedule._rate(self._training.schedule_state, lr, step)

    def set(self, steps: int) -> None:
        """Set the rates of the next steps."""
        schedule = self._training.schedule
        if schedule is not None:
            count = steps if schedule.per == "step" else 1
            self._trainer.set_rates([self.ahead(step) for step in range(count)])

    def after_steps(self) -> None:
        """Advance the schedule by the steps that were taken."""
        taken, self._taken = (
            self._trainer.optimizer_steps - self._taken,
            self._trainer.optimizer_steps,
        )
        schedule = self._training.schedule
        if schedule is not None and schedule.per == "step":
            schedule._step(self._training.schedule_state, {}, taken)

    def after_epoch(self, logs: dict[str, float]) -> None:
        """Advance the schedule by an epoch."""
        schedule = self._training.schedule
        if schedule is not None and schedule.per == "epoch":
            schedule._step(self._training.schedule_state, logs)
