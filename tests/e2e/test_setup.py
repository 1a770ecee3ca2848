"""A real project that needs a package from an index: its set-up is done or refused, as the worker's operator says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from kit import SECRET, SUBMIT
from package_index import pip_archive, served

from benchmarks.stack import own_stack
from orchestrator.demo import make
from orchestrator.demo.source import fetch
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.stack import Stack

pytestmark = [pytest.mark.needs_engine, pytest.mark.needs_redis, pytest.mark.needs_root]
DEPENDENCY = ("wcwidth", "wcwidth-0.2.13-py2.py3-none-any.whl")
SHA256 = "3da69048e4540d84af32131829ff948f1e022c1c6bdb8d6102117aac784f6859"
SETTINGS = """
accept = "PYTHONPATH=.deps python3 -m pytest -q test"
setup = [
    'curl -fsS --max-time 20 "$SITE/pip.zip" -o "$TMPDIR/pip.zip"',
    'python3 "$TMPDIR/pip.zip/pip" install --target .deps wcwidth==0.2.13',
]
"""
WIDE_TEST = """
import wcwidth
from tabulate import tabulate


def test_more_alignments_than_columns_of_wide_characters():
    lines = tabulate([["日本", "x"], ["a", "y"]], colalign=("right", "left", "center")).splitlines()
    assert {wcwidth.wcswidth(line) for line in lines} == {7}
"""


class Project(NamedTuple):
    """The real project, with settings of its own that name what it needs, and the script that repairs it."""

    repo: Path
    script: Path
    task: str


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make(Path(__file__).parent / "replays" / "tabulate", tmp_path)
    repo = Path(made.request.repo)
    (repo / "dreamdock.toml").write_text(SETTINGS)
    (repo / "test/test_wide_alignments.py").write_text(WIDE_TEST)
    for arguments in (("add", "-A"), ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "wide")):
        subprocess.run(["git", "-C", repo, *arguments], check=True)
    return Project(repo, made.script, made.request.task)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the settings that name an index which is there."""
    site = tmp_path_factory.mktemp("site")
    fetch(*DEPENDENCY, SHA256, site / "simple/wcwidth")
    pip_archive(site)
    with served(site) as url:
        variables = {"SITE": url, "PIP_INDEX_URL": f"{url}/simple", "PIP_TRUSTED_HOST": url.split("/")[2].split(":")[0]}
        yield {"DREAMDOCK_SETUP__ENVIRONMENT": json.dumps(variables)}


@pytest.fixture(scope="module")
def connected(index: dict[str, str]) -> Iterator[Stack]:
    """Yield a stack whose operator turned the network of set-ups on."""
    with own_stack({"DREAMDOCK_SETUP__NETWORK": "on", **index}) as running:
        yield running


@pytest.fixture(scope="module")
def disconnected(index: dict[str, str]) -> Iterator[Stack]:
    """Yield a stack that differs from the connected one in this alone."""
    with own_stack(index) as running:
        yield running


def run(stack: Stack, project: Project, *flags: str) -> subprocess.CompletedProcess[str]:
    return stack("run", project.task, "--repo", str(project.repo), "--model", f"scripted/{project.script}", *flags)


def set_ups(stack: Stack) -> list[Any]:
    run_id = stack.json("ps", "-a")["runs"][0]["id"]
    return [event.body for event in stack.door.events(run_id) if event.body.type == "set_up"]


def test_with_network_the_dependency_is_there_in_the_run_and_in_its_acceptance(
    connected: Stack, project: Project
) -> None:
    done = run(connected, project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed wcwidth-0.2.13" in done.stdout
    assert "✓ passed" in done.stdout
    assert "+            if idx < len(aligns):" in done.stdout
    assert ".deps" not in [line for line in done.stdout.splitlines() if line.startswith("+++")], "it isn't delivered"
    (first,) = set_ups(connected)
    assert (first.network, first.cached, first.failed) == ("on", False, "")
    assert "Successfully installed" in first.log
    assert [(one.manager, one.name, one.version, one.place) for one in first.installs] == [
        ("pip", "wcwidth", "0.2.13", ".deps")
    ]

    again = run(connected, project)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "from the cache" in again.stdout
    (second,) = set_ups(connected)
    assert (second.cached, second.log, second.installs) == (True, first.log, first.installs)
    audit = connected("audit", "@", cwd=project.repo)
    assert "--target .deps wcwidth" in audit.stdout
    assert "pip wcwidth 0.2.13 added (.deps)" in audit.stdout


def test_without_network_it_is_refused_with_the_reason(disconnected: Stack, project: Project) -> None:
    done = run(disconnected, project)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert "setup.network is off on this worker; the operator may set it to on" in said
    assert "curl" in said
    view = disconnected.door.show(disconnected.json("ps", "-a")["runs"][0]["id"]).view
    assert (view.outcome, view.step) == (Outcome.ERROR, 0)
    assert "exit code 7: curl: (7)" in view.reason, "there is no way to the index"
    (told,) = set_ups(disconnected)
    assert told.failed.startswith("a set-up command failed: curl")
    assert "curl: (" in told.log


def test_commands_that_need_no_network_just_run(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    path = script("cat $HOME/tool; cat .venv/pyvenv.cfg", SUBMIT)
    commands = ("python3 -m venv --without-pip .venv", "echo ready >~/tool")
    flags = ("--setup", commands[0], "--setup", commands[1], "--accept", "cat ~/tool")
    run_id = stack.detached(path, repo, *flags)
    assert stack("wait", run_id).returncode == 0, stack("logs", run_id).stdout
    told = [event.body.result.content for event in stack.door.events(run_id) if event.body.type == "call_finished"]
    assert told[0].startswith("ready\n")
    assert "home = " in told[0]
    assert stack.door.diff(run_id) == b""
    shown = stack("show", run_id).stdout
    assert f"set-up        $ {commands[0]}\n              $ {commands[1]}\n" in shown


def test_no_key_reaches_the_set_up(stack: Stack, repo: Path, script: Callable[..., Path]) -> None:
    look = "env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'"
    run_id = stack.detached(script(SUBMIT), repo, "--setup", look, "--accept", "true")
    assert stack("wait", run_id).returncode == 0
    (told,) = [event.body for event in stack.door.events(run_id) if event.body.type == "set_up"]
    assert "TMPDIR=" in told.log
    assert "MIMO" not in told.log
    assert SECRET not in told.log


def test_cancel_stops_a_set_up(stack: Stack, repo: Path, script: Callable[..., Path], until: Any) -> None:
    run_id = stack.detached(script(SUBMIT), repo, "--setup", "sleep 300")
    until(lambda: stack.containers(run_id))
    assert stack("cancel", run_id).returncode == 0
    until(lambda: stack.door.show(run_id).view.outcome is Outcome.CANCELLED)
    assert stack.containers(run_id) == []


def test_a_dry_run_shows_the_commands_and_what_they_are_sealed_with(
    connected: Stack, stack: Stack, project: Project
) -> None:
    off, on = (run(which, project, "--dry-run") for which in (stack, connected))
    for done in (off, on):
        assert done.returncode == 0, done.stderr
        assert '$ curl -fsS --max-time 20 "$SITE/pip.zip"' in done.stdout
    assert "bridge" not in off.stdout
    assert "on, the engine's bridge" in on.stdout
    assert "PIP_INDEX_URL" in on.stdout
    plan = json.loads(run(connected, project, "--dry-run", "--json").stdout)
    assert plan["setup_policy"]["network"].startswith("on")
    none = json.loads(run(connected, project, "--dry-run", "--json", "--setup", "").stdout)
    assert (none["spec"]["setup"], "setup_policy" in none) == ([], False)
