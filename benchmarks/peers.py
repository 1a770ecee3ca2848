"""Other harnesses at the same script and the same fake model, where they are installed; nothing is installed here.

Each runs as its own users run it: by its command, on the machine itself, in a fresh repository and home directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.horizon_rows import gaps
from benchmarks.long_runs import TASK, Course, Ran, Spent, repository
from tests.fakes.agent_script import LEDGER
from tests.fakes.fake_agent_model import Plan, Record, served

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_LONGEST_S: Final = 300.0
_LOOK_S: Final = 0.05
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OUTPUT: Final = 8192
_MOST_KEPT: Final = 0.999
"""A request that keeps less than this of the one before was built anew."""
_WHAT: Final = ("done", "again", "extra", "refused", "rebuilt", "blocked", "shared", "CPU", "gap", "peak", "wall")
_NAMES: Final = ("course", "harness", *_WHAT)
_UNITS: Final = ("", "", "steps", "steps", "requests", "requests", "times", "s", "%", "ms/step", "ms", "MB", "s")


class Figures(NamedTuple):
    """What one harness did with one course: the steps done, and those done `again`; what it took.

    CPU is counted from its first request on, memory over all its processes.
    """

    course: str
    harness: str
    done: int
    of: int
    again: int
    extra: int
    refused: int
    rebuilds: int
    blocked_s: float
    shared: float
    cpu_ms: float
    gap_ms: float
    peak_mb: float
    wall_s: float


@dataclass(frozen=True)
class Harness:
    """A harness that may be there: its program, by what its requests for a summary are known, and how it's called.

    `call` writes what it is configured by below a home directory, and returns the arguments and variables.
    """

    name: str
    program: str
    signs: tuple[str, ...]
    call: Callable[[str, int, Path], tuple[list[str], dict[str, str]]]


def _opencode(folder: str, **more: Any) -> Callable[[str, int, Path], tuple[list[str], dict[str, str]]]:
    """Return how OpenCode is called, or MiMo Code, which grew out of it."""

    def call(url: str, window: int, home: Path) -> tuple[list[str], dict[str, str]]:
        model = {"name": "fake", "tool_call": True, "limit": {"context": window, "output": _OUTPUT}}
        options = {"baseURL": url, "apiKey": "none"}
        provider = {"name": "Fake", "npm": "@ai-sdk/openai-compatible", "options": options, "models": {"fake": model}}
        config = {"model": "fake/fake", "small_model": "fake/fake", "provider": {"fake": provider}, **more}
        file = home / ".config" / folder / f"{folder}.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(config))
        return ["run", TASK], {f"{folder.upper()}_DISABLE_{name}": "1" for name in ("AUTOUPDATE", "MODELS_FETCH")}

    return call


def _mini(url: str, window: int, home: Path) -> tuple[list[str], dict[str, str]]:
    """Return how mini-swe-agent is called; it keeps every word, and so ends where the window does."""
    del window
    chosen = ("mini.yaml", f"model.model_kwargs.api_base={url}", "model.model_kwargs.api_key=none")
    argv = ["-m", "openai/fake", "-y", "--exit-immediately", "-t", TASK, "-o", str(home / "out.json")]
    variables = {"MSWEA_CONFIGURED": "true", "MSWEA_COST_TRACKING": "ignore_errors", "MSWEA_SILENT_STARTUP": "1"}
    return [*argv, *(word for one in chosen for word in ("-c", one))], variables


HARNESSES: Final = (
    Harness("MiMo Code", "mimo", ("checkpoint-writer mode",), _opencode("mimocode", permission={"*": "allow"})),
    Harness(
        "OpenCode",
        "opencode",
        ("You are a context summarization agent",),
        _opencode("opencode", permission="allow", autoupdate=False, share="disabled"),
    ),
    Harness("mini-swe-agent", "mini", (), _mini),
)


def ours(ran: Ran) -> Figures:
    """Return what DreamDock did, sandbox, checkpoints and journal included."""
    return _figures(ran.course, "DreamDock", ran.record, ran.ledger, ran.spent)


def found(folder: Path | None) -> list[tuple[Harness, str]]:
    """Return the harnesses that are on PATH, or anywhere below a folder, and their programs."""
    there = []
    for harness in HARNESSES:
        below = sorted(folder.rglob(f"bin/{harness.program}")) if folder else []
        if program := next((str(path.absolute()) for path in below), None) or shutil.which(harness.program):
            there.append((harness, program))
    return there


def run(harness: Harness, program: str, course: Course) -> Figures:
    """Have a harness do a course, for at most five minutes."""
    with tempfile.TemporaryDirectory(prefix="ddp-", ignore_cleanup_errors=True) as name:
        home = Path(name) / "home"
        home.mkdir()
        repo = repository(Path(name))
        with served(Plan(course.script, course.window, signs=harness.signs)) as service:
            arguments, variables = harness.call(service.url, course.window, home)
            environ = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_COLOR": "1", **variables}
            began = time.monotonic()
            process = subprocess.Popen(
                [program, *arguments],
                cwd=repo,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            watch = _Watch(process)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LONGEST_S)
            wall = time.monotonic() - began
            with suppress(ProcessLookupError):  # What it started goes with it.
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            watch.thread.join()
            record = service.record()
        ledger = repo / LEDGER
        lines = ledger.read_text().splitlines() if ledger.is_file() else []
    first = record.asked[0].came if record.asked else 0.0
    return _figures(course, harness.name, record, lines, Spent(watch.cpu_s(first), wall, watch.peak_mb))


def present(figures: Sequence[Figures]) -> None:
    """Print them side by side."""
    if not figures:
        return
    table: list[tuple[str, ...]] = [_NAMES, _UNITS]
    for one in figures:
        done = f"{one.done}/{one.of}"
        figure = (one.blocked_s, one.shared, one.cpu_ms, one.gap_ms, one.peak_mb, one.wall_s)
        counts = map(str, (one.again, one.extra, one.refused, one.rebuilds))
        table.append((one.course, one.harness, done, *counts, *(f"{value:.1f}" for value in figure)))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    print()
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _figures(course: Course, harness: str, record: Record, ledger: Sequence[str], spent: Spent) -> Figures:
    done = len(set(ledger) & set(course.script.ledger().splitlines()))
    main = record.of("main")
    waits = gaps(main)
    usual = statistics.median(waits) if waits else 0.0
    anew = [gap for gap, asked in zip(waits, main[1:], strict=True) if asked.kept < _MOST_KEPT * asked.previous]
    extra = [asked for asked in record.asked if asked.kind != "main"]
    condense = record.of("condense")
    shared = [100 * asked.kept / asked.previous for asked in condense if asked.previous]
    return Figures(
        course=course.name,
        harness=harness,
        done=done,
        of=course.steps,
        again=len(ledger) - len(set(ledger)),
        extra=len(extra),
        refused=len([asked for asked in record.asked if asked.status != 200]),  # noqa: PLR2004  # OK.
        rebuilds=len(anew),
        blocked_s=round(max((gap - usual for gap in anew), default=0.0), 3),
        shared=round(min(shared), 1) if len(shared) == len(condense) and shared else 0.0,
        cpu_ms=round(spent.cpu_s * 1000 / max(1, done), 1),
        gap_ms=round(usual * 1000, 1),
        peak_mb=round(spent.peak_mb, 1),
        wall_s=round(spent.wall_s, 2),
    )


class _Watch:
    """Looks at a process and all below it until it ends: memory together, CPU over time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.peak_mb = 0.0
        self._cpu: list[tuple[float, float]] = []
        self._process = process
        self.thread = threading.Thread(target=self._look)
        self.thread.start()

    def cpu_s(self, since: float) -> float:
        """Return the seconds of CPU that it took after a moment."""
        before = [cpu for at, cpu in self._cpu if at <= since]
        return self._cpu[-1][1] - (before[-1] if before else 0.0) if self._cpu else 0.0

    def _look(self) -> None:
        while self._process.poll() is None:
            pids = _tree(self._process.pid)
            with suppress(OSError, ValueError):
                stat = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
                self._cpu.append((time.monotonic(), sum(map(int, stat[11:15])) / _TICKS))  # Its ended children, too.
            self.peak_mb = max(self.peak_mb, sum(map(_memory_mb, pids)))
            time.sleep(_LOOK_S)


def _tree(pid: int) -> list[int]:
    pids = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                pids += _tree(int(child))
    return pids


def _memory_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
    except (OSError, ValueError, IndexError):
        return 0.0
