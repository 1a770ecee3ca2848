"""Rows of what the dream rests on: telling duplicates from contradictions, and following files through history."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Final

from benchmarks.pairs import CONTRADICTION, SAME, pairs
from benchmarks.report import Row
from orchestrator.dream.alike import Likeness, compare
from orchestrator.dream.paths import Fate, follow
from orchestrator.dream.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PRECISION, _RECALL, _KEPT = 0.97, 0.95, 95.0
_LEAST: Final = 3
"""Repositories that a share of renamed files is said of."""


def pair_rows() -> list[Row]:
    """Return how well 1,200 pairs are told apart."""
    found: Counter[tuple[str, Likeness]] = Counter()
    for pair in pairs():
        found[pair.kind, compare(Statement.of(pair.one), Statement.of(pair.other))] += 1
    merged = sum(count for (_, got), count in found.items() if got is Likeness.SAME)
    right, all_same = found[SAME, Likeness.SAME], sum(count for (kind, _), count in found.items() if kind == SAME)
    wrong = found[CONTRADICTION, Likeness.SAME]
    return [
        _row("duplicates: precision", right / max(merged, 1), "", _PRECISION, at_least=True),
        _row("duplicates: recall", right / all_same, "", _RECALL, at_least=True),
        _row("contradictions merged", wrong, "pairs", 0, at_least=False),
    ]


def path_rows(repos: Sequence[Path]) -> list[Row]:
    """Return how many renamed files are kept between the middle of each history and its end, over all repositories.

    A file counts as renamed where it isn't there under its name any more, has content, and the one file that has the
    same content now came since: content is the judge, not git's similarity.
    """
    renamed = kept = false = 0
    for repo in repos:
        commits = _git(repo, "rev-list", "--first-parent", "HEAD").split()
        head, start = commits[0], commits[len(commits) // 2]
        then, now = _blobs(repo, start), _blobs(repo, head)
        fates = follow(repo, list(then), start, head)
        false += sum(one.fate is Fate.FRESH and path not in now for path, one in fates.items())
        uses_then, uses_now = Counter(then.values()), Counter(now.values())
        for path, blob in then.items():
            once = uses_then[blob] == uses_now[blob] == 1
            if path not in now and once and blob != _EMPTY:
                renamed += 1
                kept += fates[path].fate is Fate.RENAMED and now.get(fates[path].now) == blob
    return [
        _row(
            "renamed files kept", 100 * kept / max(renamed, 1), "%", _KEPT, at_least=True, enough=len(repos) >= _LEAST
        ),
        _row("files that are gone called fresh", false, "files", 0, at_least=False),
    ]


_EMPTY: Final = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def _blobs(repo: Path, commit: str) -> dict[str, str]:
    listed = _git(repo, "ls-tree", "-r", "-z", commit).split("\0")
    return {entry.partition("\t")[2]: entry.split()[2] for entry in listed if entry}


def _git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *arguments], check=True, capture_output=True)
    return done.stdout.decode(errors="surrogateescape")


def _row(name: str, value: float, unit: str, target: float, *, at_least: bool, enough: bool = True) -> Row:
    ok = enough and (value >= target if at_least else value <= target)
    return Row(name, round(value, 4), unit, value, value, 0.0, target, ok, noisy=False)
