"""Escape check: what a run prints, names and says is told to a terminal and to a pipe, and neither obeys any of it."""

from __future__ import annotations

import json
import unicodedata
from contextlib import redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING, Final

from orchestrator import events as e
from orchestrator.cli import document, layout
from orchestrator.cli.narrator import Narrator
from orchestrator.cli.screen import Screen
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from sandbox.attack.check import HostCheck, NotHeld

if TYPE_CHECKING:
    from sandbox.attack.check import Ground

SEQUENCES: Final = {
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H",
    "colour": "\x1b[31m",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "answer back": "\x1b[6n\x1bZ\x05",
    "link": "\x1b]8;;http://x\x1b\\",
    "device": "\x1bP+q544e\x1b\\",
    "reset": "\x1bc",
    "one byte": "\x9b2J\x9d0;x\x9c",
    "overwriting": "safe\rrm\x08\x08",
    "direction": "\u202eexe.\u2066",
    "hidden": "\u200b\ufeff",
}
"""What terminals obey, by what it's for."""

_OBEYED: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _probe(ground: Ground) -> str:
    box, wild = ground.box, "".join(SEQUENCES.values())
    command = (
        'cat >printed; mkdir -p wild; cd wild; name=$(tr / _ <../printed); : >"./$name"; mkdir -p "d$name"\n'
        'cd "d$name"; exec -a "$name" sleep 30 & cat /workspace/printed; exit 3'
    )
    result = box.run(command, stdin=wild.encode())
    made = box.checkpoint(note="wild")
    running = {process.command: box.stop(process.pid) for process in box.background()}
    box.run("cd /workspace; rm -rf printed wild")
    if wild.encode() not in result.output or not made.changes or not running:
        raise NotHeld(f"the sequences didn't come as far as the host: {result.output[:80]!r}, {list(running)}")
    call = ToolCall(id="c1", name="bash", arguments={"command": f"printf {wild}"})
    output = ToolResult(call_id="c1", name="bash", content=result.output.decode("utf-8", "surrogateescape"))
    told = (
        e.Replied(step=1, reply=Reply(text=wild, calls=(call, ToolCall(id="c2", name=wild, arguments={"path": wild})))),
        e.CallStarted(step=1, call=call),
        e.CallFinished(step=1, result=output, exit_code=result.exit_code, duration_s=result.duration_s),
        e.Checkpointed(step=1, commit="c", tree="t", files=made.changes, inexact=(*running, result.cwd)),
    )
    lines = 0
    for text in (_on_a_screen(told), _as_json(told)):
        if left := obeyed(text):
            raise NotHeld(f"a terminal gets to see {', '.join(f'U+{ord(char):04X}' for char in left)}")
        lines += text.count("\n")
    return f"{len(SEQUENCES)} kinds of sequences in {lines} lines of output, none of them left"


def obeyed(text: str) -> list[str]:
    """Return the characters of a text that a terminal obeys, or that show a reader something else."""
    return sorted({char for char in text if char != "\n" and unicodedata.category(char) in _OBEYED})


def _on_a_screen(told: tuple[e.Body, ...]) -> str:
    """Return what `run` and `logs` print: without colour no sequence is our own."""
    answer, narrator = StringIO(), Narrator()
    screen = Screen(json=False, color="never", answer=answer, talk=StringIO())
    for number, body in enumerate(told, start=1):
        layout.put(screen, narrator.tell(e.Event(seq=number, at=datetime.now(UTC), who="ann@host", body=body)))
    if len(answer.getvalue().splitlines()) < len(told):
        raise NotHeld("hardly anything was printed")
    return answer.getvalue()


def _as_json(told: tuple[e.Body, ...]) -> str:
    answer = StringIO()
    with redirect_stdout(answer):
        for number, body in enumerate(told, start=1):
            document.event("r1", e.Event(seq=number, at=datetime.now(UTC), who="ann@host", body=body))
    if not all(json.loads(line)["schema"] for line in answer.getvalue().splitlines()):
        raise NotHeld("the JSON isn't whole")
    return answer.getvalue()


TERMINAL: Final = HostCheck(
    "terminal-sequences",
    "Control sequences that a run prints, names or says don't reach the terminal.",
    f"{', '.join(SEQUENCES)}: as output, reply, command, names of files and processes; told in words and as JSON",
    _probe,
)
