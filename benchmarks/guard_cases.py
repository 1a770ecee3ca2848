"""Runs that go in circles, and such that only look like it: steps as a model and a sandbox would give them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.dialogue import Reply, ToolCall, ToolResult, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEFORE = 5
"""Honest steps that each run begins with."""


class Call(NamedTuple):
    """A call and what it gives."""

    name: str
    arguments: dict[str, Any]
    came: str
    ok: bool = True
    invalid: str = ""


@dataclass(frozen=True)
class Step:
    """A reply with the results of its calls."""

    calls: tuple[Call, ...] = ()
    text: str = ""
    finish_reason: str = "stop"

    def said(self, number: int) -> tuple[Reply, Turn]:
        """Return the step's reply, and the turn behind it."""
        calls = tuple(
            ToolCall(id=f"c{number}.{place}", name=call.name, arguments=call.arguments, invalid=call.invalid)
            for place, call in enumerate(self.calls)
        )
        results = tuple(
            ToolResult(call_id=made.id, name=call.name, content=call.came, ok=call.ok)
            for made, call in zip(calls, self.calls, strict=True)
        )
        return Reply(text=self.text, calls=calls, finish_reason=self.finish_reason), Turn(results=results)


@dataclass(frozen=True)
class Case:
    """A run. A loop is one from its step `after` on, which makes it what the guards are to find; 0 for none."""

    name: str
    steps: Callable[[], Iterator[Step]]
    after: int = 0


def bash(command: str, came: str, code: int = 0) -> Step:
    """Return a step of one command."""
    return Step((Call("bash", {"command": command}, f"{came}\n[exit code {code}]"),))


def read(path: str, came: str) -> Step:
    """Return a step that reads a file."""
    return Step((Call("read", {"path": path}, came),))


def edit(path: str, old: str, new: str) -> Step:
    """Return a step that changes a file."""
    return Step((Call("edit", {"path": path, "old": old, "new": new}, f"{path}: 1 replaced, line 3"),))


def together(*steps: Step) -> Step:
    """Return one step with the calls of several."""
    return Step(tuple(itertools.chain.from_iterable(step.calls for step in steps)))


FAILS = "FAILED tests/test_calc.py::test_double - assert 9 == 8\n1 failed, 3 passed in 0.{0:02}s"
SOURCE = "\n".join(f"{number:>5}\tline {number} of the module" for number in range(1, 40))


def honest(first: int = 0) -> Iterator[Step]:
    """Yield steps each of which reads something new, or changes something."""
    for number in itertools.count(first):
        yield read(f"src/part{number}.py", f"    1\tdef part{number}():\n    2\t    return {number}")
        yield edit(f"src/part{number}.py", f"return {number}", f"return {number} + 1")


def _same_call() -> Iterator[Step]:
    while True:
        yield read("src/calc.py", SOURCE)


def _same_command() -> Iterator[Step]:
    for number in itertools.count(1):
        yield bash("make check", f"make: nothing to be done, looked for 0.{number} s at pid {number}")


def _two_calls() -> Iterator[Step]:
    while True:
        yield read("src/calc.py", SOURCE)
        yield bash("git status --short", " M src/calc.py")


def _three_calls() -> Iterator[Step]:
    while True:
        yield edit("a.py", "x = 1", "x = 2")
        yield bash("python3 check.py", "wrong", 1)
        yield edit("a.py", "x = 2", "x = 1")


def _four_calls() -> Iterator[Step]:
    while True:
        yield from (read(f"src/{name}.py", f"    1\tmodule {name}") for name in "abcd")


def _calls_together() -> Iterator[Step]:
    while True:
        yield together(read("src/calc.py", SOURCE), bash("ls", "calc.py"))


def _vain_fixes() -> Iterator[Step]:
    for number in itertools.count(1):
        yield together(
            edit("src/part0.py", f"return {number}", f"return {number + 1}"),
            bash("python3 -m pytest -q", FAILS.format(number % 100), 1),
        )


def _vain_rebuilds() -> Iterator[Step]:
    for number in itertools.count(1):
        yield bash(f"sed -i 's/{number}/{number + 1}/' m.c", "")
        yield bash("make 2>&1 | tail -5", f"m.c:{number}:3: error: unknown type name 'u8'\nmake: *** [m.o] Error 1", 2)


def _wandering() -> Iterator[Step]:
    for number in itertools.count(1):
        yield bash(f"head -{10 + number % 20} src/calc.py", "\n".join(f"line {n} of the module" for n in range(1, 10)))
        yield Step((Call("grep", {"pattern": f"line {number % 9}"}, "src/calc.py:3:line 3 of the module"),))


def _invalid() -> Iterator[Step]:
    for number in itertools.count(1):
        refusal = 'error: the arguments are not a JSON object: \'{"path": "a\'; send the call again'
        yield Step((Call("write", {}, refusal, ok=False, invalid='{"path": "a' + "b" * number),))


def _not_found() -> Iterator[Step]:
    for number in itertools.count(1):
        arguments = {"path": "src/calc.py", "old": f"return  {number}", "new": "return 2"}
        yield Step((Call("edit", arguments, "error: old was not found in src/calc.py", ok=False),))


def _garbled() -> Iterator[Step]:
    for number in itertools.count(1):
        yield Step(
            (Call("bash", {"command": f"cat src/n{number}.py"}, f"fresh {number}\n[exit code 0]"),),
            text="I need to look at the file again. " * 60,
        )


def _cut_off() -> Iterator[Step]:
    for number in itertools.count(1):
        refusal = "error: the arguments are not a JSON object: '{'; send the call again"
        call = Call("write", {}, refusal, ok=False, invalid="{" + "x" * number)
        yield Step((call,), text=f"Now file {number}.", finish_reason="length")


def _silent() -> Iterator[Step]:
    for number in itertools.count(1):
        yield Step(text=f"I am thinking, part {number}.")


def _flood() -> Iterator[Step]:
    for number in itertools.count(1):
        yield together(*(bash(f"echo {number} {place}", f"{number} {place}") for place in range(60)))


def _words() -> Iterator[Step]:
    for number in itertools.count(1):
        call = Call("glob", {"pattern": "*" * (number % 5 + 1)}, "src/calc.py")
        yield Step((call,), text="Let me look at the layout of the project once more.")


LOOPS = (
    Case("the same call with the same result", _same_call, 3),
    Case("a command that differs in its times only", _same_command, 3),
    Case("two calls in turn", _two_calls, 6),
    Case("a change and its undoing", _three_calls, 9),
    Case("four files in turn", _four_calls, 12),
    Case("two calls in each reply", _calls_together, 3),
    Case("fixes that fix nothing", _vain_fixes, 5),
    Case("a build that fails the same at another line", _vain_rebuilds, 10),
    Case("looking at parts of what was read", _wandering, 10),
    Case("arguments that are no JSON", _invalid, 3),
    Case("text to replace that isn't there", _not_found, 3),
    Case("text that repeats itself", _garbled, 1),
    Case("replies that are cut off", _cut_off, 1),
    Case("replies without a call", _silent, 1),
    Case("floods of calls", _flood, 1),
    Case("the same words each time", _words, 6),
)


def _many(step: Callable[[int], Step], count: int = 40) -> Callable[[], Iterator[Step]]:
    return lambda: (step(number) for number in range(count))


def _retries() -> Iterator[Step]:
    """Yield fixes that each change what fails."""
    for number in range(20):
        yield edit("src/calc.py", f"return {number}", f"return {number + 1}")
        yield bash("python3 -m pytest -q", f"FAILED t.py::test - assert {number} == 20\n1 failed in 0.1s", 1)


def _hard_bug() -> Iterator[Step]:
    """Yield fixes that fail the same, each after reading something new."""
    for number in range(20):
        yield read(f"lib/deep{number}.py", f"    1\tdef deep{number}(): ...")
        yield edit(f"lib/deep{number}.py", "...", "return 1")
        yield bash("python3 -m pytest -q", FAILS.format(number), 1)


def _one_test_always_fails() -> Iterator[Step]:
    """Yield one file after the other, while a test fails for reasons of its own."""
    for number in range(20):
        yield Step(
            (Call("write", {"path": f"docs/{number}.md", "content": "x"}, f"docs/{number}.md: 1 bytes written"),)
        )
        yield bash("python3 -m pytest -q", FAILS.format(number), 1)


def _exploring() -> Iterator[Step]:
    for number in range(40):
        yield bash(
            f"sed -n '{number * 20},{number * 20 + 19}p' big.c", "\n".join(f"int v{number}_{n};" for n in range(20))
        )


def _again_after_edits() -> Iterator[Step]:
    """Yield a file read anew after each change of it, and a test that passes each time."""
    for number in range(20):
        yield edit("a.py", f"x = {number}", f"x = {number + 1}")
        yield read("a.py", f"    1\tx = {number + 1}")
        yield bash("python3 -m pytest -q", "4 passed in 0.11s")


def _guesses() -> Iterator[Step]:
    for number in range(6):
        refusal = f"error: src/guess{number}.py doesn't exist"
        yield Step((Call("read", {"path": f"src/guess{number}.py"}, refusal, ok=False),))


def _mends_itself() -> Iterator[Step]:
    """Yield loops that end as soon as they are named."""
    for number in range(6):
        yield from itertools.islice(_same_call(), 3)
        yield from itertools.islice(honest(100 + number), 2)
        yield from itertools.islice(_invalid(), 3)
        yield edit("b.py", f"y = {number}", f"y = {number + 1}")


def _notes() -> Iterator[Step]:
    for number in range(12):
        yield Step((Call("note", {"kind": "fact", "text": f"Part {number} is sound."}, f"noted as f{number}"),))


HONEST = (
    Case("waiting for a server", _many(lambda _: bash("sleep 5; curl -s localhost:8000/health", "refused", 7))),
    Case("a build in the background", _many(lambda _: bash("sleep 30 && tail -3 build.log", "[ 41%] Building"))),
    Case("asking whether a process lives", _many(lambda _: bash("kill -0 4711 && echo alive", "alive"))),
    Case("looking at processes", _many(lambda _: Step((Call("processes", {}, "4711  30 s  make"),)))),
    Case("a counter that grows", _many(lambda n: bash("cat progress.txt", f"{1000 * n} of 40000 rows"))),
    Case("a server that doesn't answer yet", _many(lambda _: bash("curl -sS http://127.0.0.1:8080/", "refused", 7))),
    Case("a test after each fix, failing otherwise", _retries),
    Case("a hard bug, something new read each time", _hard_bug),
    Case("one test that always fails, one file after the other", _one_test_always_fails),
    Case("a long file, piece by piece", _exploring),
    Case("read and tested after each change", _again_after_edits),
    Case("guessing names of files", _guesses),
    Case("loops that end when they are named", _mends_itself),
    Case("a plan, note by note", _notes),
    Case("a timeout that runs out while a job works", _many(lambda _: bash("timeout 60 cat fifo", "", 124), 8)),
)
