"""What a run puts in front of what its acceptance command names, so that something else runs: a module, a makefile."""

from __future__ import annotations

import itertools
import re
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.delivery.rests_on import is_script
from orchestrator.runs import Weakening, Weakness

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.delivery.changed import Changed, Line

_PYTHON: Final = re.compile(r"(^|/)(?:python[\d.]*|pytest|tox|nox)$")
_CUSTOM: Final = frozenset({"sitecustomize", "usercustomize"})
"""Modules that Python imports before anything else."""
_MAKEFILE: Final = re.compile(r"(^|/)(GNUm|M|m)akefile$")
_RUNS_OTHERS: Final = (
    (re.compile(r"(^|/)\.npmrc$"), re.compile(r"^\s*(?:script-shell|node-options|ignore-scripts|if-present)\s*=")),
    (re.compile(r"(^|/)\.cargo/config(\.toml)?$"), re.compile(r"^\s*(?:runner|rustc(?:-wrapper)?|test)\s*=")),
    (_MAKEFILE, re.compile(r"^\s*(?:(?:override|export)\s+)*(?:\.?SHELL(?:FLAGS)?|MAKEFLAGS|GNUMAKEFLAGS)\s*[:+?]*=")),
    (_MAKEFILE, re.compile(r"^\s*\.(?:IGNORE|DEFAULT)\b\s*:")),
    (re.compile(r"(^|/)conftest\.py$"), re.compile(r"\b(?:os\._exit|sys\.exit|pytest\.exit)\(|\braise SystemExit\b")),
)
"""Files that say by what commands are run, or can end a run of the tests; and what in them does."""


def put_in_front(file: Changed, words: Sequence[str]) -> Iterator[Weakness]:
    """Yield what of a file comes before what the acceptance command means; `words` are those of the command."""
    if not file.path:
        return
    if not file.before and (is_script(file.path, words) or _shadows(file.path, words)):
        yield _named(file, next(file.lines("+"), None))
    known = {line.text.strip() for line in file.lines("-")}
    for line in file.lines("+"):
        if line.text.strip() not in known and any(
            where.search(file.path) and what.search(line.text) for where, what in _RUNS_OTHERS
        ):
            yield _named(file, line)


def _shadows(path: str, words: Sequence[str]) -> bool:
    """Whether a new file is found before what a command of these words means."""
    if "make" in words and _MAKEFILE.search(path):
        return True
    if not path.endswith(".py") or not any(_PYTHON.search(word) for word in words):
        return False
    top = path.partition("/")[0].removesuffix(".py")
    run = {word.partition(".")[0] for before, word in itertools.pairwise(words) if before == "-m"}
    return top in run | _CUSTOM or ("/" not in path and top in sys.stdlib_module_names)


def _named(file: Changed, line: Line | None) -> Weakness:
    text = line.text.strip() if line else ""
    return Weakness(kind=Weakening.ACCEPTANCE, path=file.name, line=line.number if line else 0, text=text or file.name)
