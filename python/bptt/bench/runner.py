"""Times the contenders of a case in rounds, after comparing their results.

Every contender has one turn in each round. The order changes from round to round, and every second
round runs backwards, so that nobody always follows the same contender. Before each turn there is a
pause, in which the threads of the previous contender stop waiting actively. Untimed calls follow,
until idle processors run at full speed again, which takes some of them tens of milliseconds. Short
work is repeated until the clock can measure it; the time of a turn is that of one repetition.
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
    """Results are missing or differ from those of bptt."""


@dataclass(frozen=True)
class Plan:
    """The durations of a measurement.

    Parameters
    ----------
    seconds : float, default 1.2
        Seconds for each contender of a row, approximately.
    least, most : int, default 5 and 41
        The smallest and the largest number of rounds.
    turn : float, default 0.01
        The shortest turn, in seconds.
    pause : float, default 0.1
        Seconds of pause before a turn.
    warm : float, default 0.02
        The shortest time of untimed calls before a turn, in seconds.
    """

    seconds: float = 1.2
    least: int = 5
    most: int = 41
    turn: float = 0.01
    pause: float = 0.1
    warm: float = 0.02


#: For tests: the shortest measurement.
QUICK = Plan(seconds=0.0, least=2, most=2, turn=0.001, pause=0.0, warm=0.0)


@dataclass
class Timing:
    """The seconds of a contender in every round.

    Examples
    --------
    >>> from bptt.bench.runner import Timing
    >>> timing = Timing("bptt", seconds=[3.0, 1.0, 2.0])
    >>> timing.median, timing.quartiles
    (2.0, (1.5, 2.5))
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    #: How many times the work is repeated in a turn.
    repeats: int = 1
    #: The largest difference from the results of bptt, relative to the largest number.
    error: float = 0.0
    #: The number of busy processors: processor seconds over seconds.
    cores: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of all rounds."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper quartile of all rounds."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)


@dataclass
class Result:
    """The measurements of a row. The first timing is bptt's, the others are its peers'."""

    case: Case
    timings: list[Timing]
    #: The FMA peak of every round, in operations per second.
    peaks: list[float] = field(default_factory=list)
    #: The libraries that cannot compute this row, and why.
    absent: dict[str, str] = field(default_factory=dict)
    #: The contenders that were not timed because they failed or gave other results, and how.
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """The share of the FMA peak that bptt reaches."""
        if self.case.flops is None or not self.peaks:
            return None
        return self.case.flops / self.timings[0].median / statistics.median(self.peaks)

    def times_faster(self, name: str) -> float | None:
        """Return the time of a peer over that of bptt; None without the peer."""
        for timing in self.timings[1:]:
            if timing.name == name:
                return timing.median / self.timings[0].median
        return None

    @property
    def best_peer(self) -> Timing | None:
        """The fastest peer; other contenders of bptt are not peers."""
        peers = (timing for timing in self.timings[1:] if not timing.name.startswith("bptt"))
        return min(peers, key=lambda timing: timing.median, default=None)

    @property
    def over_best(self) -> float | None:
        """The time of the fastest peer over that of bptt; below 1, bptt is slower."""
        best = self.best_peer
        return None if best is None else best.median / self.timings[0].median


def run(
    cases: Iterable[Case],
    libraries: Sequence[Library],
    plan: Plan,
    peak: Callable[[bool], float] | None = None,
) -> Iterator[Result]:
    """Measure cases, one after the other.

    Parameters
    ----------
    cases : iterable of Case
        The cases.
    libraries : sequence of Library
        The libraries; bptt is the first.
    plan : Plan
        The durations.
    peak : callable, optional
        Measures the FMA peak in operations per second; its argument is True for float64. It has a
        turn in every round, after a pause: while threads of the last contender still wait actively,
        the result is up to a third too low.

    Yields
    ------
    Result
        The measurements of a case, as soon as they are complete.

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
    """Collect the contenders of all libraries that compute the same as bptt."""
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
        except Exception as problem:  # an error of one peer does not end the comparison
            result.wrong[name] = f"{type(problem).__name__}: {problem}"
        if wanted is None or not result.timings:
            raise RuntimeError(f"{name} fails in {case.label}: {result.wrong or result.absent}")
    return result, contenders


def _difference(case: Case, found: Results, wanted: Results) -> float:
    """Return the largest relative difference of all results, or raise a WrongError."""
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
        if not error <= case.tolerance:  # NaN fails, too
            raise WrongError(f"{name} differs by {error:.1e} of its largest number")
        worst = max(worst, error)
    return worst


def _measure(
    result: Result,
    contenders: list[Contender],
    plan: Plan,
    peak: Callable[[bool], float] | None,
) -> None:
    """Run the rounds and store their times in the result."""
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
    """Return the contenders in the order of a round."""
    first = number % len(items)
    order = items[first:] + items[:first]
    return order[::-1] if number % 2 else order


def _time(contender: Contender, repeats: int) -> tuple[float, float]:
    """Return the seconds of so many runs and the number of busy processors."""
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
