"""Each role of a team against a real Redis with the rules that `up --print-acl` prints: what it may, and may not."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import redis
from redis_server import RedisServer
from redis_team import PASSWORD
from redis_tls import debians_server
from rq import Queue
from seats import at_work, sent

from orchestrator import api, worker
from orchestrator import events as e
from orchestrator.errors import DeniedError, RedisAwayError
from orchestrator.job import SERIALIZER, AttemptJob, job_of
from orchestrator.journal import keys
from orchestrator.journal.acl import DEFAULT, ROLES
from orchestrator.journal.connection import Scripts, connect, redis_url, who
from orchestrator.journal.dreams import held, note, seen
from orchestrator.journal.lease import Lease, claim
from orchestrator.journal.presence import alive
from orchestrator.journal.stream import read
from orchestrator.journal.verify import verify
from orchestrator.journal.writer import Writer, create
from orchestrator.queue import call
from orchestrator.runs import Outcome, RunSpec, State, attempt_id, new_run_id
from orchestrator.schedule import Schedule, last_dreams
from orchestrator.stack import redis_checks
from orchestrator.stop import Stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis_team import Team

pytestmark = pytest.mark.needs_redis
PATCH = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"
QUEUE = "runs:w"
QUEUE_KEY = f"rq:queue:{QUEUE}"
OWN_SCRIPT = "return redis.call('RPUSH', KEYS[1], 'x')"
HIDDEN_KEY = "return redis.call('RPUSH', 'rq:queue:runs:w', 'x')"
ADMINISTRATES: tuple[tuple[object, ...], ...] = (
    ("CONFIG", "SET", "dir", "/tmp"),  # noqa: S108  # It is to be refused.
    ("CONFIG", "GET", "*"),
    ("CONFIG", "REWRITE"),
    ("ACL", "SETUSER", "viewer", "+@all"),
    ("ACL", "LIST"),
    ("ACL", "SAVE"),
    ("SCRIPT", "FLUSH"),
    ("SCRIPT", "KILL"),
    ("FUNCTION", "LOAD", "#!lua name=evil\nredis.register_function('f', function() return 1 end)"),
    ("FUNCTION", "FLUSH"),
    ("FCALL", "f", 0),
    ("MODULE", "LOAD", "/tmp/evil.so"),  # noqa: S108  # As above.
    ("DEBUG", "SLEEP", 0),
    ("KEYS", "*"),
    ("RANDOMKEY",),
    ("MONITOR",),
    ("CLIENT", "KILL", "TYPE", "normal"),
    ("CLIENT", "LIST"),
    ("CLIENT", "PAUSE", 1000),
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("SWAPDB", 0, 1),
    ("REPLICAOF", "127.0.0.1", 1),
    ("FAILOVER",),
    ("MIGRATE", "127.0.0.1", 1, "dd:runs", 0, 10),
    ("SHUTDOWN",),
    ("BGREWRITEAOF",),
    ("SAVE",),
    ("CLUSTER", "RESET"),
    ("SLOWLOG", "GET"),
    ("SET", "anybody:else", "x"),
    ("GET", "anybody:else"),
    ("EVAL", "return redis.call('CONFIG', 'GET', '*')", 0),
    ("EVAL", "return redis.call('FLUSHALL')", 0),
    ("EVAL", "return redis.call('SET', 'anybody:else', 'x')", 0),
    ("SUBSCRIBE", "anybody:else"),
    ("PSUBSCRIBE", "*"),
    ("PUBLISH", "anybody:else", "x"),
    ("COPY", "dd:runs", "anybody:else"),
    ("SORT", "dd:runs", "BY", "anybody:*", "GET", "anybody:*"),
)
"""What no role may, not even a worker."""
A_WORKERS: tuple[tuple[object, ...], ...] = (
    ("RPUSH", QUEUE_KEY, "evil"),
    ("LPUSH", "rq:queue:runs:somebody", "evil"),
    ("HSET", "rq:job:evil", "data", call("os.system", "id")),
    ("LRANGE", QUEUE_KEY, 0, -1),
    ("HGETALL", "rq:job:evil"),
    ("SMEMBERS", "rq:workers"),
    ("SADD", "rq:queues", "evil"),
    ("PUBLISH", "rq:pubsub:somebody", "shutdown"),
    ("SUBSCRIBE", "rq:pubsub:somebody"),
    ("SUBSCRIBE", "dd:nudge"),
    ("SET", keys.process("worker", "evil"), "{}"),
    ("DEL", keys.process("worker", "evil")),
    ("HSET", "dd:workers", "evil", "{}"),
    ("HDEL", "dd:workers", "evil"),
    ("HSET", "dd:busy", "evil", "x"),
    ("SET", "dd:policy", "{}"),
    ("EVAL", OWN_SCRIPT, 1, QUEUE_KEY),
    ("EVAL", OWN_SCRIPT, 1, "dd:workers"),
    ("EVAL", HIDDEN_KEY, 0),
    ("EVAL", "return redis.call('SET', 'dd:policy', '{}')", 0),
    ("RENAME", "dd:runs", QUEUE_KEY),
    ("COPY", "dd:runs", QUEUE_KEY),
    ("RESTORE", "dd:policy", 0, b"\x00\x01x\x0b\x00"),
)
"""What a worker may, and nobody else."""
A_MEMBERS: tuple[tuple[object, ...], ...] = (
    ("ZADD", keys.PENDING, 1, "x"),
    ("HSET", keys.record("0" * 12), "state", "done"),
    ("XADD", keys.stream("0" * 12), "1-0", "e", "x"),
    ("DEL", keys.stream("0" * 12)),
    ("SET", "dd:queue", "x"),
    ("PUBLISH", "dd:nudge", ""),
    ("EVAL", OWN_SCRIPT, 1, "dd:runs"),
    ("EVAL", "return 1", 0),
    ("EVALSHA", "0" * 40, 0),
    ("EVAL_RO", "return redis.call('SET', 'dd:queue', 'x')", 1, "dd:queue"),
    ("SCRIPT", "LOAD", "return 1"),
    ("MULTI",),
    ("EXPIRE", "dd:runs", 1),
    ("GETDEL", "dd:queue"),
)
"""What a member may, and a viewer mayn't."""


@pytest.fixture
def viewer(team: Team, admin: Redis) -> Iterator[api.Door]:
    assert admin.ping()
    with closing(api.connect(team.settings("viewer"))) as door:
        yield door


def is_refused(error: redis.ResponseError) -> bool:
    """Whether it's the rules that refuse, or Redis itself where nobody may."""
    nobody_may = (
        "not allowed from script",
        "not allowed from read-only scripts",
        "command not allowed. If the enable-",
    )
    words = ("ACL failure in script", "The user executing the script can't", *nobody_may)
    return isinstance(error, redis.exceptions.NoPermissionError) or any(word in str(error) for word in words)


def forbidden(team: Team, role: str, command: tuple[object, ...]) -> None:
    """Try a command, and see it refused for want of the right."""
    with connect(redis_url(team.settings(role))) as client:
        with pytest.raises(redis.ResponseError) as raised:
            client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped.
        assert is_refused(raised.value)
        assert client.ping(), "and nothing happened to the connection or the server"


@pytest.mark.parametrize("role", ["worker", "member", "viewer"])
@pytest.mark.parametrize("command", ADMINISTRATES, ids=lambda command: " ".join(map(str, command[:3]))[:40])
def test_no_role_administrates_or_leaves_its_keys(team: Team, role: str, command: tuple[object, ...]) -> None:
    forbidden(team, role, command)


@pytest.mark.parametrize("role", ["member", "viewer"])
@pytest.mark.parametrize("command", A_WORKERS, ids=lambda command: " ".join(map(str, command[:3]))[:40])
def test_only_a_worker_writes_what_workers_go_by(team: Team, role: str, command: tuple[object, ...]) -> None:
    forbidden(team, role, command)


@pytest.mark.parametrize("command", A_MEMBERS, ids=lambda command: " ".join(map(str, command[:3]))[:40])
def test_a_viewer_writes_nothing(team: Team, admin: Redis, command: tuple[object, ...]) -> None:
    with connect(redis_url(team.settings("viewer"))) as client, pytest.raises(redis.ResponseError) as raised:
        client.execute_command(*command)  # type: ignore[no-untyped-call]  # As above.
    assert is_refused(raised.value)
    assert admin.dbsize() == 0


def end(admin: Redis, run_id: str) -> None:
    """Have a run over, with a patch."""
    journal = Writer(admin, run_id, who="ann")
    finished = e.Finished(outcome=Outcome.CANCELLED, reason="cancelled", patch=journal.blob(PATCH))
    journal.append(finished, operation="finish")


def test_a_viewer_reads_what_a_run_did(viewer: api.Door, admin: Redis, queued: str) -> None:
    end(admin, queued)
    assert viewer.find(queued[:6], Path("/")) == queued
    assert [event.body.type for event in viewer.events(queued)] == ["submitted", "dispatched", "finished"]
    assert [event.body.type for event in viewer.events(queued, follow=True)] == ["submitted", "dispatched", "finished"]
    assert viewer.audit(queued).check.ok
    assert viewer.workers() == []
    assert viewer.dangers() == []


def test_a_viewer_is_told_that_he_may_not(viewer: api.Door, queued: str, spec: RunSpec) -> None:
    for action in (
        lambda: viewer.submit(spec),
        lambda: viewer.cancel(queued),
        lambda: viewer.steer(queued, "hello"),
        lambda: viewer.pause(queued),
    ):
        with pytest.raises(DeniedError, match="isn't allowed") as raised:
            action()
        assert "viewer" in raised.value.cause
        assert "--print-acl" in raised.value.hint


@pytest.mark.parametrize("command", [("cancel",), ("steer", "hello"), ("pause",)])
def test_a_viewers_command_ends_as_denied(team: Team, queued: str, command: tuple[str, ...]) -> None:
    argv = [sys.executable, "-m", "orchestrator.cli", command[0], queued, *command[1:]]
    done = subprocess.run(argv, env=os.environ | team.environ("viewer"), capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr.startswith("error: your user of Redis isn't allowed to do that\ncause: ")
    assert "try:   ask whoever runs this Redis" in done.stderr


@pytest.mark.parametrize("command", [("logs",), ("audit",), ("steps",), ("cost",), ("diff",)])
def test_a_viewers_looks_end_well(team: Team, admin: Redis, queued: str, command: tuple[str, ...]) -> None:
    end(admin, queued)
    argv = [sys.executable, "-m", "orchestrator.cli", command[0], queued, *command[1:]]
    done = subprocess.run(argv, env=os.environ | team.environ("viewer"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_member_steps_in_under_his_name(member: api.Door, admin: Redis, queued: str) -> None:
    member.steer(queued, "hello")
    assert member.pause(queued).state is State.WAITING
    assert member.cancel(queued).outcome is Outcome.CANCELLED
    events = list(read(admin, queued))
    assert {event.who for event in events[2:]} == {"member"}, "the user of the address is who it was"
    assert member.audit(queued).check.ok


def test_a_worker_carries_a_run(team: Team, admin: Redis, queued: str) -> None:
    with connect(redis_url(team.settings("worker"))) as client:
        at_work(client)
        assert sent(client) == {attempt_id(queued, 1): "w"}
        fence = claim(client, queued, 1, lease_seconds=2)
        assert isinstance(fence, int)
        stop = Stop()
        with Lease(client, queued, fence, lease_seconds=2, stop=stop):
            journal = Writer(client, queued, who="w", fence=fence, lease_seconds=2, stop=stop)
            journal.append(e.Claimed(attempt=1, fence=fence, worker="w", host="h"))
            journal.append(e.Finished(outcome=Outcome.FAILED), operation="finish")
        assert Scripts(client)("archive", _archived(queued), [queued, "x"]) == "HEAD"
        assert [one.name for one in alive(client, "worker")] == ["w"]
    assert admin.lrange(QUEUE_KEY, 0, -1) == [attempt_id(queued, 1).encode()]
    assert verify(admin, queued).ok


def _archived(run_id: str) -> list[str]:
    names = (keys.record, keys.stream, keys.blobs, keys.archive)
    return [*(name(run_id) for name in names), keys.FINISHED, keys.ARCHIVED]


def test_rqs_worker_works_with_the_workers_rules(team: Team, admin: Redis) -> None:
    assert admin.ping()
    with connect(redis_url(team.settings("worker"))) as client:
        job = job_of("runs", "w")
        queue = Queue(QUEUE, connection=client, job_class=job, serializer=SERIALIZER)
        options = {"connection": client, "job_class": job, "serializer": SERIALIZER}
        rqs = worker.AttemptWorker([queue], name="w", **options)
        assert rqs.work(burst=True, logging_level="WARNING", with_scheduler=False) is False


def test_an_entry_that_a_worker_forges_runs_nothing_on_another(team: Team, admin: Redis) -> None:
    ours = attempt_id("0" * 12, 1)
    with connect(redis_url(team.settings("worker"))) as client:
        client.hset(f"rq:job:{ours}", mapping={"data": call("os.system", ours), "status": "queued", "origin": QUEUE})
        client.rpush(QUEUE_KEY, ours)
        job = AttemptJob.fetch(ours, connection=client, serializer=SERIALIZER)
        assert job.func_name == "orchestrator.worker.refuse_entry"
        with pytest.raises(DeniedError):
            job.func(*job.args)
    assert admin.llen(QUEUE_KEY) == 1


def test_workers_and_keepers_may_dream_and_nobody_else(team: Team, admin: Redis) -> None:
    assert admin.ping()
    project = "0123456789ab"
    with connect(redis_url(team.settings("worker"))) as client, held(client, project) as mine:
        assert mine.owns()
        note(client, project, 5)
        Schedule(7).tick(client)
    for role in ("member", "viewer"):
        with connect(redis_url(team.settings(role))) as client:
            assert (seen(client, project), last_dreams(client)) == (5, {})
            with pytest.raises(DeniedError), held(client, project):
                pass
            with pytest.raises(DeniedError):
                note(client, project, 6)


@pytest.mark.parametrize("role", ["member", "viewer"])
def test_a_worker_with_another_roles_credentials_ends_as_denied(team: Team, admin: Redis, role: str) -> None:
    assert admin.ping()
    argv = [sys.executable, "-m", "orchestrator.cli", "worker"]
    environ = os.environ | team.environ(role) | {"DREAMDOCK_WARM": "0"}
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 6, done.stderr
    assert "isn't allowed" in done.stderr
    assert admin.keys("*") == []


def test_doctor_names_the_role_where_it_may_not_write(team: Team) -> None:
    with pytest.raises(DeniedError) as raised:
        redis_checks.writes(team.settings("viewer"))
    assert "--print-acl" in raised.value.hint
    assert redis_checks.writes(team.settings("member")).ok
    assert redis_checks.writes(team.settings("worker")).ok


def test_a_wrong_password_is_told_as_such(team: Team) -> None:
    with pytest.raises(RedisAwayError) as raised:
        redis_checks.writes(team.settings("viewer").model_copy(update={"redis_password_file": None}))
    assert "redis_password_file" in raised.value.hint


def test_the_rules_are_printed_and_nothing_is_started(team: Team) -> None:
    environ = os.environ | team.environ("viewer")
    argv = [sys.executable, "-m", "orchestrator.cli", "up", "--print-acl"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*(role.line for role in ROLES), DEFAULT]
    assert ">PASSWORD" in done.stderr
    told = json.loads(subprocess.run([*argv, "--json"], env=environ, capture_output=True, check=True).stdout)
    assert [*(role["line"] for role in told["roles"].values()), told["default"]] == done.stdout.splitlines()
    assert not team.settings("viewer").runtime_dir.exists()


def test_who_is_the_user_of_the_address_or_else_of_the_machine(team: Team) -> None:
    assert who(redis_url(team.settings("viewer"))) == "viewer"
    assert "@" in who(redis_url(team.settings("viewer").model_copy(update={"redis_url": team.address("default")})))


def test_a_server_with_these_rules_in_a_file_has_its_journals_after_a_restart(spec: RunSpec) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ddr-"))
    password = f"#{hashlib.sha256(PASSWORD.encode()).hexdigest()}"
    lines = [role.line.replace(" on ", f" on {password} ", 1) for role in ROLES]
    (folder / "users.acl").write_text("\n".join([*lines, DEFAULT, ""]))
    address = f"unix://member:{quote(PASSWORD)}@{folder / 'r.sock'}"
    program, environ = debians_server()  # The one of the wheel reads its file with all rights, whatever they are.
    options = ("--aclfile", str(folder / "users.acl"))
    server = RedisServer(folder, *options, url=address, program=program, environ=environ)
    with server, connect(address) as client:
        run_id = new_run_id()
        create(client, run_id, "ann", [e.Submitted(spec=spec), e.Dispatched(attempt=1)])
        server.kill()
        server.start()
        assert [event.body.type for event in read(client, run_id)] == ["submitted", "dispatched"]
        assert client.zscore(keys.PENDING, run_id) is not None
    shutil.rmtree(folder)
