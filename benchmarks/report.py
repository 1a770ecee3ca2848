"""What every benchmark prints: rows of one shape, as a table or as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOISE = 1.5
"""A floor this many times its quiet figure makes a row noisy."""


@dataclass(frozen=True)
class Row:
    """One figure: the median of its samples, their ends, the floor of the same run, and what it has to keep below.

    `noisy`: the floor was more than `NOISE` times its quiet figure, so the machine was busy.
    """

    name: str
    value: float
    unit: str
    min: float
    max: float
    baseline: float
    target: float
    ok: bool
    noisy: bool


def row(
    name: str,
    samples: Sequence[float],
    floor: Sequence[float],
    *,
    unit: str,
    target: float,
    quiet: float,
    at: float = 0.5,
) -> Row:
    """Return the row of these samples. `floor` was measured among them; `quiet` is its figure on a quiet machine.

    `at` is the share of the samples that lie below the value: 0.5 for their median.
    """
    value, baseline = statistics.median(samples), statistics.median(floor)
    if at != 0.5:  # noqa: PLR2004  # The median may lie between two.
        value = sorted(samples)[min(len(samples) - 1, int(at * len(samples)))]
    return Row(
        name=name,
        value=round(value, 4),
        unit=unit,
        min=round(min(samples), 4),
        max=round(max(samples), 4),
        baseline=round(baseline, 4),
        target=target,
        ok=value <= target,
        noisy=baseline > NOISE * quiet,
    )


def present(
    name: str, rows: Sequence[Row], *, as_json: bool, beside: Mapping[str, Sequence[Mapping[str, object]]] | None = None
) -> int:
    """Print the rows; `beside` are lists that stand next to them in JSON, without targets.

    Returns the exit code: 0 where every row is within its target, else 1.
    """
    if as_json:
        print(json.dumps({"name": name, "rows": [asdict(one) for one in rows], **(beside or {})}))
        return 0 if all(one.ok for one in rows) else 1
    width = max(len(one.name) for one in rows)
    print(f"{name:<{width}}  {'median':>8} {'min':>8} {'max':>8} {'floor':>8} {'target':>8}")
    for one in rows:
        figures = " ".join(f"{figure:8.3f}" for figure in (one.value, one.min, one.max, one.baseline, one.target))
        verdict = ("✓ ok" if one.ok else "✗ missed") + (", noisy: the machine was busy" if one.noisy else "")
        print(f"{one.name:<{width}}  {figures} {one.unit}  {verdict}")
    return 0 if all(one.ok for one in rows) else 1
