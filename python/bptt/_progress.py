"""Progress of long work: a tqdm bar over epochs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bptt._extras import require
from bptt.history import History

#: Seconds that a call into Rust trains before Python draws progress and hears Ctrl-C.
SLICE = 0.1


class Bar:
    """A tqdm bar over epochs, or nothing."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def within(self, share: float) -> None:
        """Show how far a long epoch has come."""
        if self._bar is not None and share < 1:
            self._bar.set_postfix_str(f"{share:.0%} of epoch")

    def advance(self, history: History) -> None:
        """Count an epoch and show its losses."""
        if self._bar is not None:
            text = f"loss {history.loss[-1]:.4g}"
            if history.validation_loss:
                text += f", validation {history.validation_loss[-1]:.4g}"
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()


@contextmanager
def progress_bar(epochs: int, wanted: bool) -> Iterator[Bar]:
    """Open a bar over epochs, if it is wanted and tqdm is there."""
    if not wanted:
        yield Bar(None)
        return
    try:
        tqdm = require("tqdm.auto", "progress").tqdm
    except ImportError as error:
        # The bar is on by default: for want of it nobody should be kept from training.
        warnings.warn(f"no progress bar: {error}", stacklevel=4)
        yield Bar(None)
        return
    with tqdm(total=epochs, unit="epoch") as bar:
        yield Bar(bar)
