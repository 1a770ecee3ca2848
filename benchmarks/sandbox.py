"""The sandbox's figures: `python -m benchmarks.sandbox [--json]`, as root, with an engine and the base image.

The engine's own exec through its SDK, and git, are measured in the same run. The floor is a bare start of this Python.
The repository of 80,000 files is made once, in the cache folder of whoever runs it.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from platformdirs import user_cache_path

from benchmarks.bigrepo import FILES, big_repo, paths
from benchmarks.cli import BARE, QUIET_SECONDS, seconds
from benchmarks.report import Row, present, row
from sandbox import engine
from sandbox.cache import disk_bytes
from sandbox.images import base_image
from sandbox.open import Sandbox, open_sandbox
from sandbox.pool import Pool
from sandbox.spec import JOB_UID, Base, SandboxSpec
from sandbox.store import Store
from sandbox.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SMALL: Final = 800
STEPS: Final = 300
MANY: Final = 16
_MS: Final = 1000


class Bench:
    """A store, workspaces and the two repositories, below one folder that goes afterwards."""

    def __init__(self, folder: Path) -> None:
        cache = user_cache_path("dreamdock") / "bench"
        self.store, self.root = Store(folder / "store"), folder / "workspaces"
        self.spec = SandboxSpec(image=base_image())
        self.floor: list[float] = []
        self.rows: list[Row] = []
        self.big = self.store.import_commit(big_repo(cache))
        self.small = self.store.import_commit(big_repo(cache, files=SMALL))
        for base in (self.big, self.small):
            with self.opened(base):
                pass  # The checkout is cached now.

    def opened(self, base: Base) -> Any:
        """Return a sandbox as a context."""
        return open_sandbox(self.spec, self.store, base, self.root, run_id="bench")

    def told(self, name: str, samples: list[float], unit: str, target: float) -> None:
        """Take a row; the machine's floor is measured once more beside it."""
        self.floor += [seconds(BARE, os.environ) for _ in range(5)]
        self.rows.append(row(name, samples, self.floor[-5:], unit=unit, target=target, quiet=QUIET_SECONDS))
        print(f"{name}: {self.rows[-1].value} {unit}", file=sys.stderr)


def timed(run: Callable[[], object]) -> float:
    """Return the milliseconds of a call."""
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * _MS


def rested(run: Callable[[], object]) -> float:
    """Return the milliseconds of a call that comes 50 ms after the last one, as between two replies of a model."""
    time.sleep(0.05)
    return timed(run)


def channel(bench: Bench) -> None:
    """Measure one command, and large outputs, beside the engine's own exec."""
    with bench.opened(bench.small) as box:
        container = engine.client().containers.get(box.container_id)
        box.run("cd src 2>/dev/null; export KEPT=1; f() { :; }")
        ours, theirs = [], []
        for _ in range(10):  # In turns, so that both meet the same machine.
            ours += [rested(lambda: box.run("true")) for _ in range(10)]
            theirs += [rested(lambda: container.exec_run(["true"])) for _ in range(10)]
            time.sleep(0.5)  # The engine clears an exec away after it has answered: that is no work of ours.
        bench.told("one true, state kept", ours, "ms", 2.0)
        shares = [one / other for one, other in zip(ours, theirs, strict=True)]
        bench.told("one true, of the SDK's exec", shares, "of it", 1 / 30)
        bench.told("true after true, without a pause", [timed(lambda: box.run("true")) for _ in range(100)], "ms", 2.0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for size, count, target in ((1, 20, 10.0), (100, 5, 200.0)):
            command = f"head -c {size}000000 /dev/zero | tr '\\0' 'x'"
            bench.told(f"{size} MB of output", [timed(lambda: box.run(command)) for _ in range(count)], "ms", target)  # noqa: B023  # Called at once.
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        bench.told("memory of the worker, grown by 120 MB of output", [grown / 1024], "MB", 8.0)


def opening(bench: Bench) -> None:
    """Measure the way to the first command, and the workspace alone."""

    def cold() -> None:
        with bench.opened(bench.small) as box:
            box.run("true")
            cold_ms.append((time.perf_counter() - began) * _MS)

    cold_ms: list[float] = []
    for _ in range(10):
        began = time.perf_counter()
        cold()
    bench.told("cold to the first command done", cold_ms, "ms", 400.0)
    warm_ms = []
    with Pool(bench.root, size=1, first=bench.spec, labels={}) as pool:
        for _ in range(20):
            time.sleep(1.5)  # The pool refills in the background.
            began = time.perf_counter()
            with open_sandbox(bench.spec, bench.store, bench.small, bench.root, pool=pool) as box:
                box.run("true")
                warm_ms.append((time.perf_counter() - began) * _MS)
    bench.told("claim from the warm pool to the first command done", warm_ms, "ms", 10.0)
    spaces, disks = [], []
    for number in range(10):
        began = time.perf_counter()
        workspace = Workspace.create(bench.store, bench.big, bench.root, name=f"bench-{number}", uid=JOB_UID)
        spaces.append((time.perf_counter() - began) * _MS)
        disks.append(disk_bytes(workspace.upper.parent) / 1e6)
        workspace.remove()
    bench.told(f"workspace of {FILES:,} files, cached checkout", spaces, "ms", 50.0)
    bench.told("its disk, nothing changed", disks, "MB", 1.0)


def edit(names: Iterable[str], number: int) -> str:
    """Return a command that changes some files."""
    return "; ".join(f"echo {number} >> {name}" for name in names)


def checkpoints(bench: Bench) -> None:
    """Measure a checkpoint of three changed files, with little and much in the upper layer."""
    medians = {}
    for base, files in ((bench.big, FILES), (bench.small, SMALL)):
        names = list(paths(files))[:60]
        with bench.opened(base) as box:
            samples = []
            for number in range(60):
                box.run(edit(random.Random(number).sample(names, 3), number))  # noqa: S311  # The same each time.
                time.sleep(0.03)  # Files that were just written are read once more: not what is measured.
                samples.append(timed(lambda: box.checkpoint(note="bench")))
            bench.told(f"checkpoint, 3 files of {files:,}, within 60", samples, "ms", 5.0)
            medians[files] = bench.rows[-1].value
    bench.told(f"the same, {FILES:,} files as a multiple of {SMALL}", [medians[FILES] / medians[SMALL]], "x", 1.5)
    with bench.opened(bench.small) as box:
        box.run("mkdir -p new; for i in $(seq 2000); do echo $i > new/$i; done")
        box.checkpoint(note="bench")
        bench.told("checkpoint, 2,000 entries in the upper layer", _again(box), "ms", 20.0)
    ignoring = _ignoring(bench)
    with bench.opened(ignoring) as box:
        box.run("mkdir -p build; cd build; for i in $(seq 30000); do : > $i; done; cd ..")
        box.checkpoint(note="bench")
        bench.told("checkpoint, 30,000 ignored entries", _again(box), "ms", 20.0)


def _again(box: Sandbox) -> list[float]:
    samples = []
    for number in range(20):
        box.run(f"echo {number} > one")
        time.sleep(0.03)
        samples.append(timed(lambda: box.checkpoint(note="bench")))
    return samples


def _ignoring(bench: Bench) -> Base:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / ".gitignore").write_text("build/\n")
        who = ("-c", "user.name=bench", "-c", "user.email=bench@dreamdock.invalid")
        subprocess.run(["git", "init", "--quiet", name], check=True)
        subprocess.run(["git", "-C", name, "add", "."], check=True)
        subprocess.run(["git", "-C", name, *who, "commit", "--quiet", "-m", "x"], check=True)
        return bench.store.import_commit(name)


def git_baseline(bench: Bench) -> None:
    """Tell what `git add -A` takes for three changed files; it has no target of ours."""
    with bench.opened(bench.big) as box:
        samples = []
        box.run("git add -A", timeout_s=300)
        for number in range(3):
            box.run(edit(list(paths())[:3], number))
            samples.append(timed(lambda: box.run("git add -A", timeout_s=300)))
        print(f"git add -A, 3 files of {FILES:,}: {min(samples):.0f} to {max(samples):.0f} ms", file=sys.stderr)


def steps(bench: Bench) -> None:
    """Measure a whole step: a command that changes three files, and its checkpoint."""
    everything = list(paths())
    for what, names, target in (("within 60 files", everything[:60], 8.0), ("at random", everything, 25.0)):
        with bench.opened(bench.big) as box:
            samples = []
            for number in range(STEPS):
                command = edit(random.Random(number).sample(names, 3), number)  # noqa: S311  # The same each time.

                def step() -> None:
                    box.run(command)  # noqa: B023  # Called at once.
                    box.checkpoint(note="bench")

                samples.append(timed(step))
            bench.told(f"step, 3 files of {FILES:,}, {what}", samples, "ms", target)


def rewinds(bench: Bench) -> None:
    """Measure the way back over 300 changed files, alone and with the first command."""
    names = list(paths())[:300]
    with bench.opened(bench.big) as box:
        box.run(edit(names, 0))
        first = box.checkpoint(note="bench")
        alone, live = [], []
        for number in range(1, 11):
            box.run(edit(names, number))
            box.checkpoint(note="bench")
            box.run("sleep 60 & sleep 60 &")
            began = time.perf_counter()
            box.rewind(first.commit, shell=first.shell)
            alone.append((time.perf_counter() - began) * _MS)
            box.run("true")
            live.append((time.perf_counter() - began) * _MS)
    bench.told("rewind over 300 files", alone, "ms", 60.0)
    bench.told("rewind, live, to the first command done", live, "ms", 300.0)


def many(bench: Bench) -> None:
    """Measure sixteen sandboxes at once."""
    with ExitStack() as stack:
        began = time.perf_counter()
        boxes = [stack.enter_context(bench.opened(bench.small)) for _ in range(MANY)]
        bench.told(f"{MANY} sandboxes ready", [time.perf_counter() - began], "s", 4.0)
        used = [_memory(box) for box in boxes]
        bench.told("memory of an idle one", used, "MB", 8.0)
        turns = sorted(timed(lambda: box.run("true")) for _ in range(10) for box in boxes)  # noqa: B023  # As above.
        bench.told("true in turn, p95", [turns[int(len(turns) * 0.95)]], "ms", 8.0)


def _memory(box: Sandbox) -> float:
    stats = engine.client().api.stats(box.container_id, stream=False)["memory_stats"]
    cache = stats.get("stats", {}).get("total_inactive_file", stats.get("stats", {}).get("inactive_file", 0))
    return float(stats["usage"] - cache) / 1e6


def main() -> int:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="dd-bench-", dir=user_cache_path("dreamdock", ensure_exists=True)))
    try:
        bench = Bench(folder)
        for measure in (channel, opening, checkpoints, git_baseline, steps, rewinds, many):
            measure(bench)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return present("sandbox", bench.rows, as_json="--json" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
