from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.stack.bootstrap import _STAMP_NAME, _is_current, _stamp, ensure_venv, link_command, not_linked
from orchestrator.stack.engine import stale_pid_file
from orchestrator.stack.report import PlainReporter

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project with an empty lock file, so that nothing is downloaded, and nothing to build."""
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "dreamdock").write_text("#!/bin/sh\n")
    return tmp_path


def test_a_current_venv_is_left_alone_and_a_changed_lock_makes_it_old(project: Path) -> None:
    (project / ".venv/bin/python").symlink_to(sys.executable)
    (project / ".venv" / _STAMP_NAME).write_text(_stamp(project))
    told = io.StringIO()
    ensure_venv(project, PlainReporter(stream=told))
    assert told.getvalue() == ""
    (project / "requirements.lock").write_text("# changed\n")
    assert not _is_current(project / ".venv", _stamp(project))


def test_bootstrap_needs_nothing_but_the_standard_library() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import orchestrator.stack.bootstrap"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_command_is_linked_into_a_folder_on_path(project: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = os.pathsep.join(["/usr/bin", str(home / ".local/bin")])
    link, command = link_command(project, home, path, euid=1000)
    assert link == home / ".local/bin/dreamdock"
    assert link.resolve() == project / ".venv/bin/dreamdock"
    assert command == "dreamdock"
    assert link_command(project, home, path, euid=1000) == (link, command), "a second time it's the same"


def test_a_link_whose_project_has_gone_is_replaced(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home/.local/bin"
    folder.mkdir(parents=True)
    (folder / "dreamdock").symlink_to("/gone/.venv/bin/dreamdock")
    link, _ = link_command(project, tmp_path / "home", str(folder), euid=1000)
    assert link is not None
    assert link.resolve() == project / ".venv/bin/dreamdock"


def test_something_foreign_is_not_overwritten(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home/.local/bin"
    folder.mkdir(parents=True)
    (folder / "dreamdock").write_text("another program")
    link, command = link_command(project, tmp_path / "home", str(folder), euid=1000)
    assert link is None
    assert command == str(project / ".venv/bin/dreamdock")
    assert (folder / "dreamdock").read_text() == "another program"


def test_without_a_folder_on_path_the_full_path_is_what_to_type(project: Path, tmp_path: Path) -> None:
    assert link_command(project, tmp_path / "home", "/usr/bin", euid=1000) == (
        None,
        str(project / ".venv/bin/dreamdock"),
    )
    assert not (tmp_path / "home").exists()


def test_another_command_on_path_is_named(tmp_path: Path) -> None:
    assert not_linked("/here/dreamdock", None) == "dreamdock is not on PATH here; type /here/dreamdock"
    other, link = tmp_path / "other", tmp_path / "dreamdock"
    other.touch()
    link.symlink_to(other)
    said = f"the dreamdock on PATH is another one: {link} (a link to {other})\nfor this one type /here/dreamdock"
    assert not_linked("/here/dreamdock", str(link)) == said
    assert not not_linked(str(other), str(link)), "it is this project's own"


def test_a_pid_file_of_a_daemon_that_is_gone_is_stale(tmp_path: Path) -> None:
    file = tmp_path / "daemon.pid"
    assert not stale_pid_file(file, "sleep"), "there is none"
    daemon = subprocess.Popen(["sleep", "60"])
    try:
        file.write_text(str(daemon.pid))
        while (
            Path(f"/proc/{daemon.pid}/comm").read_text() != "sleep\n"
        ):  # The kernel renames it a moment after the start.
            time.sleep(0.001)
        assert not stale_pid_file(file, "sleep")
        assert stale_pid_file(file, "dockerd"), "the pid was given to another program"
        daemon.kill()
        os.waitid(os.P_PID, daemon.pid, os.WEXITED | os.WNOWAIT)
        assert stale_pid_file(file, "sleep"), "a zombie is gone"
    finally:
        daemon.kill()
        daemon.wait()
    assert stale_pid_file(file, "sleep")
    file.write_text("")
    assert stale_pid_file(file, "sleep")


def test_a_reporter_without_a_terminal_says_the_question_and_goes_on() -> None:
    told = io.StringIO()
    reporter = PlainReporter(stream=told, answers=io.StringIO("n\n"))
    assert reporter.ask("A package will be installed.")
    with reporter.step("building") as detail:
        detail("a line of a log")
    assert told.getvalue().startswith("A package will be installed.\nbuilding ...\nbuilding: ")
    assert "a line of a log" not in told.getvalue()
