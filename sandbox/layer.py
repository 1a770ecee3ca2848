"""What set-up produced, between the base and a run's own changes: it adds, and changes nothing of the base.

Where set-up wrote to what the commit has, or removed it, the commit wins. So the run starts from exactly its commit, a
checkpoint still is a function of the base and the upper layer alone, and a lock file that an installer rewrote is in
nobody's diff.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.cache import remove_tree
from sandbox.git import printable
from sandbox.installs import in_layer
from sandbox.materialise import TRUSTED, USER, is_whiteout
from sandbox.objects import GITLINK
from sandbox.spec import Install

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.cache import Held
    from sandbox.objects import Objects

_RECORD = "record.json"
_NAMED = 10
_SETTLED = {TRUSTED.opaque, TRUSTED.redirect, USER.opaque, USER.redirect}


@dataclass(frozen=True)
class Layer:
    """A cached layer, in use until `held` is released.

    `shared` are the base's directories, as paths, that it has something in. `log` is what the commands printed,
    `seconds` how long they took when they ran; `cached` says that this was earlier. `installs` are the dependencies
    in it, `unlooked` names what wasn't looked through for them.
    """

    held: Held
    shared: frozenset[bytes]
    log: str
    seconds: float
    cached: bool
    installs: tuple[Install, ...] = ()
    unlooked: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its entry in the cache."""
        return self.held.path.name

    @classmethod
    def read(cls, held: Held, *, cached: bool) -> Layer:
        """Return the layer that lies in an entry of the cache. Raises OSError."""
        told = json.loads((held.path / _RECORD).read_text())
        shared = frozenset(os.fsencode(path) for path in told["shared"])
        installs = tuple(Install.model_validate(one) for one in told.get("installs", ()))  # Older layers tell none.
        return cls(held, shared, told["log"], told["seconds"], cached, installs, tuple(told.get("unlooked", ())))


def settle(objects: Objects, base_tree: str, place: Path, *, log: str, seconds: float) -> None:
    """Make a layer out of `place`/tree, an upper layer that nobody has mounted. Raises OSError, WorkspaceError."""
    top = place / "tree"
    remove_tree(top / ".git")
    pruned = _Pruned(objects, top)
    pruned.walk(b"", base_tree)
    if pruned.undone:
        names = ", ".join(pruned.undone[:_NAMED]) + (" …" if len(pruned.undone) > _NAMED else "")
        log += f"[set-up changed what the commit has; for the run it is as committed: {names}]\n"
    shared = [os.fsdecode(path) for path in pruned.shared]
    installs, unlooked = in_layer(top)
    told = {"shared": shared, "log": log, "seconds": seconds, "unlooked": unlooked}
    (place / _RECORD).write_text(json.dumps(told | {"installs": [one.model_dump() for one in installs]}))


class _Pruned:
    """Takes out of a layer what isn't new. Nothing runs in it any more; links in it are never followed."""

    def __init__(self, objects: Objects, top: Path) -> None:
        self._objects = objects
        self._top = top
        self.shared: list[bytes] = []
        self.undone: list[str] = []

    def walk(self, path: bytes, tree: str) -> bool:
        """Prune a directory that the base has too; whether something stays in it."""
        here = self._top / os.fsdecode(path)
        own = self._objects.tree(tree)
        stays = False
        with os.scandir(here) as listing:
            items = [(os.fsencode(item.name), item.stat(follow_symlinks=False)) for item in listing]
        for name, status in items:
            inner, known = os.path.join(path, name), own.get(name)  # noqa: PTH118  # Bytes, which pathlib doesn't take.
            place = self._top / os.fsdecode(inner)
            folder = stat.S_ISDIR(status.st_mode)
            if (known is None and not is_whiteout(status)) or (folder and known and known.mode == GITLINK):
                stays = True
            elif folder and known is not None and known.is_tree:
                for mark in _SETTLED & set(os.listxattr(place, follow_symlinks=False)):
                    os.removexattr(place, mark, follow_symlinks=False)
                if self.walk(inner, known.oid):
                    self.shared.append(inner)
                    stays = True
                else:
                    remove_tree(place)
            else:
                remove_tree(place)
                if known is not None:
                    self.undone.append(printable(inner))
        return stays
