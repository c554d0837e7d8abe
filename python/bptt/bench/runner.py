"""Times the contenders of a row: all of them once a round, after their results were compared.

Who comes first changes from round to round, and every second round goes backwards, so that nobody
always runs after the same one. Before each turn there is a pause, in which the threads of the one
before stop waiting actively, and then calls that are not timed, until processors that have idled
run at full speed again: some take tens of milliseconds. Short work is repeated until the clock
sees it; a turn's time is that of one.
"""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from bptt.bench.rules import Case, Contender, Library, Results, UnsupportedError


class WrongError(Exception):
    """Results that are not those asked for."""


@dataclass(frozen=True)
class Plan:
    """How much time is taken.

    Parameters
    ----------
    seconds : float, default 1.2
        For each contender of a row, about.
    least, most : int, default 5 and 41
        Rounds, whatever the time.
    turn : float, default 0.01
        Seconds that a turn takes at least.
    pause : float, default 0.1
        Seconds before a turn.
    warm : float, default 0.02
        Seconds, at least, of calls that are not timed before those that are.
    """

    seconds: float = 1.2
    least: int = 5
    most: int = 41
    turn: float = 0.01
    pause: float = 0.1
    warm: float = 0.02


#: One look at everything, to see that it works.
QUICK = Plan(seconds=0.0, least=2, most=2, turn=0.001, pause=0.0, warm=0.0)


@dataclass
class Timing:
    """Seconds that a contender took for the work of a row, one of every round.

    Examples
    --------
    >>> from bptt.bench.runner import Timing
    >>> timing = Timing("bptt", seconds=[3.0, 1.0, 2.0])
    >>> timing.median, timing.quartiles
    (2.0, (1.5, 2.5))
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    #: Of a turn, how many times the work was repeated.
    repeats: int = 1
    #: The largest difference between its results and bptt's, as a share of the largest number.
    error: float = 0.0
    #: Seconds of processors over seconds: how many were busy.
    cores: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of all rounds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between which half of the rounds are."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)


@dataclass
class Result:
    """A row as measured. The first timing is bptt's, the others are its peers'."""

    case: Case
    timings: list[Timing]
    #: The FMA peak of every round, in operations a second.
    peaks: list[float] = field(default_factory=list)
    #: Libraries that are not in this row, and why.
    absent: dict[str, str] = field(default_factory=dict)
    #: Contenders that failed or computed something else, and what; they were not timed.
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """What bptt reaches of the FMA peak."""
        if self.case.flops is None or not self.peaks:
            return None
        return self.case.flops / self.timings[0].median / statistics.median(self.peaks)

    def times_faster(self, name: str) -> float | None:
        """Return the time of a peer over bptt's; None if it is not there."""
        for timing in self.timings[1:]:
            if timing.name == name:
                return timing.median / self.timings[0].median
        return None

    @property
    def best_peer(self) -> Timing | None:
        """The fastest of the others; another bptt is no peer."""
        peers = (timing for timing in self.timings[1:] if not timing.name.startswith("bptt"))
        return min(peers, key=lambda timing: timing.median, default=None)

    @property
    def over_best(self) -> float | None:
        """The fastest peer's time over bptt's: below 1, bptt is slower."""
        best = self.best_peer
        return None if best is None else best.median / self.timings[0].median


def run(
    cases: Iterable[Case],
    libraries: Sequence[Library],
    plan: Plan,
    peak: Callable[[bool], float] | None = None,
) -> Iterator[Result]:
    """Measure rows, one after the other.

    Parameters
    ----------
    cases : iterable of Case
        The rows.
    libraries : sequence of Library
        bptt first.
    plan : Plan
        How much time is taken.
    peak : callable, optional
        Measures the FMA peak, of float64 if it is given True, in operations a second. It takes its
        turn in every round, after a pause as everybody: beside threads of the last contender that
        still wait actively, it came out up to a third too low.

    Yields
    ------
    Result
        As soon as a row is done.

    Examples
    --------
    >>> from bptt.bench import cases, contenders, runner
    >>> libraries, _ = contenders.available(1)
    >>> case = cases.LayerCase("LSTM", (4, 2, 3, 5), train=True)
    >>> for result in runner.run([case], libraries[:1], runner.QUICK):
    ...     print(result.case.label, [timing.name for timing in result.timings])
    4, 2, 3, 5 ['bptt']
    """
    for case in cases:
        result, contenders = _prepare(case, libraries)
        _measure(result, contenders, plan, peak)
        yield result


def _prepare(case: Case, libraries: Sequence[Library]) -> tuple[Result, list[Contender]]:
    """Ask all libraries, and keep those that compute what bptt does."""
    result, contenders = Result(case, []), []
    data, wanted = case.data(), None
    for library in libraries:
        name = library.name
        try:
            for contender in case.ask(library, data):
                name, found = contender.name, contender.results()
                wanted = found if wanted is None else wanted
                error = _difference(case, found, wanted)
                contenders.append(contender)
                result.timings.append(Timing(name, error=error))
        except UnsupportedError as reason:
            result.absent[name] = str(reason)
        except Exception as problem:  # one peer's, which should not end a comparison of minutes
            result.wrong[name] = f"{type(problem).__name__}: {problem}"
        if wanted is None or not result.timings:
            raise RuntimeError(
                f"{name} itself fails in {case.label}: {result.wrong or result.absent}"
            )
    return result, contenders


def _difference(case: Case, found: Results, wanted: Results) -> float:
    """Return the largest difference of all results, or raise a WrongError."""
    missing = sorted(case.required - found.keys())
    if missing:
        raise WrongError(f"does not compute {', '.join(missing)}")
    worst = 0.0
    for name in wanted.keys() & found.keys():
        ours, theirs = wanted[name], found[name]
        if theirs.shape != ours.shape:
            raise WrongError(f"{name} has shape {theirs.shape}, not {ours.shape}")
        scale = max(float(np.abs(ours).max()), 1e-30)
        error = float(np.abs(theirs.astype(np.float64) - ours).max()) / scale
        if not error <= case.tolerance:  # which NaN is not, either
            raise WrongError(f"{name} differs by {error:.1e} of its largest number")
        worst = max(worst, error)
    return worst


def _measure(
    result: Result,
    contenders: list[Contender],
    plan: Plan,
    peak: Callable[[bool], float] | None,
) -> None:
    """Time the rounds, into the result."""
    turns = 0.0
    for contender, timing in zip(contenders, result.timings):
        seconds = _time(contender, 1)[0]
        if seconds < plan.turn:  # the first call may be slow
            seconds = min(seconds, _time(contender, 1)[0])
        timing.repeats = max(1, math.ceil(plan.turn / max(seconds, 1e-9)))
        turns += plan.pause + plan.warm + seconds * (timing.repeats + 1)
    rounds = int(plan.seconds * len(contenders) / max(turns, 1e-9))
    pairs = list(zip(contenders, result.timings))
    for number in range(min(max(rounds, plan.least), plan.most)):
        if peak is not None:
            time.sleep(plan.pause)
            result.peaks.append(peak(result.case.double))
        for contender, timing in _order(pairs, number):
            time.sleep(plan.pause)
            awake = time.perf_counter() + plan.warm
            while time.perf_counter() < awake:
                contender.run()
            seconds, cores = _time(contender, timing.repeats)
            timing.seconds.append(seconds / timing.repeats / contender.units)
            timing.cores.append(cores)


Turn = tuple[Contender, Timing]


def _order(items: list[Turn], number: int) -> list[Turn]:
    """Whose turn it is in a round."""
    first = number % len(items)
    order = items[first:] + items[:first]
    return order[::-1] if number % 2 else order


def _time(contender: Contender, repeats: int) -> tuple[float, float]:
    """Seconds of so many runs, and how many processors were busy."""
    run = contender.run
    collecting = gc.isenabled()
    gc.disable()
    try:
        processors, start = time.process_time(), time.perf_counter()
        for _ in range(repeats):
            run()
        seconds = time.perf_counter() - start
        return seconds, (time.process_time() - processors) / seconds
    finally:
        if collecting:
            gc.enable()
