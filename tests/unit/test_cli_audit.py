from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from journals import Carried, carried, rewrite, stored

from orchestrator import events as e
from orchestrator.audit import Audit, audited
from orchestrator.cli.audit import show, verdict
from orchestrator.cli.screen import Screen
from orchestrator.dialogue import ToolCall
from orchestrator.journal import keys
from orchestrator.journal.signing import Signer
from orchestrator.journal.verify import Check
from orchestrator.journal.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from redis import Redis

    Cli = Callable[..., subprocess.CompletedProcess[str]]


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


pytestmark = pytest.mark.needs_redis


@pytest.fixture
def run(client: Redis, run_id: str, tmp_path: Path) -> Carried:
    """Return a finished run whose worker signed on this machine."""
    return carried(client, run_id, tmp_path / "state")


@pytest.fixture
def cli(redis_server: str, tmp_path: Path) -> Cli:
    """Return a function that runs the command as a process, on this machine or on one that has nothing of the run."""
    settings = {"DREAMDOCK_REDIS_URL": redis_server, "DREAMDOCK_STATE_DIR": str(tmp_path / "state")}
    own = {"DREAMDOCK_RUNTIME_DIR": str(tmp_path / "run"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.cli", "audit", *arguments]
        environ = os.environ | settings | own | more
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)

    return call


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """Return the settings of a machine without the run's state, and whose Redis doesn't answer."""
    return {
        "DREAMDOCK_STATE_DIR": str(tmp_path / "elsewhere"),
        "DREAMDOCK_REDIS_URL": f"unix://{tmp_path / 'nothing.sock'}",
    }


def test_the_audit_lists_what_ran_and_says_who_vouches_for_it(cli: Cli, run: Carried) -> None:
    listed = cli(run.run)
    assert "$ echo 2\n" in listed.stdout
    assert "verified" not in listed.stdout
    said = cli(run.run, "--verify")
    assert said.returncode == 0
    told = json.loads(cli(run.run, "--json").stdout)
    assert said.stdout.splitlines()[-3:] == [
        "✓ verified · 16 events chained",
        f"  head {told['head']}",
        f"  signed by this machine's own key ({run.signer.key.id}): 5 signatures, the last one at event 16",
    ]
    assert (told["verified"], told["broken_at"], told["kind"], told["over"]) == (True, None, None, True)
    assert told["signers"] == [{"name": "this machine's own key", "id": run.signer.key.id, "key": run.signer.key.text}]


@pytest.mark.parametrize("tty", [True, False])
def test_what_was_done_is_broken_under_its_own_column_on_a_terminal_and_whole_on_a_pipe(*, tty: bool) -> None:
    command = "cd /workspace && python3 -m pytest -q --doctest-modules tests/one.py\necho done"
    calls = [
        ToolCall(id="1", name="bash", arguments={"command": command, "timeout": 9}),
        ToolCall(id="2", name="read", arguments={"path": "src/x.py", "offset": 3}),
        ToolCall(id="3", name="grep", arguments={"pattern": "def ", "path": "src"}),
    ]
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    events = [
        e.Event(seq=seq, at=at, who="w", body=e.CallStarted(step=seq, call=call))
        for seq, call in enumerate(calls, start=1)
    ]
    answer = Terminal() if tty else StringIO()
    screen = Screen(json=False, color="never", answer=answer, talk=StringIO())
    if tty:
        screen.answer.width = 80
    show(screen, Audit("r", tuple(audited(events)), Check(head="", events=3), over=True), verify=False)
    rows = [line.rstrip() for line in answer.getvalue().splitlines()]
    assert [row.partition("call")[2].strip() for row in rows if "call" in row][1:] == [
        "read src/x.py offset='3'",
        "grep pattern='def ' path='src'",
    ]
    if tty:
        assert max(map(len, rows)) <= 80
        assert "".join(rows[1:4]).count("$ cd /workspace && python3 -m pytest") == 1
        assert rows[2].startswith(" " * rows[0].index("WHAT"))
    else:
        assert rows[1].endswith(
            "$ cd /workspace && python3 -m pytest -q --doctest-modules tests/one.py␊echo done timeout='9'"
        )


@pytest.mark.parametrize(("bundled", "where"), [(False, "store"), (True, "bundle")])
def test_checkpoints_are_said_to_be_where_they_were_found(*, bundled: bool, where: str) -> None:
    check = Check(head="h", events=3, signatures=2, signed_to=3, checkpoints=2)
    told = [line.plain for line in verdict(Audit("r", (), check, over=True, bundled=bundled))]
    assert told[-1] == f"2 checkpoints in the {where} carry the heads that they were taken at"


def test_an_edited_event_is_named_with_exit_code_1(client: Redis, cli: Cli, run: Carried) -> None:
    held = stored(client, run.run)
    edited = held[8]._replace(data=held[8].data.replace(b"echo 2", b"echo 9"))
    rewrite(client, run.run, [*held[:8], edited, *held[9:]])
    done = cli(run.run)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "✗ altered · event 9 was altered"
    told = json.loads(cli(run.run, "--json").stdout)
    assert (told["verified"], told["broken_at"], told["kind"]) == (False, 9, "altered")


def test_a_tail_that_was_cut_off_shows_although_the_record_agrees(client: Redis, cli: Cli, run: Carried) -> None:
    rewrite(client, run.run, stored(client, run.run)[:11], record=True)
    done = cli(run.run, "--verify")
    assert done.returncode == 1
    assert "✗ cut off · the journal was cut off after event 11: this machine signed event 16" in done.stdout


def test_a_signer_of_another_machine_counts_once_it_is_pinned(
    cli: Cli, run: Carried, tmp_path: Path, redis_server: str, elsewhere: dict[str, str]
) -> None:
    there = elsewhere | {"DREAMDOCK_REDIS_URL": redis_server}
    strange = cli(run.run, "--verify", **there)
    assert strange.returncode == 1
    assert f"✗ unpinned · event 3 is vouched for by key '{run.signer.key.id}' alone" in strange.stdout
    assert "dreamdock audit --show-key" in strange.stdout
    lines = cli("--show-key").stdout
    (tmp_path / "config" / "dreamdock").mkdir(parents=True)
    (tmp_path / "config" / "dreamdock" / "config.toml").write_text(lines)
    known = cli(run.run, "--verify", **there)
    assert known.returncode == 0, known.stdout
    assert f"({run.signer.key.id}): 5 signatures" in known.stdout
    assert "own key" not in known.stdout


def test_a_bundle_verifies_elsewhere_with_the_public_key_alone(
    client: Redis, cli: Cli, run: Carried, tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    path = tmp_path / "run.bundle"
    wrote = cli(run.run, "--export", str(path))
    assert wrote.returncode == 0, wrote.stdout + wrote.stderr
    assert f"dreamdock audit --bundle {path} --key {run.signer.key.text}" in wrote.stderr
    assert cli(run.run, "--export", str(path)).returncode == 2, "nothing is overwritten"
    client.flushall()
    there = cli("--bundle", str(path), "--key", run.signer.key.text, **elsewhere)
    assert there.returncode == 0, there.stdout + there.stderr
    assert "$ echo 2\n" in there.stdout
    assert f"signed by the given key ({run.signer.key.id})" in there.stdout
    bare = cli("--bundle", str(path), **elsewhere)
    assert (bare.returncode, f"it names the exporter's own key: {run.signer.key.text}" in bare.stdout) == (1, True)
    assert "this machine's own key" not in bare.stdout
    other = cli("--bundle", str(path), "--key", Signer.load(tmp_path / "other").key.text, "--json", **elsewhere)
    assert (other.returncode, json.loads(other.stdout)["kind"]) == (1, "unpinned")
    assert not (tmp_path / "elsewhere").exists(), "looking makes nothing"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--bundle", "nothing.bundle"), 3),
        (("--bundle", "{dir}"), 3),
        (("--bundle", "{file}"), 1),
        (("--bundle", "{file}", "some-run"), 2),
        (("--bundle", "{file}", "--export", "x"), 2),
        (("--bundle", "{file}", "--key", "ssh-rsa AAAA"), 1),
        (("--key", "ed25519:x"), 2),
        (("nosuchrun", "--verify"), 3),
        (("nosuchrun", "--export", "{dir}/left-behind"), 3),
        (("--export", "{dir}/no/such/folder"), 3),
    ],
)
def test_a_mistake_is_a_clear_error_and_leaves_nothing(
    client: Redis, cli: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    assert client.ping()
    (tmp_path / "garbage").write_bytes(b"\x1f\x8bgarbage")
    done = cli(*(one.format(dir=tmp_path, file=tmp_path / "garbage") for one in arguments))
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) <= 3
    assert not (tmp_path / "left-behind").exists()


def test_an_export_that_fails_leaves_no_file(client: Redis, cli: Cli, run: Carried, tmp_path: Path) -> None:
    client.delete(keys.record(run.run))
    assert cli(run.run, "--export", str(tmp_path / "run.bundle")).returncode == 3
    assert not (tmp_path / "run.bundle").exists()


def test_a_journal_that_is_broken_can_still_be_handed_on(
    client: Redis, cli: Cli, run: Carried, tmp_path: Path, elsewhere: dict[str, str]
) -> None:
    held = stored(client, run.run)
    rewrite(client, run.run, [*held[:8], held[8]._replace(data=b"\xff\x00"), *held[9:]])
    path = tmp_path / "run.bundle"
    assert cli(run.run, "--export", str(path)).returncode == 1
    there = cli("--bundle", str(path), "--key", run.signer.key.text, **elsewhere)
    assert there.returncode == 1
    assert "✗ altered · event 9 was altered" in there.stdout


def test_what_people_wrote_behind_the_last_signature_is_said(
    client: Redis, cli: Cli, run_id: str, tmp_path: Path
) -> None:
    run = carried(client, run_id, tmp_path / "state", over=False)
    Writer(client, run_id, who="ann").append(e.CancelRequested())
    said = cli(run.run, "--verify").stdout
    assert "event 16 came after the last signature" in said
    assert "the run isn't over" in said


def test_a_run_that_nobody_carried_is_said_to_be_unsigned(cli: Cli, run_id: str) -> None:
    done = cli(run_id, "--verify")
    assert done.returncode == 0
    assert "not signed: no worker has carried the run" in done.stdout


def test_a_key_is_shown_and_never_made(cli: Cli, tmp_path: Path) -> None:
    shown = cli("--show-key")
    assert (shown.returncode, shown.stdout) == (3, "")
    assert "error: this machine has no signing key yet\n" in shown.stderr
    assert shown.stderr.endswith("try:   dreamdock up\n")
    assert not (tmp_path / "state").exists()


def test_the_key_is_shown_ready_to_paste_and_never_its_private_half(cli: Cli, tmp_path: Path) -> None:
    Signer.load(tmp_path / "state")
    shown = cli("--show-key")
    private = (tmp_path / "state" / "signer" / "key").read_text().strip()
    assert shown.stdout.startswith("[signers]\n")
    told = json.loads(cli("--show-key", "--json").stdout)
    assert told["key"] in shown.stdout
    assert private not in shown.stdout + shown.stderr + json.dumps(told)
