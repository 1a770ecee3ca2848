"""What commands say of places in the code: a real sandbox with real files, and a journal that keeps it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from working import SUBMIT, base, bash, box, opened, results, script, start, work

from orchestrator import events as e
from orchestrator.agent.arguments import Bash
from orchestrator.agent.commands import bash as run
from orchestrator.agent.listing import Listing
from orchestrator.diagnosed import stories
from orchestrator.diagnostic import Diagnostic, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.agent.outcome import Outcome
    from sandbox.open import Sandbox

__all__ = ["base", "box", "opened", "start"]
pytestmark = [pytest.mark.needs_redis, pytest.mark.needs_engine, pytest.mark.needs_root]

GO = "--- FAIL: TestDiv (0.00s)\n    div_test.go:9: got 2, want 3\nFAIL\nFAIL\texample.com/calc/div\t0.002s\n"
JAVA = (
    "java.lang.AssertionError: expected 3\n\tat org.junit.Assert.fail(Assert.java:89)\n"
    "\tat com.example.CalcTest.adds(CalcTest.java:12)\n"
)
TOOLS = {"make": 'cat "$1"; exit "${2:-0}"', "ruff": 'cat "$1"'}


@pytest.fixture
def ask(box: Sandbox) -> Callable[[str], Outcome]:
    """Return what runs a command as the tool does; `make` and `ruff` print a file, the first with an exit code."""
    for name, text in TOOLS.items():
        box.write(f"bin/{name}", f"#!/bin/sh\n{text}\n".encode())
    box.run("chmod +x bin/*; export PATH=$PWD/bin:$PATH")
    listing = Listing(box)
    return lambda command: run(box, Bash(command=command), 60.0, 16_000, listing)


def places(found: tuple[Diagnostic, ...]) -> list[str]:
    return [f"{one.file}:{one.line}: {one.severity}" for one in found]


def test_names_alone_are_found_in_the_workspace(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    box.write("pkg/div/div_test.go", b"package div\n" * 9)
    box.write("app/src/test/java/com/example/CalcTest.java", b"// test\n" * 12)
    box.write("go.txt", GO.encode())
    box.write("java.txt", JAVA.encode())
    went = ask("make go.txt 1")
    assert places(went.diagnostics) == ["pkg/div/div_test.go:9: error"]
    assert "\n pkg/div/div_test.go:9: got 2, want 3 [TestDiv]\n pkg/div/div_test.go:9\n" in went.content
    failed = ask("make java.txt 1")
    assert places(failed.diagnostics) == ["app/src/test/java/com/example/CalcTest.java:12: error"]


def test_a_name_is_asked_for_once_until_files_come_or_go(box: Sandbox) -> None:
    box.write("a/one.go", b"x\n")
    number = box.run("true").number
    listing = Listing(box)
    assert listing.find({"one.go", "two.go"}) == ["a/one.go"]
    box.write("b/two.go", b"x\n")
    assert listing.find({"two.go"}) == []
    assert box.run("true").number == number + 2
    listing.committed(box.checkpoint(note="n").changes)
    assert listing.find({"two.go"}) == ["b/two.go"]
    assert listing.find({"*", "-x", "{a,b}.go", "a b"}) == []


def test_warnings_of_a_build_that_ends_well_are_kept_and_not_shown(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    warned = "calc.py:2:1: warning: meh [-Wx]\ncalc.py:1: DeprecationWarning: old\n"
    box.write("said.txt", f"{warned}gone.c:3:1: warning: no such file\ncalc.py:2:3: error: x\n".encode())
    went = ask("make said.txt")
    assert places(went.diagnostics) == ["calc.py:2: warning", "calc.py:1: warning"]
    assert "Diagnostics" not in went.content
    for command in (
        "cat said.txt",
        "git grep -n warning; make said.txt",
        "grep -n . said.txt gone",
        "cat said.txt | tail; false",
    ):
        assert ask(command).diagnostics == (), command


@pytest.mark.parametrize(
    "command", ["make said.txt 2 2>&1 | tail -2", "make said.txt 2 || true", "make said.txt 2; echo"]
)
def test_errors_are_heard_where_the_exit_code_is_hidden(
    ask: Callable[[str], Outcome], box: Sandbox, command: str
) -> None:
    box.write("said.txt", b"calc.py:2:1: error: bad\nmake: *** [Makefile:3: all] Error 1\n")
    went = ask(command)
    assert (went.exit_code, places(went.diagnostics)) == (0, ["calc.py:2: error"])
    assert "\nDiagnostics: 1 error\n calc.py:2: bad\n" in went.content


def test_what_a_passing_test_prints_is_no_error(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    box.write("said.txt", b"Error: expected\n    at f (/workspace/calc.py:2:1)\n\n3 passed\n")
    assert ask("make said.txt 2>&1 | tail").diagnostics == ()


def test_a_linter_is_believed_whatever_its_exit_code(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    box.write("said.txt", b"calc.py:2:1: F401 `os` imported but unused\n")
    assert places(ask("ruff said.txt").diagnostics) == ["calc.py:2: error"]


def test_nothing_located_is_lost_to_the_model(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    said = "".join(f"some/long/way/down/to/module_{n % 700}/file_{n}.c:{n}:7: error: bad {n}\n" for n in range(1, 2001))
    box.write("said.txt", said.encode())
    went = ask("make said.txt 2")
    block = went.content[went.content.index("\nDiagnostics: ") + 1 :]
    assert len(block.encode()) <= 2_000
    path = block.splitlines()[-1].rpartition(" ")[2]
    listed = box.read(path, limit=1 << 20).decode().splitlines()
    assert len(listed) == 2_000
    assert "some/long/way/down/to/module_23/file_1423.c:1423:7: error: bad 1423" in listed
    assert "module_0/file_700.c:700:7" in ask(f"grep file_700.c {path}").content


JUNIT = """<testsuites><testsuite name="t"><testcase classname="test_calc" name="test_half" file="calc.py" line="2">
<failure message="assert 3 == 4">calc.py:2: AssertionError</failure></testcase></testsuite></testsuites>"""
REPORT = [{"filename": "calc.py", "location": {"row": 1, "column": 5}, "code": "F401", "message": "unused"}]


def test_a_report_that_a_command_writes_is_read(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    box.write("said.txt", b"1 failed\n")
    box.write("junit.txt", JUNIT.encode())
    box.write("ruff.txt", json.dumps(REPORT).encode())
    writes = "cp junit.txt out.xml; make said.txt 1 --junitxml=out.xml"
    assert places(ask(writes).diagnostics) == ["calc.py:2: error"]
    assert places(ask("ruff ruff.txt --exit-zero > /tmp/r.json").diagnostics) == ["calc.py:1: error"]
    box.run("touch -d '1 hour ago' out.xml")
    assert ask("make said.txt 1 --junitxml=out.xml").diagnostics == ()
    box.run("ln -s /etc/passwd p.xml; rm out.xml; mkdir out.xml; mkfifo f.xml")
    assert ask("make said.txt 1 --junitxml=out.xml p.xml f.xml none.xml").diagnostics == ()


def test_the_journal_tells_the_story_of_a_warning(start: Any, box: Sandbox) -> None:
    journal = start()
    box.write(
        "make",
        b"#!/bin/sh\ngrep -n double calc.py | sed 's/^/calc.py:/; s/: *def/: warning: def/'\n",
    )
    box.run("chmod +x make; export PATH=$PWD:$PATH")
    edit = bash("sed -i 's/double/twice/' calc.py")
    work(
        journal,
        box,
        script([bash("make")], [bash("sed -i '1i # top' calc.py"), bash("make")], [edit, bash("make")], SUBMIT),
    )
    [story] = stories(journal.events)
    assert story.diagnostic.severity is Severity.WARNING
    assert [str(moment.state) for moment in story.moments] == ["new", "still there", "fixed"]
    finished = [event.body for event in journal.events if isinstance(event.body, e.CallFinished)]
    assert [len(body.diagnostics) for body in finished] == [1, 0, 1, 0, 0, 0]
    assert "Diagnostics" not in results(journal)[0].content


def test_a_real_test_run_that_passes_is_heard_for_its_warnings_alone(
    ask: Callable[[str], Outcome], box: Sandbox
) -> None:
    box.write(
        "test_old.py",
        b"import logging, warnings\n\n\ndef test_old():\n    warnings.warn('old way', DeprecationWarning)\n"
        b"    try:\n        1 / 0\n    except Exception:\n        logging.exception('test_old.py:7: error: no')\n",
    )
    went = ask("python3 -m pytest -q -s -o log_cli=true -o log_cli_level=DEBUG test_old.py 2>&1 | tail -40")
    assert places(went.diagnostics) == ["test_old.py:5: warning"]
    assert "Diagnostics" not in went.content


def test_a_real_test_run_whose_failure_a_pipe_hides_is_heard(ask: Callable[[str], Outcome], box: Sandbox) -> None:
    box.write("sub/test_no.py", b"import calc\n\n\ndef test_no():\n    assert calc.double(4) == 8\n")
    went = ask("python3 -m pytest -q 2>&1 | tail -25")
    assert (went.exit_code, places(went.diagnostics)) == (0, ["sub/test_no.py:5: error"])
    report = ask("python3 -m pytest -q --junitxml=/tmp/r.xml > /dev/null; true")
    assert places(report.diagnostics) == ["sub/test_no.py:5: error"]
    assert report.diagnostics[0].code.endswith("test_no.test_no")
