"""Make `.venv` from the lock file: `python3.11 -m orchestrator.stack.bootstrap [--link]` in the project's folder.

Standard library only, because it runs before anything is installed.
A stamp of everything that went in makes the second run instant.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.errors import DreamdockError, UnavailableError
from orchestrator.stack.packages import install
from orchestrator.stack.process import run_told
from orchestrator.stack.report import PlainReporter, Reporter

_INPUTS = ("requirements.lock", "pyproject.toml")
_AGAIN = "make setup"


def ensure_venv(root: Path, reporter: Reporter) -> None:
    """Make `root/.venv` hold exactly what the lock file says, and the project itself, editable.

    Raises UnavailableError.
    """
    venv, stamp = root / ".venv", _stamp(root)
    with (root / _INPUTS[0]).open("rb") as lock:  # Two `make` at once: the second waits and finds it done.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current(venv, stamp):
            return
        (venv / _STAMP_NAME).unlink(missing_ok=True)
        if not _works(venv / "bin" / "python"):
            _make(venv, reporter)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        pip += ["--root-user-action=ignore", "--no-warn-script-location"]
        with reporter.step("installing the locked dependencies into .venv") as detail:
            locked = (*pip, "--require-hashes", "--requirement", str(root / _INPUTS[0]))
            run_told(locked, detail, failed="the locked dependencies can't be installed", hint=_AGAIN)
            itself = (*pip, "--no-deps", "--no-build-isolation", "--editable", str(root))
            # As a path, not an import hook: a hook costs every start 12 ms.
            itself += ("--config-settings", "editable_mode=compat")
            run_told(itself, detail, failed="DreamDock itself can't be installed", hint=_AGAIN)
        (venv / _STAMP_NAME).write_text(stamp)


def link_command(root: Path, home: Path, path: str, *, euid: int) -> tuple[Path | None, str]:
    """Put `dreamdock` on PATH, by a link in ~/.local/bin, or for root in /usr/local/bin; replace nothing foreign.

    `path` is the value of PATH. Returns the link (None where there is none) and what a person types as the command.
    """
    target = root / ".venv" / "bin" / "dreamdock"
    folders = [home / ".local" / "bin", *([Path("/usr/local/bin")] if euid == 0 else [])]
    for folder in folders:
        if str(folder) not in path.split(os.pathsep):
            continue
        link = folder / "dreamdock"
        if not link.exists() and (link.is_symlink() or not os.path.lexists(link)):
            folder.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)  # A link whose project has gone.
            link.symlink_to(target)
        if link.is_symlink() and link.resolve() == target.resolve():
            return link, "dreamdock"
    return None, str(target)


def main() -> int:
    """Set up the project in the current folder; with `--link` also put `dreamdock` on PATH."""
    root, reporter = Path.cwd(), PlainReporter()
    try:
        ensure_venv(root, reporter)
    except DreamdockError as error:
        reporter.line(f"error: {error.message}\ncause: {error.cause}\ntry: {error.hint}")
        return error.exit_code
    if "--link" in sys.argv[1:]:
        path = os.environ.get("PATH", "")  # A question about the shell, not a setting.
        link, command = link_command(root, Path.home(), path, euid=os.geteuid())
        told = not_linked(command, shutil.which("dreamdock", path=path)) if link is None else ""
        if told:
            reporter.line(told)
    return 0


def not_linked(command: str, there: str | None) -> str:
    """Return what to type where this project's command has no link, empty where it is on PATH all the same.

    `there` is the `dreamdock` on PATH, if any.
    """
    if there is None:
        return f"dreamdock is not on PATH here; type {command}"
    other = Path(there).resolve()
    if other == Path(command).resolve():  # As in an activated venv.
        return ""
    of = there if other == Path(there) else f"{there} (a link to {other})"
    return f"the dreamdock on PATH is another one: {of}\nfor this one type {command}"


_STAMP_NAME = ".dreamdock-stamp"


def _stamp(root: Path) -> str:
    digest = hashlib.sha256(f"{sys.version_info[:2]} {root}".encode())
    for name in _INPUTS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def _is_current(venv: Path, stamp: str) -> bool:
    mark = venv / _STAMP_NAME
    return mark.is_file() and mark.read_text() == stamp and (venv / "bin" / "python").exists()


def _works(python: Path) -> bool:
    """Whether the venv's interpreter is of this version and has pip: false after an interrupted set-up too."""
    test = f"import pip, sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})"
    try:
        return subprocess.run([python, "-c", test], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _make(venv: Path, reporter: Reporter) -> None:
    if subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode:
        if not Path(sys.base_prefix).samefile("/usr"):
            raise UnavailableError(
                "this Python can't make a virtual environment",
                cause=f"{sys.executable} lacks venv or ensurepip",
                hint="make PYTHON=/usr/bin/python3 setup",
            )
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        install([f"{version}-venv"], reporter, why="make the virtual environment")
    shutil.rmtree(venv, ignore_errors=True)
    with reporter.step("making .venv") as detail:
        run_told((sys.executable, "-m", "venv", str(venv)), detail, failed="the venv can't be made", hint=_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
