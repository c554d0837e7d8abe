"""JSON from files that anybody may have written: read strictly, at a bounded cost.

Python's own reader needs up to 30 bytes of memory for a byte of text, keeps the last of two equal names and takes
NaN for a number.
"""  # noqa: E501

from __future__ import annotations

import json
from typing import Any

#: The most values that are read: some tens of megabytes, and a fraction of a second.
MOST_VALUES = 2**18


def loads(text: str, *, finite: bool = True) -> Any:
    """Return what a text in JSON says, or raise a ValueError; without `finite`, NaN is allowed."""
    # Every value but the first of a list or dict follows a comma. Those in strings count, too.
    if sum(map(text.count, "[{,")) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values")
    try:
        return json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refused if finite else None
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON as a dict; refuse one with two equal names."""
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a name occurs twice")
    return result


def _refused(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
