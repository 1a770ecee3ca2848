"""Escape check from the host: a hostile repository and a hostile workspace execute nothing there and hang nothing.

Everything that git, run carelessly, would execute is aimed at one script of ours, which leaves a proof. At the end git
is run carelessly on purpose: without a proof then, the check itself would be worth nothing.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from typing import TYPE_CHECKING, Final

from sandbox.attack.check import LIMITS, HostCheck, NotHeld
from sandbox.attack.hostile import hostile_command, hostile_source
from sandbox.errors import FileProblem
from sandbox.objects import EMPTY_TREE
from sandbox.open import open_sandbox
from sandbox.spec import SandboxSpec
from sandbox.store import Store

if TYPE_CHECKING:
    from sandbox.attack.check import Ground
    from sandbox.checkpoints import Checkpoint
    from sandbox.spec import Base

SECONDS: Final = 60.0
"""How long all of it may take; it takes about three seconds."""


def _probe(ground: Ground) -> str:
    evil, proof = ground.folder / "evil.sh", ground.folder / "executed"
    evil.write_text(f'#!/bin/sh\necho "$0 $*" >>{shlex.quote(str(proof))}\ncat\n')
    evil.chmod(0o755)
    source = hostile_source(ground.folder, evil, ground.canary)
    began = time.monotonic()
    store = Store(ground.folder / "repos")
    if store.is_dirty(source) != ["a"]:
        raise NotHeld("the source's state isn't seen as it is")
    base = store.import_commit(source, dirty=True)
    store.submodules(base.project, base.tree), store.lfs_pointers(base.project, base.tree)
    count = _work(ground, store, base, hostile_command(evil, ground.canary))
    seconds = time.monotonic() - began
    if proof.exists():
        raise NotHeld(f"executed on the host: {proof.read_text(errors='replace')[:200]!r}")
    if seconds > SECONDS:
        raise NotHeld(f"it took {seconds:.0f} s")
    careless = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(ground.folder)}
    argv = ["git", "-C", str(source), "diff", "--stat"]
    subprocess.run(argv, env=careless, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False)
    if not proof.exists():
        raise NotHeld("the repository isn't hostile after all: plain git executes nothing either")
    return f"nothing was executed, {count} changed paths are one line each, {seconds:.1f} s; plain git executes it"


def _work(ground: Ground, store: Store, base: Base, command: str) -> int:
    """Work in a sandbox on the hostile base, go back and forth, and return how many changed paths were told."""
    spec = SandboxSpec(image=ground.image, limits=LIMITS)
    with open_sandbox(spec, store, base, ground.folder / "workspaces") as box:
        before = box.checkpoint(note="before")
        if before.changes:
            raise NotHeld(f"the workspace isn't the commit: {before.changes[0].path}")
        answer = box.run(command)
        if answer.exit_code != 0:
            raise NotHeld(f"the hostile command failed: {answer.output[-200:]!r}")
        after = box.checkpoint(note="after\nDreamdock-Run: forged")
        for path in ("a", "out", "linked/../a", ".gitignored"):
            try:
                if ground.token.encode() in box.read(path, limit=4096):
                    raise NotHeld(f"a link leads out: {path}")
            except FileProblem:
                continue
        box.rewind(before.commit)
        back = box.checkpoint(note="back")
        if back.tree != before.tree:
            raise NotHeld("after a rewind the workspace is another")
    _look(ground, store, base, after)
    return len(after.changes)


def _look(ground: Ground, store: Store, base: Base, after: Checkpoint) -> None:
    """Demand that what is told of the hostile state is whole, printable, and holds nothing of the host."""
    told = [change.path for change in after.changes] + [item.path for item in after.inexact]
    told += [change.path for change in store.changed(base.project, EMPTY_TREE, after.tree)]
    if broken := [path for path in told if not path.isprintable()]:
        raise NotHeld(f"a path breaks the line: {broken[0]!r}")
    if ground.token.encode() in after.patch + store.diff(base.project, base.tree, after.tree):
        raise NotHeld("a link was followed into the patch")
    linked = next(change for change in after.changes if change.path == "a")
    if linked.status != "T" or not {"pipe", "huge"} <= {item.path for item in after.inexact}:
        raise NotHeld(f"what isn't a file passes for one: {linked.status}, {[item.path for item in after.inexact]}")


REPOSITORY = (
    HostCheck(
        "hostile-repository",
        "Nothing of a repository or workspace is executed, followed or waited for on the host, or breaks what is told.",
        "git configuration, hooks, filters, attributes, endless ignore patterns, submodule addresses, links, pipes and "
        "names with newlines and escape codes: imported, checked out, changed inside, checkpointed, compared, rewound",
        _probe,
    ),
)
