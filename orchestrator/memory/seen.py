"""What the harness puts into the working memory itself: files, commands, errors and their fixes, what is left running.

Pure, and cheap enough for every call of a run; all text that comes from inside the sandbox is one bounded line.
"""

from __future__ import annotations

import posixpath
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orchestrator import endings
from orchestrator.memory.plain import named, one_line
from orchestrator.memory.working import FIXED, GONE, LETTERS, NOTE, OPEN, next_id, noted
from orchestrator.notes import Note, NoteKind, WorkingMemory
from sandbox.spec import WORKSPACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.dialogue import ToolCall
    from orchestrator.events import CallFinished
    from sandbox.spec import FileChange

MOST: Final = 150
"""Entries of each kind that the harness keeps; the oldest go first, and what is settled before what is open."""
LAST_COMMANDS: Final = 12
_MOST_RUNNING: Final = 50
_COMMAND: Final = "x"
"""The letter of the last commands: facts of the harness, which don't use up the numbers of the agent's."""
_LONGEST: Final = 200
"""Characters of a command, a path or a line of output that the harness keeps."""
_FILE: Final = NoteKind.FILE
_SETTLED: Final = ("", FIXED)
_ARROW: Final = " → "
_TELLING: Final = re.compile(r"error|fail|exception|panic|denied|not found|no such|cannot|can't", re.IGNORECASE)
_TELLING_LINES: Final = 20
_BACKGROUND: Final = re.compile(r"(?<![&|<>\\])&(?=\s|\)|$)", re.MULTILINE)
_PROCESS: Final = re.compile(r"^(\d{1,9})  \d+ s  (.*)$", re.MULTILINE)


def observed(memory: WorkingMemory, call: ToolCall, ended: CallFinished) -> WorkingMemory:
    """Take a call that ended: a note that was accepted, or what the harness keeps of the others itself."""
    argument = call.arguments.get({"bash": "command"}.get(call.name, "path"))
    if call.name == "bash" and isinstance(argument, str):
        memory = _ran(memory, argument, ended)
    elif not ended.result.ok:
        pass
    elif call.name == NOTE:
        with suppress(ValueError):  # Another version's limits: what it accepted may be too much for this one.
            memory, _ = noted(memory, call.arguments, ended.step)
    elif call.name in {"read", "edit", "write"} and isinstance(argument, str):
        memory = _touched(memory, {_shown_path(argument): "" if call.name == "read" else "M"}, ended.step)
    elif call.name == "processes":
        running = [f"pid {pid}: {command}" for pid, command in _PROCESS.findall(ended.result.content)]
        memory = _running(_no_longer(memory), running[:_MOST_RUNNING], ended.step)
    return memory


def committed(memory: WorkingMemory, files: Sequence[FileChange], step: int) -> WorkingMemory:
    """Take the files that a committed step changed."""
    return _touched(memory, {one_line(file.path, _LONGEST): file.status for file in files[:MOST]}, step)


def renewed(memory: WorkingMemory) -> WorkingMemory:
    """Return the memory for a new sandbox, or one that was rewound: nothing runs in it any more.

    What the agent noted stays, as gone: so it knows what to start again.
    """
    kept = _no_longer(memory)
    notes = tuple(
        note.model_copy(update={"state": GONE}) if note.kind is NoteKind.RESOURCE else note for note in kept.notes
    )
    return kept.model_copy(update={"notes": notes})


def _shown_path(path: str) -> str:
    """Return a path as checkpoints name it: from the workspace on."""
    return one_line(posixpath.normpath(path).removeprefix(f"{WORKSPACE}/"), _LONGEST)


def _touched(memory: WorkingMemory, paths: Mapping[str, str], step: int) -> WorkingMemory:
    """Take files that were read, or changed where a path's status isn't empty. What was changed stays so."""
    notes = memory.notes
    paths = {path: how for path, how in paths.items() if path}  # Of a name that can't be seen nothing is left.
    old = {note.text: note for note in notes if _by_us(note, _FILE) and note.text in paths}
    kept = [note for note in notes if note is not old.get(note.text)] if old else [*notes]
    numbers, ids = memory.numbers, len(old)
    for path, how in paths.items():
        if before := old.get(path):
            if before.state and not how:
                return memory  # One that was changed, and is read.
            state = {("A", "M"): "A", ("D", "A"): "M"}.get((before.state, how), how)
            kept.append(before.model_copy(update={"state": state, "changed": step}))
        else:
            name, numbers = next_id(numbers, LETTERS[_FILE])
            kept.append(_ours(_FILE, path, step, name=name, state=how))
    memory = memory.model_copy(update={"notes": tuple(kept), "numbers": numbers})
    return memory if len(paths) == ids else _bounded(memory, _FILE, MOST)


def _ran(memory: WorkingMemory, command: str, ended: CallFinished) -> WorkingMemory:
    """Take a command that ended: one of the last ones, a failure or the end of one, a process left running."""
    if not (how := endings.how(exit_code=ended.exit_code, signal=ended.signal, timed_out=ended.timed_out)):
        return memory  # It never ran.
    content = ended.result.content
    end = endings.last(content)
    printed, behind = (content[: end.start], content[end.end :]) if end else (content, "")
    key = named(command, _LONGEST) + _ARROW
    memory = _put(memory, key, _ours(NoteKind.FACT, key + how, ended.step), LAST_COMMANDS)
    if how == endings.WELL:
        memory = _fixed(memory, key, ended.step)
    elif (told := _telling(printed)) or ended.exit_code != 1:  # A search that found nothing is no error.
        symptom = ": ".join(filter(None, (how, told)))
        memory = _put(memory, key, _ours(NoteKind.ERROR, key + symptom, ended.step, state=OPEN))
    if "\n[every process was ended" in behind:
        memory = renewed(memory)
    if not ended.timed_out and _BACKGROUND.search(command):
        memory = _running(memory, [f"started in the background: {named(command, _LONGEST)}"], ended.step)
    return memory


def _ours(kind: NoteKind, text: str, step: int, *, name: str = "", state: str = "") -> Note:
    return Note(id=name, kind=kind, text=text, step=step, by="harness", state=state)


def _put(memory: WorkingMemory, key: str, new: Note, most: int = MOST) -> WorkingMemory:
    """Add what the harness saw at the end, in place of the entry of its kind that begins with the same key."""
    notes, numbers = memory.notes, memory.numbers
    where = _where(notes, new.kind, key)
    if where is not None:
        new = new.model_copy(update={"id": notes[where].id, "step": notes[where].step, "changed": new.step})
        return memory.model_copy(update={"notes": (*notes[:where], *notes[where + 1 :], new)})
    name, numbers = next_id(numbers, _COMMAND if new.kind is NoteKind.FACT else LETTERS[new.kind])
    new = new.model_copy(update={"id": name})
    return _bounded(memory.model_copy(update={"notes": (*notes, new), "numbers": numbers}), new.kind, most)


def _where(notes: Sequence[Note], kind: NoteKind, key: str) -> int | None:
    """Return the place of the harness's entry that begins with a key."""
    for where in range(len(notes) - 1, -1, -1):
        note = notes[where]
        if _by_us(note, kind) and note.text.startswith(key):
            return where
    return None


def _fixed(memory: WorkingMemory, key: str, step: int) -> WorkingMemory:
    """Take it that a command passed: where it had failed, that is fixed, by what was changed since."""
    notes = memory.notes
    where = _where(notes, NoteKind.ERROR, key)
    if where is None or notes[where].state != OPEN:
        return memory
    error = notes[where]
    since = min((error.changed or error.step) + 1, step)
    files = [n.text for n in notes if _by_us(n, NoteKind.FILE) and n.state and (n.changed or n.step) >= since]
    after = f", after changes to {one_line(', '.join(files), _LONGEST)}" if files else ""
    why = "; ".join(filter(None, (error.why, f"step {step}{after}")))
    note = error.model_copy(update={"state": FIXED, "changed": step, "why": why})
    return memory.model_copy(update={"notes": (*notes[:where], *notes[where + 1 :], note)})


def _running(memory: WorkingMemory, texts: Sequence[str], step: int) -> WorkingMemory:
    for text in texts:
        line = named(text, 2 * _LONGEST)
        memory = _put(memory, line, _ours(NoteKind.RESOURCE, line, step))
    return memory


def _no_longer(memory: WorkingMemory) -> WorkingMemory:
    """Return the memory without the processes that the harness saw."""
    return memory.model_copy(update={"notes": tuple(n for n in memory.notes if not _by_us(n, NoteKind.RESOURCE))})


def _bounded(memory: WorkingMemory, kind: NoteKind, most: int) -> WorkingMemory:
    """Return the memory without the oldest entries of the harness that are too many."""
    notes = memory.notes
    ours = [n for n, note in enumerate(notes) if _by_us(note, kind)]
    if len(ours) <= most:
        return memory
    ours.sort(key=lambda n: notes[n].state not in _SETTLED)  # Stable: the oldest first.
    out = frozenset(ours[: len(ours) - most])
    return memory.model_copy(update={"notes": tuple([note for n, note in enumerate(notes) if n not in out])})


def _by_us(note: Note, kind: NoteKind) -> bool:
    return note.kind is kind and note.by == "harness"


def _telling(output: str) -> str:
    """Return the line of a failed command's output that probably says why: one of the last that sound like it."""
    last = [line for line in output[-_LONGEST * _TELLING_LINES :].splitlines() if line.strip()][-_TELLING_LINES:]
    told = next((line for line in reversed(last) if _TELLING.search(line)), last[-1] if last else "")
    return one_line(told, _LONGEST)
