r"""How well output is read and loops are seen: `python -m benchmarks.judgement [--cases DIR] [--json]`.

Behind the rows of located diagnostics come those of loops and of changed tests, see `benchmarks.guard_rows`, those of
budgets, see `benchmarks.budget_rows`, of submits that cheat, see `benchmarks.proof_rows`, and of the best of several
candidates, see `benchmarks.best_rows`: real runs, for which it takes root, an engine and the base image.
DIR holds real output of real tools with known places: `errorformat.jsonl` (from reviewdog/errorformat) and
`analysis-model.jsonl` (from jenkinsci/analysis-model); its README says more. It isn't part of the repository; by
default it is looked for beside it.

Recall of errorformat: the share of its places (file and line) that are found, in percent, over all tools that the
table knows or that print the general shape. Recall of analysis-model: the same over the known issues of the logs of
gcc, clang, javac, maven and linters. Paths are compared without `./`, with `/` for `\\`, and one may be the end of the
other, since that collection resolves some against directories that the log doesn't name.

False locations: the share of the places found in judged logs that their log doesn't claim. In errorformat every
place is known, so that all of it is judged. In analysis-model a log is judged where all of its issues are known
(`expected_count` is their number); but `expected_count` is what one parser asserts, and its log may hold findings of
other tools. So a place counts as claimed too where another parser's issues in the same collection name it, or where a
line of the log itself has the file, the line and the word error, warning, note or info.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import re
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks import best_rows, budget_rows, guard_rows, proof_rows
from benchmarks.report import Row, present
from orchestrator.diagnostics.reading import read
from orchestrator.diagnostics.told import listed, told

CASES: Final = Path(__file__).resolve().parents[2] / "shared" / "cases" / "diagnostics"
RECALL: Final = 95.0
RECALL_OF_LOGS: Final = 90.0
FALSE: Final = 2.0
MILLISECONDS: Final = 50.0
BYTES: Final = 2048.0
_LOGS: Final = re.compile(r"Gcc|Clang|Javac|Maven|Lint|Ruff|Flake8|MyPy|ShellCheck|Clippy|CargoCheck|GoVet|Gosec")
_MEGABYTE: Final = 1_000_000
_ERRORS: Final = 40
_MANY: Final = 2_000
_ROUNDS: Final = 7


class Place(NamedTuple):
    """A file, as compared, and a line."""

    file: str
    line: int


def place(file: str, line: int) -> Place:
    """Return a place as it is compared."""
    return Place(posixpath.normpath(file.replace("\\", "/").removeprefix("file://")), line)


def same(one: Place, other: Place) -> bool:
    """Say whether two places are the same, whatever directory was put in front of one."""
    lower, upper = one.file.lower(), other.file.lower()
    return one.line == other.line and (lower == upper or lower.endswith(f"/{upper}") or upper.endswith(f"/{lower}"))


def found(output: str) -> set[Place]:
    """Return the places that are read from an output."""
    return {place(one.file, one.line) for one in read(output) if one.line}


class Score(NamedTuple):
    """How many places are known, how many of them were found, how many were found in judged logs, how many falsely."""

    known: int = 0
    hit: int = 0
    judged: int = 0
    false: int = 0

    def plus(self, other: Score) -> Score:
        """Return both together."""
        return Score(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def recall(self) -> float:
        """The share of the known places that was found, in percent."""
        return 100 * self.hit / max(1, self.known)


def errorformat(cases: list[dict[str, Any]]) -> Score:
    """Score the collection in which each place is known; some of them as errorformat's own text."""
    total = Score()
    for case in cases:
        known = {place(one["file"], one["line"]) for one in case["expected"] if "line" in one}
        raw = (re.match(r"(.+?)\|(\d+)", one.get("raw", "")) for one in case["expected"])
        known |= {place(match[1], int(match[2])) for match in raw if match}
        got = found(case["input"])
        total = total.plus(Score(len(known), len(known & got), len(got), len(got - known)))
    return total


def analysis_model(cases: list[dict[str, Any]]) -> Score:
    """Score the collection in which some places are known."""
    issues = [{place(one["file"], one["line"]) for one in case["issues"] if located(one)} for case in cases]
    claimed = {one for each in issues for one in each}
    total = Score()
    for case, known in zip(cases, issues, strict=True):
        got = found(case["log"])
        if _LOGS.search(case["parser"]):
            hits = sum(any(same(one, other) for other in got) for one in known)
            total = total.plus(Score(known=len(known), hit=hits))
        if case["expected_count"] == len(case["issues"]):
            false = [
                one for one in got if not any(same(one, other) for other in claimed) and not states(case["log"], one)
            ]
            total = total.plus(Score(judged=len(got), false=len(false)))
    return total


def located(issue: dict[str, Any]) -> bool:
    """Say whether an issue has a place; `-` stands for no file."""
    return bool(issue.get("line")) and issue.get("file") not in {None, "", "-"}


def states(log: str, one: Place) -> bool:
    """Say whether a line of the log has the file, the line and a severity."""
    name = one.file.rpartition("/")[2]
    return any(
        name in line
        and re.search(rf"\b{one.line}\b", line)
        and re.search("error|warning|note|info", line, re.IGNORECASE)
        for line in log.splitlines()
    )


def megabyte() -> tuple[str, set[Place]]:
    """Return a log of 1 MB as a build writes it, and the places of its errors."""
    errors = {
        n: f"src/module{n % 4}/file{n % 8}.cpp:{n * 7 + 3}:5: error: 'thing{n}' was not declared in this scope\n"
        for n in range(_ERRORS)
    }
    lines: list[str] = []
    size = number = 0
    while size < _MEGABYTE:
        target = f"src/module{number % 9}/CMakeFiles/m.dir/file{number}.cpp.o"
        lines.append(f"[{number % 100:3}%] Building CXX object {target} 12:05:{number % 60:02}\n")
        if number % 250 == 0:
            lines.append(errors.get(number // 250, ""))
        size += len(lines[-1])
        number += 1
    return "".join(lines), {Place(f"src/module{n % 4}/file{n % 8}.cpp", n * 7 + 3) for n in errors}


def lost(block: str, places: set[Place]) -> int:
    """Return how many places a block that is shown doesn't name."""
    shown = set()
    for line in block.splitlines():
        file, _, rest = line.strip().partition(":")
        for part in rest.partition(":")[0].split(","):
            first, _, last = part.partition("-")
            if first.isdigit():
                shown |= {Place(file, n) for n in range(int(first), int(last or first) + 1)}
    return len(places - shown)


def milliseconds(output: str) -> list[float]:
    """Return how long it takes to read an output, in processor time: the machine may do other things meanwhile."""
    samples = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        read(output)
        samples.append((time.process_time() - began) * 1000)
    return samples


def rows(cases: Path) -> list[Row]:
    """Return the rows of the collections in this directory."""
    formats, logs = loaded(cases / "errorformat.jsonl"), loaded(cases / "analysis-model.jsonl")
    one, other = errorformat(formats), analysis_model(logs)
    both = one.plus(other)
    log, places = megabyte()
    dense = "\n".join([*(case["input"] for case in formats), *(case["log"] for case in logs)]) + "\n"
    dense = (dense * (_MEGABYTE // len(dense) + 1))[:_MEGABYTE]
    block = told(read(log))
    many = "".join(
        f"some/way/down/to/module_{n % 97}/file_{n}.cpp:{n}:5: error: bad thing {n}\n" for n in range(1, _MANY + 1)
    )
    in_file = {place(one.file, one.line) for one in read(listed(read(many)))}
    return [
        at_least("recall errorformat", one.recall, RECALL),
        at_least("recall analysis-model", other.recall, RECALL_OF_LOGS),
        at_most("false locations", [100 * both.false / max(1, both.judged)], FALSE, "%"),
        at_most("1 MB log", milliseconds(log), MILLISECONDS, "ms"),
        at_most("1 MB of nothing but findings", milliseconds(dense), MILLISECONDS * 4, "ms"),
        at_most("bytes of it in the context", [len(block.encode())], BYTES, "B"),
        at_most("located errors lost", [lost(block, places)], 0, "errors"),
        at_most(f"bytes of {_MANY} errors in the context", [len(told(read(many)).encode())], BYTES, "B"),
        at_most(f"{_MANY} errors, lost in the file behind it", [len(found(many) - in_file)], 0, "errors"),
    ]


def at_most(name: str, samples: list[float], target: float, unit: str) -> Row:
    """Return the row of a figure that has to stay below its target; there is no floor to compare with."""
    value = sorted(samples)[len(samples) // 2]
    return Row(name, round(value, 3), unit, min(samples), max(samples), 0.0, target, value <= target, noisy=False)


def at_least(name: str, value: float, target: float) -> Row:
    """Return the row of a share, in percent, that has to reach its target."""
    return Row(name, round(value, 2), "%", value, value, 0.0, target, value >= target, noisy=False)


def loaded(path: Path) -> list[dict[str, Any]]:
    """Return the cases of a file of JSON lines. Exits with 2 where it isn't there."""
    if not path.is_file():
        print(f"error: {path} isn't there; say with --cases where the collections of known output lie", file=sys.stderr)
        raise SystemExit(2)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = [*rows(options.cases), *guard_rows.rows(), *budget_rows.rows(), *proof_rows.rows(), *best_rows.rows()]
    return present("judgement", found, as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())
