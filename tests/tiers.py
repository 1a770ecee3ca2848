"""Every tier of checks in turn, each to its end, and one summary: `python tests/tiers.py`.

With a tier's name it is that one alone, and what follows is for pytest: `python tests/tiers.py faults --seeds 20`.
A tier fails when a check fails, when it runs no test at all, and in CI (CI=true) when it skips one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CHECKS = {
    "lint": ((str(BIN / "ruff"), "check", "--quiet", "."), (str(BIN / "ruff"), "format", "--check", "--quiet", ".")),
    "types": ((str(BIN / "mypy"),),),
    "contracts": ((str(BIN / "lint-imports"), "--no-cache"),),
}
TESTS = ("unit", "sandbox", "escape", "engines", "models", "e2e", "faults", "hosts", "compose")
MORE = {"faults": ("-n", "3", "--dist", "loadgroup")}
"""Most of a fault's time is spent waiting: for a lease that runs out, for what comes back."""


@dataclass(frozen=True)
class Result:
    """How a tier went."""

    name: str
    ok: bool
    seconds: float
    counts: str = ""
    skipped: int = 0


def main() -> int:
    """Run all tiers, or the one that is named; 0 where all are well."""
    in_ci = os.environ.get("CI", "").lower() in {"1", "true"}
    chosen, more = sys.argv[1:2], sys.argv[2:]
    results = [check(name, commands) for name, commands in CHECKS.items() if not chosen or name in chosen]
    results += [test(name, *more) for name in TESTS if not chosen or name in chosen]
    failed = [result.name for result in results if not result.ok or (in_ci and result.skipped)]
    sys.stdout.write("\n")
    for result in results:
        verdict = "FAILED" if result.name in failed else "SKIPPED SOME" if result.skipped else "ok"
        sys.stdout.write(f"{result.name:<10} {verdict:<13} {result.seconds:6.1f} s  {result.counts}\n")
    sys.stdout.write(
        f"{len(results) - len(failed)} of {len(results)} tiers ok, {sum(r.seconds for r in results):.0f} s\n"
    )
    return 1 if failed else 0


def check(name: str, commands: tuple[tuple[str, ...], ...]) -> Result:
    """Run a tier of tools that only look at the source."""
    said(name)
    began = time.monotonic()
    codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands]
    return Result(name, not any(codes), time.monotonic() - began)


def test(name: str, *more: str) -> Result:
    """Run a tier of tests, and count from pytest's own report."""
    said(name)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        pytest = (
            *as_root(),
            sys.executable,
            "-m",
            "pytest",
            "-q",
            f"--basetemp={folder}/scratch",
            f"--junitxml={report}",
            f"tests/{name}",
            *MORE.get(name, ()),
            *more,
        )
        code = subprocess.run(pytest, cwd=ROOT, check=False).returncode
        suite = ET.parse(report).getroot().find("testsuite") if report.is_file() else None  # noqa: S314  # pytest wrote it.
    count = (
        {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
        if suite is not None
        else {}
    )
    bad, skipped = count.get("failures", 0) + count.get("errors", 0), count.get("skipped", 0)
    counts = f"{count.get('tests', 0) - bad - skipped} passed, {bad} failed, {skipped} skipped"
    return Result(name, code == 0, time.monotonic() - began, counts, skipped)


@cache
def as_root() -> tuple[str, ...]:
    """Return what gives the tests root's rights, which mounts need; nothing where they are there or can't be had."""
    if os.geteuid() == 0 or shutil.which("sudo") is None:
        return ()
    works = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    return ("sudo", "-n", "-E", "env", "PYTHONDONTWRITEBYTECODE=1") if works else ()


def said(name: str) -> None:
    """Announce a tier before its own output."""
    sys.stdout.write(f"\n--- {name}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
