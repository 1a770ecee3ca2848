from __future__ import annotations

import os
import socket
import threading
import time
from base64 import b64encode
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from git_servers import bare, daemon, on_server, over_http, refs, refuse_pushes, silent
from steps import OTHER, RUN, Steps, check, read_whole

from sandbox import packs
from sandbox.errors import RemoteUnavailable, WorkspaceError
from sandbox.git import git
from sandbox.remote import Moved, Remote
from sandbox.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from repos import NewRepo, Repo, SmallDisk

    from sandbox.spec import Base


@pytest.fixture
def base(store: Store, repo: Repo) -> Base:
    return store.import_commit(repo.path)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    return bare(tmp_path / "remote/shared.git")


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """Return the store of another host."""
    return Store(tmp_path / "elsewhere/store")


@contextmanager
def served(kind: str, path: Path) -> Iterator[str]:
    if kind == "path":
        yield str(path)
    elif kind == "file":
        yield f"file://{path}"
    elif kind == "git":
        with daemon(path.parent) as url:
            yield f"{url}/{path.name}"
    else:
        with over_http(path.parent, login="ann:p%40ss:w0rd".replace("%40", "@") if kind == "login" else "") as url:
            yield f"{url.replace('p@ss', 'p%40ss')}/{path.name}"


def mine(_there: str) -> bool:
    return True


def never(_there: str) -> bool:
    return False


def take(store: Store, base: Base, steps: Steps, *contents: bytes, run: str = RUN) -> list[str]:
    made = []
    for content in contents:
        made.append(steps.take(content))
        store.keep(base.project, run, made[-1])
    return made


@pytest.mark.parametrize("kind", ["path", "file", "git", "http", "login"])
def test_what_one_host_pushes_another_has(kind: str, store: Store, other: Store, base: Base, there: Path) -> None:
    steps = Steps(store, base)
    with served(kind, there) as url:
        remote = Remote(url, store)
        assert "w0rd" not in remote.shown
        remote.push_base(base.project, base.commit)
        made = take(store, base, steps, b"one", b"two")
        remote.push_run(base.project, RUN, overwrite=never)
        made += take(store, base, steps, b"three")
        remote.push_run(base.project, RUN, overwrite=never)
        prefix = f"refs/dreamdock/{base.project}"
        assert set(refs(there)) == {f"{prefix}/base/{base.commit}", f"{prefix}/run/{RUN}"}
        assert remote.where(base.project) == {RUN: packs.tip(steps.git_dir, RUN)}

        assert Remote(url, other).fetch_run(base.project, RUN, base.commit)
        assert other.leads_to(base.project, RUN, [*made, base.commit]) == {*made, base.commit}
        assert read_whole(other.objects(base.project), made[2]) == b"three"
        check(other.git_dir(base.project))

        # It goes on there, and comes back.
        theirs = Steps(other, base)
        theirs.parent = made[2]
        back = take(other, base, theirs, b"four")
        Remote(url, other).push_run(base.project, RUN, overwrite=never)
        assert remote.fetch_run(base.project, RUN, base.commit)
        assert store.leads_to(base.project, RUN, back) == set(back)
        assert packs.tip(steps.git_dir, RUN) == packs.tip(theirs.git_dir, RUN)

        # Whoever pushed it deletes it.
        store.drop(base.project, RUN)
        assert store.to_delete(base.project) == []
        other.drop(base.project, RUN)
        assert other.to_delete(base.project) == [RUN]
        Remote(url, other).delete(base.project, [RUN])
        assert set(refs(there)) == {f"{prefix}/base/{base.commit}"}
        assert other.to_delete(base.project) == []


def test_a_run_without_checkpoints_begins_elsewhere_from_its_base(
    store: Store, other: Store, base: Base, there: Path
) -> None:
    remote = Remote(str(there), other)
    assert not remote.fetch_run(base.project, RUN, base.commit)
    assert other.projects() == []
    Remote(str(there), store).push_base(base.project, base.commit)
    assert remote.fetch_run(base.project, RUN, base.commit)
    assert other.read_file(base.project, base.tree, "README.md") == b"hello\n"
    assert other.kept(base.project) == {}


def test_a_push_sends_what_is_new_alone(store: Store, base: Base, there: Path) -> None:
    def objects() -> int:
        said = on_server(there, "count-objects", "-v").splitlines()
        return sum(int(line.split()[1]) for line in said if line.startswith(("count:", "in-pack:")))

    remote, steps = Remote(str(there), store), Steps(store, base)
    remote.push_base(base.project, base.commit)
    take(store, base, steps, b"one")
    remote.push_run(base.project, RUN, overwrite=never)
    before = objects()
    take(store, base, steps, *(b"step %d" % number for number in range(5)))
    remote.push_run(base.project, RUN, overwrite=never)
    assert objects() - before == 5 * 5  # Each a blob, two trees, the checkpoint and its link.
    remote.push_run(base.project, RUN, overwrite=never)
    assert objects() - before == 5 * 5


def test_a_stale_owner_overwrites_nothing(store: Store, other: Store, base: Base, there: Path) -> None:
    old, new = Remote(str(there), store), Remote(str(there), other)
    steps = Steps(store, base)
    take(store, base, steps, b"one")
    old.push_run(base.project, RUN, overwrite=never)
    assert new.fetch_run(base.project, RUN, base.commit)
    theirs = Steps(other, base)
    theirs.parent = steps.made[0]
    take(other, base, theirs, b"two")
    new.push_run(base.project, RUN, overwrite=never)
    newest = refs(there)[f"refs/dreamdock/{base.project}/run/{RUN}"]

    take(store, base, steps, b"never committed")
    asked: list[str] = []
    with pytest.raises(Moved):
        old.push_run(base.project, RUN, overwrite=lambda there: bool(asked.append(there)))
    assert asked == [newest]
    assert refs(there)[f"refs/dreamdock/{base.project}/run/{RUN}"] == newest
    old.delete(base.project, [RUN])
    assert refs(there)[f"refs/dreamdock/{base.project}/run/{RUN}"] == newest

    # The other way round it's repaired by the next push of whoever owns the run.
    on_server(there, "update-ref", f"refs/dreamdock/{base.project}/run/{RUN}", base.commit)
    take(other, base, theirs, b"three")
    new.push_run(base.project, RUN, overwrite=mine)
    assert new.where(base.project)[RUN] == packs.tip(theirs.git_dir, RUN)


def test_steps_of_two_hosts_are_both_kept(store: Store, other: Store, base: Base, there: Path) -> None:
    remote, steps = Remote(str(there), store), Steps(store, base)
    first = take(store, base, steps, b"one")
    remote.push_run(base.project, RUN, overwrite=never)
    lost = take(store, base, steps, b"not pushed")
    assert Remote(str(there), other).fetch_run(base.project, RUN, base.commit)
    theirs = Steps(other, base)
    theirs.parent = first[0]
    again = take(other, base, theirs, b"made again")
    Remote(str(there), other).push_run(base.project, RUN, overwrite=never)
    assert remote.fetch_run(base.project, RUN, base.commit)
    assert store.leads_to(base.project, RUN, lost + again) == {*lost, *again}
    remote.push_run(base.project, RUN, overwrite=never)
    check(steps.git_dir)


def test_a_ref_that_was_rewritten_is_not_believed(store: Store, other: Store, base: Base, there: Path) -> None:
    remote, steps = Remote(str(there), store), Steps(store, base)
    made = take(store, base, steps, b"one")
    remote.push_base(base.project, base.commit)
    remote.push_run(base.project, RUN, overwrite=never)
    ref = f"refs/dreamdock/{base.project}/run/{RUN}"
    empty = on_server(there, "hash-object", "-t", "tree", "-w", "/dev/null")
    forged = on_server(there, "-c", "user.name=x", "-c", "user.email=x", "commit-tree", empty, "-m", "x")
    for wrong in (forged, empty):
        (there / ref).write_text(f"{wrong}\n")
        assert Remote(str(there), other).fetch_run(base.project, RUN, base.commit)
        assert other.leads_to(base.project, RUN, made) == set()
        assert other.leads_to(base.project, RUN, [forged]) == set()
        assert other.kept(base.project) == {}


def test_a_remote_that_lost_objects_is_told_of_and_believed_in_nothing(
    store: Store, other: Store, base: Base, there: Path
) -> None:
    remote, steps = Remote(str(there), store), Steps(store, base)
    made = take(store, base, steps, b"one")
    remote.push_run(base.project, RUN, overwrite=never)
    blob = store.objects(base.project).tree(steps.objects.read(made[0])[5:45].decode())[b"src"].oid
    for path in (there / "objects" / blob[:2]).glob(f"{blob[2:]}*"):
        path.unlink()
    with pytest.raises(RemoteUnavailable):
        Remote(str(there), other).fetch_run(base.project, RUN, base.commit)
    assert other.projects() == []


@pytest.mark.parametrize("project", ["../../../etc", "0123456789a", "0123456789AB", ""])
def test_an_id_that_is_none_names_no_ref(store: Store, there: Path, project: str) -> None:
    with pytest.raises(WorkspaceError):
        Remote(str(there), store).fetch_run(project, RUN, "0" * 40)
    with pytest.raises(WorkspaceError):
        Remote(str(there), store).fetch_run("0123456789ab", "../x", "0" * 40)
    assert refs(there) == {}


def test_a_shallow_history_is_refused_with_what_to_do_or_taken_where_that_is_allowed(
    store: Store, other: Store, new_repo: NewRepo, tmp_path: Path, there: Path
) -> None:
    full = new_repo("full")
    for name in ("a", "b", "c"):
        full.commit({name: name})
    full.git("clone", "-q", "--depth=1", f"file://{full.path}", str(tmp_path / "shallow"))
    base = store.import_commit(tmp_path / "shallow")
    remote = Remote(str(there), store)
    with pytest.raises(RemoteUnavailable) as caught:
        remote.push_base(base.project, base.commit)
    assert "shallow update not allowed" in caught.value.cause
    assert "receive.shallowUpdate" in caught.value.hint
    assert "--unshallow" in caught.value.hint

    on_server(there, "config", "receive.shallowUpdate", "true")
    remote.push_base(base.project, base.commit)
    made = take(store, base, Steps(store, base), b"one", b"two")
    remote.push_run(base.project, RUN, overwrite=never)
    assert Remote(str(there), other).fetch_run(base.project, RUN, base.commit)
    assert other.leads_to(base.project, RUN, made) == set(made)
    check(other.git_dir(base.project))


def test_what_a_remote_says_is_one_harmless_line(store: Store, base: Base, there: Path) -> None:
    refuse_pushes(there, r"no\033[31m way\a https://ann:secret@host/x")
    with served("git", there) as url, pytest.raises(RemoteUnavailable) as caught:
        Remote(url, store).push_base(base.project, base.commit)
    assert "pre-receive hook declined" in caught.value.cause
    assert caught.value.cause.isprintable()
    assert "secret" not in caught.value.cause


def test_an_ssh_address_is_shown_as_it_is_to_be_typed(store: Store) -> None:
    assert Remote("ssh://git:w0rd@hub:22/srv/c.git", store).shown == "ssh://git@hub:22/srv/c.git"
    assert Remote("https://token@hub/c.git", store).shown == "https://hub/c.git"


def test_hooks_of_a_fillerare_not_run(store: Store, base: Base, there: Path, tmp_path: Path) -> None:
    hook = refuse_pushes(there, "no")
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    Remote(str(there), store).push_base(base.project, base.commit)
    assert len(refs(there)) == 1
    assert not (tmp_path / "ran").exists()


def test_a_ref_that_is_checked_out_there_runs_no_filter(store: Store, base: Base, tmp_path: Path) -> None:
    there = tmp_path / "theirs"
    git("init", "--quiet", "--template=", "--", there)
    for name, value in {
        "receive.denyCurrentBranch": "updateInstead",
        "filter.x.smudge": f"touch {tmp_path}/ran",
    }.items():
        git("config", name, value, git_dir=there / ".git")
    (there / ".git/info").mkdir()
    (there / ".git/info/attributes").write_text("* filter=x\n")
    (there / ".git/HEAD").write_text(f"ref: refs/dreamdock/{base.project}/base/{base.commit}\n")
    Remote(str(there), store).push_base(base.project, base.commit)
    assert not (tmp_path / "ran").exists()
    assert [item.name for item in there.iterdir()] == [".git"]


def test_one_that_says_nothing_is_given_up_when_asked_to(store: Store, base: Base) -> None:
    with silent() as url:
        remote = Remote(url, store)
        threading.Timer(0.5, remote.kill).start()
        began = time.monotonic()
        with pytest.raises(RemoteUnavailable):
            remote.push_base(base.project, base.commit)
        assert time.monotonic() - began < 5
        with pytest.raises(RemoteUnavailable):
            remote.where(base.project)


@pytest.mark.parametrize("gone", ["missing", "no repository", "nobody listens", "read-only"])
def test_one_that_is_none_is_told_of(gone: str, store: Store, base: Base, tmp_path: Path) -> None:
    url = {"missing": str(tmp_path / "nowhere.git"), "nobody listens": "git://127.0.0.1:1/x.git"}.get(gone, "")
    if gone == "no repository":
        (tmp_path / "plain").mkdir()
        url = str(tmp_path / "plain")
    if gone == "read-only":
        bare(tmp_path / "ro/x.git", "daemon.receivepack=false")
        with daemon(tmp_path / "ro") as address, pytest.raises(RemoteUnavailable) as caught:
            Remote(f"{address}/x.git", store).push_base(base.project, base.commit)
    else:
        with pytest.raises(RemoteUnavailable) as caught:
            Remote(url, store).push_base(base.project, base.commit)
    assert caught.value.cause
    assert caught.value.hint


def test_a_full_remote_takes_it_once_there_is_room(store: Store, base: Base, small_disk: SmallDisk) -> None:
    disk = small_disk("2m")
    path = bare(disk / "x.git")
    (disk / "filler").write_bytes(bytes(1_700_000))
    remote, steps = Remote(str(path), store), Steps(store, base)

    def fill_up() -> None:
        for number in range(40):
            take(store, base, steps, number.to_bytes(2) * 40_000)
            remote.push_run(base.project, RUN, overwrite=never)
            (disk / f"filler{number}").write_bytes(bytes(20_000))

    with pytest.raises((RemoteUnavailable, WorkspaceError)) as caught:
        fill_up()
    assert caught.value.cause
    for filler in disk.glob("filler*"):
        filler.unlink()
    remote.push_run(base.project, RUN, overwrite=mine)
    assert remote.where(base.project)[RUN] == packs.tip(steps.git_dir, RUN)


def test_a_stores_id_is_its_own_and_stays(store: Store, other: Store) -> None:
    assert store.id == store.id != other.id
    assert Store(store.root).id == store.id
    assert len(store.id) == 12
    assert OTHER not in {store.id, other.id}


@pytest.mark.parametrize("kind", ["path", "git", "http"])
def test_a_trial_leaves_nothing_behind(kind: str, store: Store, there: Path) -> None:
    with served(kind, there) as url:
        Remote(url, store).try_out()
    assert refs(there) == {}
    assert store.projects() == []


def test_a_fetch_brings_no_more_than_it_may(store: Store, other: Store, base: Base, there: Path) -> None:
    take(store, base, Steps(store, base), os.urandom(3_000_000))
    remote = Remote(str(there), store)
    remote.push_base(base.project, base.commit)
    remote.push_run(base.project, RUN, overwrite=never)
    with pytest.raises(RemoteUnavailable):
        Remote(str(there), other, most_bytes=1_000_000).fetch_run(base.project, RUN, base.commit)
    assert other.projects() == []
    assert Remote(str(there), other, most_bytes=10_000_000).fetch_run(base.project, RUN, base.commit)


@pytest.mark.parametrize(("login", "told"), [("ann:p%40ss:w0rd", b"ann:p@ss:w0rd"), ("ghp_w0rd", b"ghp_w0rd:")])
def test_a_login_reaches_the_server_and_no_command_line(login: str, told: bytes, store: Store, base: Base) -> None:
    heard: list[bytes] = []
    commands: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            for _ in range(2):
                link, _peer = listener.accept()
                with link:
                    heard.append(link.recv(10_000))
                    for path in Path("/proc").glob("[0-9]*/cmdline"):
                        with suppress(OSError):
                            commands.append(path.read_bytes())
                    link.sendall(b'HTTP/1.0 401 No\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n')

        server = threading.Thread(target=answer, daemon=True)
        server.start()
        with pytest.raises(RemoteUnavailable) as caught:
            Remote(f"http://{login}@{address}/r.git", store).push_base(base.project, base.commit)
        server.join(10)
    assert b64encode(told) in heard[1], "a name alone may be a token"
    asked = [line for line in commands if b"git" in line and address.encode() in line]
    assert any(b"remote-http" in line for line in asked)
    assert not any(b"w0rd" in line for line in asked)
    assert "w0rd" not in caught.value.cause


def test_two_pushes_at_once_leave_the_one_that_was_seen_last(store: Store, base: Base, there: Path) -> None:
    steps = Steps(store, base)
    take(store, base, steps, b"one")
    remotes = [Remote(str(there), store) for _ in range(4)]
    failed: list[Exception] = []

    def push(remote: Remote) -> None:
        try:
            remote.push_run(base.project, RUN, overwrite=never)
        except RemoteUnavailable as error:
            failed.append(error)

    threads = [threading.Thread(target=push, args=(remote,)) for remote in remotes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failed) < len(remotes)
    assert remotes[0].where(base.project)[RUN] == packs.tip(steps.git_dir, RUN)
