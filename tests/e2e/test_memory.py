"""The library from the command line, as a person at two hosts uses it: through the installed command, and no stack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = Path(sys.executable).with_name("dreamdock")


@pytest.fixture
def host(tmp_path: Path) -> Callable[[str], Callable[..., Any]]:
    """Return what makes a host by its name: a command with a state and a person of its own, and one remote for all."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)

    def made(name: str) -> Callable[..., Any]:
        home = tmp_path / name
        home.mkdir()
        (home / "gitconfig").write_text(f"[user]\n\tname = {name}\n\temail = {name}@example.org\n")
        environ = {key: value for key, value in os.environ.items() if not key.startswith("DREAMDOCK_")} | {
            "DREAMDOCK_STATE_DIR": str(home / "state"),
            "DREAMDOCK_RUNTIME_DIR": str(home / "run"),
            "DREAMDOCK_LIBRARY__REMOTE": str(remote),
            "XDG_CONFIG_HOME": str(home),
            "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        }

        def run(*arguments: str, cwd: Path) -> Any:
            asked = [COMMAND, "memory", *arguments, "--json"]
            done = subprocess.run(
                asked,
                cwd=cwd,
                env=environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert not (home / "run").exists(), "nothing is started"
            return json.loads(done.stdout)

        return run

    return made


def test_what_one_learns_another_corrects(host: Callable[[str], Callable[..., Any]], repo: Path) -> None:
    ann, bob = host("ann"), host("bob")
    entry = ann("add", "pitfall", "Tests need Redis", "make redis", "--path", "ledger", cwd=repo)["entries"][0]
    assert bob("share", cwd=repo)["pulled"]
    assert [one["id"] for one in bob("search", "testing with redis", cwd=repo)["entries"]] == [entry["id"]]
    bob("edit", entry["id"][:8], "--text", "make redis, once a day", cwd=repo)
    ann("add", "fact", "It is red", cwd=repo)
    told = ann("show", entry["id"], cwd=repo)["entry"]
    assert told["text"] == "make redis, once a day"
    assert [one["who"] for one in told["history"]] == ["bob", "ann"]
    ann("forget", entry["id"], cwd=repo)
    bob("share", cwd=repo)
    assert [one["title"] for one in bob("list", cwd=repo)["entries"]] == ["It is red"]
