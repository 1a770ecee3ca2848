"""Whether what the library says still holds: its files are there, the code it names too, its commands pass.

Only what is seen to be otherwise is marked. A git or an engine that fails says nothing of an entry: it stays as it is,
and the report tells it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from orchestrator.dream.batch import Action, Change, Phase
from orchestrator.dream.commands import Holds, tried
from orchestrator.dream.paths import Fate, Followed
from orchestrator.dream.symbols import present, symbols
from orchestrator.library.entry import DATA, IN_VIEW, EntryKind, SeenPath, Status
from orchestrator.stop import Stop
from sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from orchestrator.dream.batch import Batch
    from orchestrator.dream.verifier import Verifier
    from orchestrator.library.entry import Entry

CONFIRMED: Final = 0.9
"""How far what was seen to hold is believed at least."""
DOUBTED: Final = 0.3
"""How far something is believed at most that names code which isn't there any more."""
_LOOKED_AT: Final = IN_VIEW | {Status.STALE}
_LOOKING_S: Final = 120.0
"""How long a commit is searched for names at most."""
_NAMED: Final = 5
"""Of several entries or files that one line of the report is about, so many are named."""


def verify(
    batch: Batch,
    repo: Verifier | None,
    *,
    stop: Stop | None = None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Batch:
    """Return the batch with what holds, what has moved and what is stale by the repository's head.

    `tell` hears how many commands were tried, of how many; 0 of 0 while there is something else to look at. Where
    nothing is otherwise than at the last time, nothing is changed. Raises Stopped.
    """
    chosen = [one for one in batch.entries.values() if one.status in _LOOKED_AT]
    if not chosen:
        return batch
    if repo is None:
        return batch.noted("nothing was verified: this host has no commit of the repository")
    phase = _Verifying(repo, stop or Stop(), tell, {one.id: one for one in chosen})
    phase.paths()
    phase.commands()
    phase.symbols()
    return batch.changed(phase.changed.values(), *phase.changes).noted(*phase.notes())


@dataclass
class _Verifying:
    """The entries under way, and what was found of them.

    `away` are those whose files are all gone, `doubtful` those of which git doesn't know every file.
    """

    repo: Verifier
    stop: Stop
    tell: Callable[[int, int], None]
    entries: dict[str, Entry]
    changed: dict[str, Entry] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)

    def paths(self) -> None:
        """Follow every file that isn't where it was."""
        files = self.repo.history.files or frozenset()
        elsewhere: dict[str, list[tuple[str, SeenPath]]] = {}
        for entry in self.entries.values():
            for seen in entry.paths:
                if seen.path not in files:
                    self.stop.check()
                    elsewhere.setdefault(self._anchor(entry, seen.commit), []).append((entry.id, seen))
        fates: dict[tuple[str, SeenPath], Followed] = {}
        for anchor, ones in elsewhere.items():
            self._look()
            found = self.repo.history.fates({seen.path for _, seen in ones}, anchor) if self.repo.seconds_left else {}
            fates |= {one: found.get(one[1].path, Followed(Fate.UNKNOWN)) for one in ones}
        for entry in filter(lambda one: one.paths, list(self.entries.values())):
            there = {seen: Followed(Fate.FRESH, seen.path) for seen in entry.paths}
            self._by_paths(entry, {seen: fates.get((entry.id, seen), fresh) for seen, fresh in there.items()})

    def commands(self) -> None:
        """Try the commands: those first that were never seen to hold, of them what is used most; last what is stale."""
        asked: dict[str, list[Entry]] = {}
        for entry in sorted(self.entries.values(), key=_urgency):
            believed = entry.status is Status.ACTIVE or entry.origin not in DATA
            if entry.command and believed and entry.id not in self.away:
                asked.setdefault(entry.command, []).append(entry)
        if not asked:
            return
        failing = [command for command, ours in asked.items() if all(one.status is Status.STALE for one in ours)]
        for command, result in tried(list(asked), self.repo, self.stop, self.tell, failing=failing):
            for entry in asked[command]:
                match result.holds:
                    case Holds.YES:
                        self._confirm(entry)
                    case Holds.NO if entry.id in self.doubtful:
                        self._untold(entry, "its command fails, and it's about files that were never merged")
                    case Holds.NO:
                        self._stale(entry, f"its command fails: {result.why}")
                    case Holds.UNKNOWN:
                        self._untold(entry, f"its command wasn't tried to the end: {result.why}")

    def symbols(self) -> None:
        """Look for the code that entries name: doubted is what has names that were there, and are nowhere now."""
        named = self._named()
        here = self._present({name for names in named.values() for name in names}, self.repo.head)
        if here is None:
            for entry_id in named:
                self._untold(self.entries[entry_id], "git didn't tell in time of the code that it names")
            return
        missing: dict[str, list[tuple[str, str]]] = {}
        for entry_id, names in named.items():
            if lost := [name for name in names if name not in here]:
                anchor = self._anchor(self.entries[entry_id])
                missing.setdefault(anchor, []).extend((entry_id, name) for name in lost)
        gone: dict[str, list[str]] = {}
        for anchor in missing.keys() - {"", self.repo.head}:
            then = self._present({name for _, name in missing[anchor]}, anchor) or set()
            for entry_id, name in missing[anchor]:
                if name in then:  # Else the repository never had it, as far as anybody knows.
                    gone.setdefault(entry_id, []).append(name)
        for entry_id in sorted(gone):
            self._doubt(self.entries[entry_id], f"no longer in the repository: {_listed(gone[entry_id])}")

    def _named(self) -> dict[str, list[str]]:
        """Return the code that each entry names, without what is a file's name.

        What has a command was told by that, and a decision stays one when what it did away with is gone.
        """
        files = {PurePosixPath(path).name for path in self.repo.history.files or ()}
        asked = (one for one in self.entries.values() if not one.command and one.status is not Status.STALE)
        texts = {one.id: f"{one.title}\n{one.text}" for one in asked if one.kind is not EntryKind.DECISION}
        named = {entry_id: [name for name in symbols(text) if name not in files] for entry_id, text in texts.items()}
        return {entry_id: names for entry_id, names in named.items() if names}

    def _present(self, names: Collection[str], commit: str) -> set[str] | None:
        """Return those of some names that a commit has; None where git doesn't say, or there is no time for it."""
        if not names:
            return set()
        self._look()
        try:
            return present(self.repo.git_dir, names, commit, seconds=min(self.repo.seconds_left, _LOOKING_S))
        except SandboxError:
            return None

    def _look(self) -> None:
        """Have it told that there is something else to look at, before that may take a while."""
        self.stop.check()
        self.tell(0, 0)

    def notes(self) -> list[str]:
        """Return what couldn't be told, a line for each reason."""
        return [f"not verified, so left as it was: {_listed(ids)}: {why}" for why, ids in self.unknown.items()]

    def _anchor(self, entry: Entry, commit: str = "") -> str:
        commits = [commit] if commit else [one.commit for one in reversed(entry.evidence)]
        return self.repo.history.anchor(commits, entry.created)

    def _by_paths(self, entry: Entry, fates: dict[SeenPath, Followed]) -> None:
        """Take over what became of an entry's files."""
        gone = [seen.path for seen, found in fates.items() if found.fate is Fate.GONE]
        if any(found.fate is Fate.UNKNOWN for found in fates.values()):
            self.doubtful.add(entry.id)
            self._untold(entry, "git didn't tell in time of its files, or they were never merged")
        if len(gone) == len(fates):
            self.away.add(entry.id)
            near = [f"perhaps {found.perhaps}" for found in fates.values() if found.perhaps]
            self._stale(entry, f"its files are gone: {_listed(gone)}{f' ({_listed(near)})' if near else ''}")
            return
        kept, moved = [], []
        for seen, found in fates.items():
            if found.fate is Fate.RENAMED and (new := self._now(found.now)):
                kept.append(new)
                moved.append(f"{seen.path} is {new.path} now")
            elif found.fate is not Fate.GONE:
                kept.append(seen)
        if moved or gone:
            why = "; ".join([*moved[:_NAMED], *([f"gone: {_listed(gone)}"] if gone else [])])
            self._change(entry, Action.MOVED, why, paths=tuple({one.path: one for one in kept}.values()))
        known = entry.id not in self.doubtful and entry.origin not in DATA
        if known and entry.status is Status.STALE and not entry.command:
            self._change(entry, Action.CONFIRMED, "its files are there again", status=Status.UNVERIFIED)

    def _now(self, path: str) -> SeenPath | None:
        """Return a file's new name, None where a page can't hold it."""
        try:
            return SeenPath(path=path, commit=self.repo.head)
        except ValueError:
            return None

    def _confirm(self, entry: Entry) -> None:
        status = entry.status if entry.origin in DATA else Status.ACTIVE
        why = "its command passes"
        self._change(entry, Action.CONFIRMED, why, status=status, confidence=max(entry.confidence, CONFIRMED))

    def _stale(self, entry: Entry, why: str) -> None:
        self._change(entry, Action.STALE, why, status=Status.STALE)

    def _doubt(self, entry: Entry, why: str) -> None:
        less = min(entry.confidence, DOUBTED)
        self._change(entry, Action.DOUBTED, why, status=Status.UNVERIFIED, confidence=less)

    def _change(self, entry: Entry, action: Action, why: str, **fields: object) -> None:
        """Change an entry, where that makes a difference."""
        now = self.entries[entry.id]
        if (new := now.changed(**fields)) != now:
            self.entries[entry.id] = self.changed[entry.id] = new
            self.changes.append(Change.of(Phase.VERIFY, action, entry, why))

    def _untold(self, entry: Entry, why: str) -> None:
        self.unknown.setdefault(why, []).append(entry.id)


def _urgency(entry: Entry) -> tuple[bool, bool, int, str]:
    return entry.status is Status.STALE, entry.confidence >= CONFIRMED, -entry.uses, entry.id


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
