from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli import main
from orchestrator.cli.failure import explain, show
from orchestrator.cli.process import Manner
from orchestrator.cli.reference import reference
from orchestrator.cli.root import SECTIONS, cli
from orchestrator.errors import ConfigError
from sandbox.errors import EngineUnavailable

COMMANDS = [(name, entry) for section in SECTIONS.values() for name, entry in section.items()]
ROOT = Path(__file__).resolve().parents[2]


def loaded_modules(*arguments: str) -> set[str]:
    """Return the third-party and own modules that a command imports."""
    code = (
        "import sys; from orchestrator.cli import main; main(sys.argv[1:]);"
        "print(*{name for name in sys.modules if name.split('.')[0] not in sys.stdlib_module_names}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    # Debian's Python loads a sitecustomize of its own before anything else.
    return {name for name in done.stderr.split() if not name.startswith(("_", "sphinxcontrib", "sitecustomize"))}


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("ps", "--help"), ("doctor", "-h")])
def test_help_imports_click_and_nothing_else(arguments: tuple[str, ...]) -> None:
    foreign = {name for name in loaded_modules(*arguments) if not name.startswith("orchestrator")}
    assert {name.split(".")[0] for name in foreign} == {"click"}


def test_the_first_help_page_imports_no_command() -> None:
    own = {name for name in loaded_modules("--help") if name.startswith("orchestrator")}
    assert own == {"orchestrator", "orchestrator.cli", "orchestrator.cli.process", "orchestrator.cli.root"}


@pytest.mark.parametrize(("name", "entry"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_loads_and_says_what_the_help_page_says(name: str, entry: tuple[str, str]) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert inspect.cleandoc(command.help or "").split("\n")[0] == entry[1]


def test_every_command_answers_in_json() -> None:
    for name, _entry in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        leaves = command.commands.values() if isinstance(command, click.Group) else [command]
        assert all("as_json" in {param.name for param in leaf.params} for leaf in leaves if leaf), name


def test_submit_is_run() -> None:
    ctx = click.Context(cli)
    assert cli.get_command(ctx, "submit") is cli.get_command(ctx, "run")


def test_the_reference_is_current() -> None:
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == reference(), "python -m orchestrator.cli.reference > docs/commands.md"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense"], 2, "error: no such command 'nonsense'"),
        (["ps", "--nonsense"], 2, "error: no such option '--nonsense'"),
        (["run", "--steps", "0", "x"], 2, "error: invalid value for '--steps'"),
        (["run"], 2, "error: the task is empty"),
        (["run", " \n"], 2, "error: the task is empty"),
        (["run", "x", "-f", "task.txt"], 2, "error: there are two tasks"),
        (["run", "-f", "/nowhere/task.txt"], 3, "error: there is no file /nowhere/task.txt"),
        (["run", "-f", "/nowhere/spec.toml"], 3, "error: there is no file /nowhere/spec.toml"),
        (["ps", "--watch"], 2, "error: --watch needs a terminal"),
    ],
)
def test_a_wrong_command_line_is_answered_in_three_lines(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(words)
    assert len(err.splitlines()) <= 3
    assert "try:" in err


def test_errors_are_json_too_even_those_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ps", "--nonsense", "--json"]) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["schema"], told["exit_code"], told["try"]) == ("dreamdock.error/1", 2, "dreamdock ps --help")
    assert err == ""


def test_a_spec_file_with_an_unknown_key_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = tmp_path / "job.toml"
    spec.write_text('task = "mend it"\nnetwork = true\n')
    assert main(["run", "-f", str(spec)]) == 4
    assert "network" in capsys.readouterr().err


def test_the_manner_is_read_up_to_the_double_dash() -> None:
    assert Manner.of(["ps", "--json", "-vv"]) == Manner(json=True, verbose=2)
    assert Manner.of(["ps", "-v", "--verbose"]) == Manner(json=False, verbose=2)
    assert Manner.of(["run", "--", "--json", "-vv"]) == Manner(json=False, verbose=0)


def test_every_error_becomes_a_message_a_hint_and_an_exit_code() -> None:
    assert explain(ConfigError("bad", cause="why", hint="mend")) == ("bad", "why", "mend", 4)
    assert explain(EngineUnavailable("no engine", hint="dreamdock up")) == ("no engine", "", "dreamdock up", 5)
    full = explain(OSError(28, "No space left on device", "/var/x"))
    assert (full.message, full.exit_code) == ("the system refused: no space left on device: /var/x", 1)
    assert explain(RuntimeError("boom")).cause == "RuntimeError: boom"


def test_an_error_is_harmless_and_never_more_than_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("bad\x1b[2J", cause="first\nsecond\u202e", hint="mend\r")
    show(explain(error), as_json=False)
    assert capsys.readouterr().err == "error: bad␛[2J\ncause: first second<U+202E>\ntry:   mend␍\n"


def test_a_traceback_comes_with_two_v(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "", "-v"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["run", "", "-vv"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    for arguments in (["--help"], ["ps", "--nonsense", "--json"]):
        read, write = os.pipe()
        os.close(read)
        argv = [sys.executable, "-m", "orchestrator.cli", *arguments]
        done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert (done.returncode, done.stderr) == (1, "")


def test_an_option_without_its_value_leads_to_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--model"]) == 2
    assert capsys.readouterr().err.endswith("try:   dreamdock doctor --help\n")
