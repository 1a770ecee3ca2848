"""A library on several hosts: nothing that anybody wrote is lost, and a remote that fails harms nothing."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError, UnavailableError
from orchestrator.library.entry import Entry, EntryKind, Evidence, Scope, Status
from orchestrator.library.merging import united
from orchestrator.library.sharing import share
from orchestrator.library.shelf import LibraryError, Shelf

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "0123456789ab"


def entry(name: str, text: str = "It is so.", **fields: object) -> Entry:
    said = {"id": name, "kind": EntryKind.FACT, "scope": Scope.REPO, "scope_id": PROJECT, "title": name, "text": text}
    return Entry.model_validate({**said, **fields})


def by_id(shelf: Shelf) -> dict[str, Entry]:
    return {one.id: one for one in shelf.entries()}


@pytest.fixture
def remote(tmp_path: Path) -> str:
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "remote.git"], check=True)
    return str(tmp_path / "remote.git")


@pytest.fixture
def hosts(tmp_path: Path, remote: str) -> tuple[Shelf, Shelf]:
    one, other = Shelf(tmp_path / "one"), Shelf(tmp_path / "other")
    one.put(entry("first", evidence=[Evidence(run="r0", step=1)], uses=1), message="First")
    assert share(one, remote).pushed
    assert share(other, remote).pulled
    return one, other


def test_what_one_writes_the_other_reads(hosts: tuple[Shelf, Shelf], remote: str) -> None:
    one, other = hosts
    assert by_id(other) == by_id(one)
    assert (other.root / f"repo/{PROJECT}/first.md").is_file()
    other.put(entry("second"), message="Second")
    assert share(other, remote).pushed
    assert share(one, remote).pulled
    assert set(by_id(one)) == {"first", "second"}
    assert not any(share(one, remote))


def test_both_changed_the_same_entry(hosts: tuple[Shelf, Shelf], remote: str) -> None:
    one, other = hosts
    for shelf, run, text in ((one, "r1", "It is red."), (other, "r2", "It is blue.")):
        known = by_id(shelf)["first"]
        proof = (*known.evidence, Evidence(run=run, step=2))
        shelf.put(known.changed(text=text, evidence=proof, uses=known.uses + 2), message="Change")
    share(one, remote)
    assert share(other, remote).merged
    share(one, remote)
    assert by_id(one) == by_id(other)
    first, lost = by_id(one)["first"], next(item for item in by_id(one).values() if item.id != "first")
    assert {proof.run for proof in first.evidence} == {"r0", "r1", "r2"}
    assert first.uses == 5
    assert {first.text, lost.text} == {"It is red.", "It is blue."}
    assert lost.status is Status.SUPERSEDED
    assert first.supersedes == (lost.id,)


def test_two_libraries_that_began_apart_become_one(tmp_path: Path, remote: str) -> None:
    one, other = Shelf(tmp_path / "one"), Shelf(tmp_path / "other")
    one.put(entry("same", "one"), entry("mine"), message="Begin")
    other.put(entry("same", "other"), entry("yours"), message="Begin")
    share(one, remote)
    share(other, remote)
    share(one, remote)
    assert by_id(one) == by_id(other)
    assert {"same", "mine", "yours"} < set(by_id(one))
    assert {"one", "other"} <= {item.text for item in by_id(one).values()}


def test_a_page_that_cant_be_read_is_kept_where_both_changed_it(hosts: tuple[Shelf, Shelf], remote: str) -> None:
    one, other = hosts
    (one.root / f"repo/{PROJECT}/first.md").write_text("no front matter, but work of an hour\n")
    known = by_id(other)["first"]
    other.put(known.changed(text="It is new."), message="Change")
    share(other, remote)
    share(one, remote)
    assert by_id(one)["first"].text == "It is new."
    assert [file.read_text() for file in (one.root / "set-aside").iterdir()] == [
        "no front matter, but work of an hour\n"
    ]


def test_a_deleted_page_stays_where_the_other_changed_it(hosts: tuple[Shelf, Shelf], remote: str) -> None:
    one, other = hosts
    (one.root / f"repo/{PROJECT}/first.md").unlink()
    other.put(by_id(other)["first"].changed(text="It is new."), message="Change")
    share(other, remote)
    share(one, remote)
    assert by_id(one)["first"].text == "It is new."


def test_a_remote_that_is_gone(hosts: tuple[Shelf, Shelf], tmp_path: Path) -> None:
    one, _ = hosts
    before = one.head(), by_id(one)
    with pytest.raises(UnavailableError) as caught:
        share(one, str(tmp_path / "nowhere.git"))
    assert "does not appear to be a git repository" in caught.value.cause
    assert (one.head(), by_id(one)) == before


def test_a_remote_that_refuses(hosts: tuple[Shelf, Shelf], remote: str) -> None:
    one, _ = hosts
    one.put(entry("more"), message="More")
    subprocess.run(["git", "-C", remote, "config", "receive.denyDeletes", "true"], check=True)
    subprocess.run(["git", "-C", remote, "config", "transfer.hideRefs", "refs/heads/main"], check=True)
    with pytest.raises(UnavailableError):
        share(one, remote)
    assert set(by_id(one)) == {"first", "more"}
    subprocess.run(["git", "-C", remote, "config", "--unset", "transfer.hideRefs"], check=True)
    assert share(one, remote).pushed


def test_a_remote_that_hangs(hosts: tuple[Shelf, Shelf]) -> None:
    one, _ = hosts
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []
        thread = threading.Thread(target=lambda: held.append(server.accept()[0]))
        thread.start()
        began = time.monotonic()
        with pytest.raises(UnavailableError) as caught:
            share(one, f"http://127.0.0.1:{server.getsockname()[1]}/r.git", timeout_s=2)
        thread.join()
        held[0].close()
    assert "took too long" in str(caught.value) or "no end after" in caught.value.cause
    assert time.monotonic() - began < 20
    assert set(by_id(one)) == {"first"}


def test_an_address_with_a_password_is_refused(hosts: tuple[Shelf, Shelf]) -> None:
    with pytest.raises(ConfigError) as caught:
        share(hosts[0], "https://me:hunter22@localhost/r.git")
    assert "hunter22" not in str(caught.value)


def test_hooks_of_a_remote_on_this_disk_are_not_run(hosts: tuple[Shelf, Shelf], remote: str, tmp_path: Path) -> None:
    one, _ = hosts
    hook = tmp_path / "remote.git/hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    one.put(entry("more"), message="More")
    assert share(one, remote).pushed
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT"])
def test_a_remote_that_names_a_way_out_is_not_taken(hosts: tuple[Shelf, Shelf], remote: str, name: bytes) -> None:
    def made(kind: str, data: bytes) -> str:
        command = ["git", "-C", remote, "hash-object", "-t", kind, "-w", "--literally", "--stdin"]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout.decode().strip()

    one, _ = hosts
    page = made("blob", b"---\nkind: fact\n---\nEvil.\n")
    inner = made("tree", b"100644 e00.md\0" + bytes.fromhex(page))
    tree = made("tree", b"40000 " + name + b"\0" + bytes.fromhex(inner))
    who = "A <a@localhost> 1700000000 +0000"
    commit = made("commit", f"tree {tree}\nparent {one.head()}\nauthor {who}\ncommitter {who}\n\nEvil\n".encode())
    subprocess.run(["git", "-C", remote, "update-ref", "refs/heads/main", commit], check=True)
    before = one.head(), by_id(one)
    with pytest.raises(LibraryError):
        share(one, remote)
    assert (one.head(), by_id(one)) == before
    assert not (one.root.parent / "e00.md").exists()


NAMES = ("a00", "b00", "c00")
CHANGE = st.tuples(
    st.sampled_from(("one", "other")),
    st.sampled_from(("write", "use", "delete", "spoil", "share")),
    st.sampled_from(NAMES),
    st.integers(0, 5),
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(CHANGE, min_size=2, max_size=10))
def test_whatever_two_hosts_do_nothing_is_lost(  # One branch for each thing that a host can do.
    changes: list[tuple[str, str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("hosts")
    remote = str(root / "remote.git")
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    hosts = {name: Shelf(root / name) for name in ("one", "other")}
    proofs: set[tuple[str, str]] = set()
    gone: set[str] = set()
    uses = dict.fromkeys(NAMES, 0)
    for number, (host, what, name, _) in enumerate(changes):
        shelf = hosts[host]
        known = by_id(shelf).get(name)
        page = shelf.root / f"repo/{PROJECT}/{name}.md"
        if what == "share":
            share(shelf, remote)
        elif what == "write":
            run, text = f"run{number}", f"{host} says {number}"
            told = known.evidence if known else ()
            proof = (*told, Evidence(run=run, step=number))
            shelf.put(
                known.changed(text=text, evidence=proof) if known else entry(name, text, evidence=proof),
                message="Write",
            )
            proofs.add((name, run))
        elif what == "use" and known:
            shelf.put(known.changed(uses=known.uses + 1), message="Use")
            uses[name] += 1
        elif what == "delete" and page.is_file():
            page.unlink()
            gone.add(name)
        elif what == "spoil" and page.is_file():
            page.write_text("<<<<<<< here\n=======\n>>>>>>> there\n")
            gone.add(name)
    for shelf in (*hosts.values(), *hosts.values()):
        share(shelf, remote)
    one, other = (by_id(shelf) for shelf in hosts.values())
    assert one == other
    there = {(item.id, proof.run) for item in one.values() for proof in item.evidence}
    assert {pair for pair in proofs if pair[0] not in gone} <= there
    assert {name for name, _ in proofs if name not in gone} <= set(one)
    for name, count in uses.items():
        if name in one and name not in gone:
            assert one[name].uses == count


def test_merging_twice_or_the_other_way_round_says_the_same() -> None:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    base = entry("e00", "base", evidence=[Evidence(run="r0")], uses=3, updated=when)
    ours = base.changed(text="ours", uses=5, confidence=0.5, updated=when + timedelta(days=1))
    theirs = base.changed(text="theirs", uses=4, status=Status.STALE, updated=when + timedelta(days=2))
    one = united(base, ours, theirs, ours_at=when, theirs_at=when)
    other = united(base, theirs, ours, ours_at=when, theirs_at=when)
    assert one == other
    assert (one[0].text, one[0].uses, one[0].status, one[0].confidence) == ("theirs", 6, Status.STALE, 0.5)
    assert united(base, one[0], ours, ours_at=when, theirs_at=when)[0].text == "theirs"
