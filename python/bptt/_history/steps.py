"""`Steps`: the loss, the gradient norm and the learning rate of every step of the optimiser."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bptt._history.frame import frame_of
from bptt._support.check import shown

Numbers = NDArray[np.float64]

#: The most steps that are kept: 24 MiB.
MOST = 2**20

#: The columns of the rows.
NAMES = ("loss", "gradient_norm", "lr")


class Steps:
    """The steps of the optimiser in a training run, one number of each kind for every step.

    With `tbptt` every chunk of a batch makes a step, with `accumulate` so many batches make one. A
    run that a checkpoint resumes has the steps of the whole run. Memory is bounded: beyond 2^20
    (1,048,576) steps, every second one is kept, then every fourth, and so on; `step` tells which.

    Attributes
    ----------
    step : ndarray of int64
        The number of each step, from 1.
    loss : ndarray of float64
        The mean loss of the targets that the step was for, computed before it; NaN if none of them
        counts (all ignored, or of weight 0).
    gradient_norm : ndarray of float64
        The norm of the gradients of all parameters together, before `clip_norm` scales them.
    lr : ndarray of float64
        The learning rate.

    Examples
    --------
    >>> import numpy as np, bptt
    >>> model = bptt.Sequential(bptt.Linear(1, 1, rng=0))
    >>> x = np.ones((6, 3, 1))
    >>> history = model.fit(x, x, loss="mse", optimizer=bptt.SGD(0.1), epochs=2, batch_size=2,
    ...                     progress=False)
    >>> history.steps.step
    array([1, 2, 3, 4, 5, 6])
    >>> bool((np.diff(history.steps.gradient_norm) < 0).all())
    True
    """

    def __init__(self) -> None:
        self._memory: Numbers = np.empty((0, len(NAMES)))
        self._count = 0  # rows of the memory in use
        self._every = 1
        self._taken = 0

    def _extend(self, rows: Numbers) -> None:
        """Add the numbers of the next steps."""
        kept = rows[-self._taken % self._every :: self._every]
        self._taken += len(rows)
        count = self._count + len(kept)
        if count > len(self._memory):
            grown = np.empty((max(count, 2 * len(self._memory)), len(NAMES)))
            grown[: self._count] = self._rows
            self._memory = grown
        self._memory[self._count : count] = kept
        self._count = count
        while self._count > MOST:
            self._memory = self._rows[::2].copy()
            self._count, self._every = len(self._memory), 2 * self._every

    @property
    def _rows(self) -> Numbers:
        return self._memory[: self._count]

    @property
    def step(self) -> NDArray[np.int64]:
        """Return the numbers of the steps, from 1."""
        return 1 + self._every * np.arange(self._count)

    @property
    def loss(self) -> Numbers:
        """Return the mean loss of every step."""
        return self._rows[:, 0].copy()

    @property
    def gradient_norm(self) -> Numbers:
        """Return the norm of all gradients together of every step, before clipping."""
        return self._rows[:, 1].copy()

    @property
    def lr(self) -> Numbers:
        """Return the learning rate of every step."""
        return self._rows[:, 2].copy()

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame: a row for each step, a column for each number.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return frame_of(dict(zip(NAMES, self._rows.T)), "step", self.step)

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        text = f"{self._taken} steps"
        if self._every > 1:
            text += f", one in {self._every} kept"
        if self._count:
            last = zip(NAMES, self._rows[-1])
            text += "".join(f", {name} {value:.4g}" for name, value in last)
        return f"<Steps: {text}>"

    def __getstate__(self) -> dict[str, Any]:
        return {"taken": self._taken, "every": self._every, "rows": self._rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a state, or change nothing and raise a ValueError or TypeError."""
        if not isinstance(state, dict) or state.keys() != {"taken", "every", "rows"}:
            raise ValueError(f"steps must be a dict of taken, every and rows, got {shown(state)}")
        taken, every, rows = state["taken"], state["every"], state["rows"]
        if type(taken) is not int or not 0 <= taken < 2**62:
            raise ValueError(f"taken must be a whole number of at least 0, got {shown(taken)}")
        needed = 1
        while -(-taken // needed) > MOST:
            needed *= 2
        if type(every) is not int or every != needed:
            raise ValueError(f"every must be {needed} for {taken} steps, got {shown(every)}")
        shape = (-(-taken // every), len(NAMES))
        if not isinstance(rows, np.ndarray) or (rows.shape, rows.dtype) != (shape, np.float64):
            raise ValueError(f"rows must be an array {shape} of float64, got {shown(rows)}")
        loss, norm, lr = rows.T
        if np.isinf(loss).any() or (norm < 0).any() or not ((lr >= 0) & np.isfinite(lr)).all():
            raise ValueError("rows must hold finite losses, norms and learning rates of at least 0")
        self._memory, self._count = rows, len(rows)
        self._every, self._taken = every, taken
