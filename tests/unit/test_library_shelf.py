"""The library on disk: programs and people write at once, some are killed, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from orchestrator.library.entry import Entry, EntryKind, Evidence, Origin, Scope, Status
from orchestrator.library.shelf import LibraryError, Shelf

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = "0123456789ab"
WRITER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from orchestrator.library.entry import Entry
    from orchestrator.library.shelf import Shelf

    shelf, who, count, each = Shelf(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    print("ready", flush=True)
    for number in range(count):
        entries = (
            Entry(id=f"{who}-{number}-{part}", kind="fact", scope="repo", scope_id="0123456789ab", title="t")
            for part in range(each)
        )
        shelf.put(*entries, message=f"{who} {number}")
        since = shelf.head()
        known = next((one for one in shelf.entries(since) if one.id == "shared"), None)
        if known:
            shelf.put(known.changed(uses=known.uses + 1), message="Use", since=since)
    """
)


def entry(name: str, text: str = "It is so.", **fields: object) -> Entry:
    said = {"id": name, "kind": EntryKind.FACT, "scope": Scope.REPO, "scope_id": PROJECT, "title": name, "text": text}
    return Entry.model_validate({**said, **fields})


def by_id(shelf: Shelf) -> dict[str, Entry]:
    return {one.id: one for one in shelf.entries()}


def git(shelf: Shelf, *args: str, check: bool = True) -> str:
    plain = ("-c", "user.name=Ann", "-c", "user.email=ann@localhost")
    done = subprocess.run(["git", *plain, "-C", shelf.root, *args], capture_output=True, text=True, check=check)
    return done.stdout


def writer(shelf: Shelf, who: str, count: int, each: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(shelf.root), who, str(count), str(each)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "library", person="Ann <ann@localhost>")


@pytest.fixture
def folder(shelf: Shelf) -> Path:
    shelf.put(entry("first"), message="First")
    return shelf.root / "repo" / PROJECT


def test_a_library_that_isnt_there_has_nothing(shelf: Shelf) -> None:
    assert (shelf.head(), shelf.entries(), shelf.problems(), shelf.adopt()) == ("", [], [], "")
    assert not shelf.root.exists()


def test_a_put_is_one_commit_that_git_finds_clean(shelf: Shelf) -> None:
    shelf.put(entry("first"), entry("second"), message="Two at once")
    shelf.put(entry("third"), message="One more")
    assert set(by_id(shelf)) == {"first", "second", "third"}
    assert git(shelf, "log", "--format=%s").split("\n")[:2] == ["One more", "Two at once"]
    assert git(shelf, "status", "--porcelain") == ""
    assert git(shelf, "fsck", "--strict", "--no-dangling") == ""
    head = shelf.head()
    assert shelf.put(by_id(shelf)["third"], message="Nothing new") == head


def test_secrets_are_left_out_before_a_write(shelf: Shelf) -> None:
    key = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    shelf.put(entry("first", f"Use {key}."), message="First")
    (shelf.root / f"repo/{PROJECT}/mine.md").write_text(f"---\nkind: fact\n---\nMy key is {key}\n")
    shelf.adopt()
    assert "[redacted]" in by_id(shelf)["first"].text
    assert key not in by_id(shelf)["mine"].text
    assert key not in git(shelf, "log", "-p", "--all")
    assert key not in (shelf.root / f"repo/{PROJECT}/mine.md").read_text()


def test_what_people_change_becomes_their_commit(shelf: Shelf, folder: Path) -> None:
    page = folder / "first.md"
    page.write_text(page.read_text().replace("It is so.", "It is otherwise."))
    (folder / "mine.md").write_text("---\nkind: pitfall\n---\nTests need Redis.\n")
    shelf.put(entry("second"), message="Second")
    assert by_id(shelf)["first"].text == "It is otherwise."
    assert set(by_id(shelf)) == {"first", "second", "mine"}
    assert git(shelf, "log", "--format=%an %s").splitlines()[:2] == ["DreamDock Second", "Ann Edit by hand"]
    assert git(shelf, "status", "--porcelain") == ""
    page.unlink()
    shelf.adopt()
    assert "first" not in by_id(shelf)


def test_a_malformed_page_is_set_aside_and_told_with_its_line(shelf: Shelf, folder: Path) -> None:
    (folder / "first.md").write_text("---\nkind: fact\nkind: api\n---\nWork of an hour.\n")
    (folder / "nested").mkdir()
    (folder / "nested/deep.md").write_text("---\nkind: fact\n---\n")
    (shelf.root / "repo" / "fedcba987654").mkdir()
    (shelf.root / "repo/fedcba987654/moved.md").write_text(f"---\nkind: fact\nscope_id: {PROJECT}\n---\nx\n")
    (shelf.root / "README.md").write_text("Ours.\n")
    shelf.put(entry("second"), message="Second")
    assert set(by_id(shelf)) == {"second"}
    told = {(problem.file, problem.line) for problem in shelf.problems()}
    assert told == {
        (f"repo/{PROJECT}/first.md", 3),
        (f"repo/{PROJECT}/nested/deep.md", 1),
        ("repo/fedcba987654/moved.md", 3),
    }
    assert "Work of an hour." in (folder / "first.md").read_text()


def test_links_are_never_followed(shelf: Shelf, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("---\nkind: fact\n---\nA secret of the host.\n")
    (folder / "link.md").symlink_to(secret)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/e00.md").write_text(secret.read_text())
    (shelf.root / "team").mkdir()
    (shelf.root / "team/red").symlink_to(tmp_path / "elsewhere")
    shelf.adopt()
    assert set(by_id(shelf)) == {"first"}
    assert "no plain file" in shelf.problems()[0].reason
    shelf.put(entry("link", "Ours now."), message="Over the link")
    assert secret.read_text().endswith("A secret of the host.\n")
    assert by_id(shelf)["link"].text == "Ours now."
    shelf.put(entry("e00", scope=Scope.TEAM, scope_id="red"), message="Where a link was")
    assert (tmp_path / "elsewhere/e00.md").read_text() == secret.read_text()
    assert {one.scope for one in shelf.entries()} == {Scope.REPO, Scope.TEAM}


def test_an_entry_changed_since_it_was_read_is_merged(shelf: Shelf, folder: Path) -> None:
    assert folder.is_dir()
    since, known = shelf.head(), by_id(shelf)["first"]
    shelf.put(known.changed(uses=1, evidence=[Evidence(run="r1")]), message="One", since=since)
    shelf.put(known.changed(uses=1, text="It is new.", evidence=[Evidence(run="r2")]), message="Other", since=since)
    first = by_id(shelf)["first"]
    assert (first.uses, first.text, {proof.run for proof in first.evidence}) == (2, "It is new.", {"r1", "r2"})


def test_text_of_tools_is_locked_up_until_somebody_lets_it_out(shelf: Shelf) -> None:
    shelf.put(entry("first", origin=Origin.TOOL, status=Status.ACTIVE), message="First")
    first = by_id(shelf)["first"]
    assert first.status is Status.QUARANTINED
    shelf.put(first.changed(status=Status.ACTIVE), message="Approve")
    assert by_id(shelf)["first"].status is Status.ACTIVE
    shelf.put(by_id(shelf)["first"].changed(text="Push to main."), message="Change")
    assert by_id(shelf)["first"].status is Status.QUARANTINED


def test_two_processes_write_at_once(shelf: Shelf) -> None:
    shelf.put(entry("shared"), message="Shared")
    writers = [writer(shelf, who, 8) for who in ("one", "two")]
    for number in range(4):
        (shelf.root / f"repo/{PROJECT}/hand{number}.md").write_text("---\nkind: fact\n---\nBy hand.\n")
        time.sleep(0.2)
    assert [process.communicate(timeout=120) and process.returncode for process in writers] == [0, 0]
    shelf.adopt()
    names = {f"{who}-{number}-0" for who in ("one", "two") for number in range(8)}
    assert set(by_id(shelf)) == names | {"shared"} | {f"hand{number}" for number in range(4)}
    assert by_id(shelf)["shared"].uses == 16
    assert git(shelf, "status", "--porcelain") == ""


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_leaves_the_library_as_before_or_after(shelf: Shelf, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  # The same each time.
    shelf.put(entry("first"), message="First")
    process = writer(shelf, "killed", 1000, each=5)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(dice.uniform(0.05, 0.6))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    time.sleep(0.5)  # A git that it had started may be about to end.
    before = by_id(shelf)
    assert (len(before) - 1) % 5 == 0
    page = shelf.root / f"repo/{PROJECT}/first.md"
    page.write_text(page.read_text().replace("It is so.", "A person's words."))
    shelf.put(entry("last"), message="Last")
    after = by_id(shelf)
    assert set(after) == {*before, "last"}
    assert after["first"].text == "A person's words."
    assert shelf.problems() == []
    assert git(shelf, "status", "--porcelain") == ""
    assert "Edit by hand" in git(shelf, "log", "--format=%s")
    assert git(shelf, "fsck", "--strict", "--no-dangling", "--connectivity-only") == ""


def test_a_merge_under_way_is_the_persons(shelf: Shelf, folder: Path) -> None:
    page, main = folder / "first.md", git(shelf, "rev-parse", "HEAD").strip()
    for branch, text in (("theirs", "Theirs."), ("main", "Ours.")):
        git(shelf, "checkout", "-q", "-B", branch, main)
        page.write_text(page.read_text().replace("It is so.", text))
        git(shelf, "commit", "-qam", text)
    git(shelf, "merge", "theirs", check=False)
    assert "<<<<<<<" in page.read_text()
    before = shelf.head(), page.read_text()
    with pytest.raises(LibraryError) as caught:
        shelf.put(entry("second"), message="Second")
    assert "MERGE_HEAD" in caught.value.cause
    assert (shelf.head(), page.read_text()) == before
    assert by_id(shelf)["first"].text == "Ours."
    git(shelf, "commit", "-qam", "With markers")
    shelf.put(entry("second"), message="Second")
    assert set(by_id(shelf)) == {"second"}
    assert "both sides" in shelf.problems()[0].reason


def test_another_branch_is_not_written_to(shelf: Shelf, folder: Path) -> None:
    git(shelf, "checkout", "-q", "-b", "trial")
    with pytest.raises(LibraryError) as caught:
        shelf.put(entry("second"), message="Second")
    assert "refs/heads/trial" in caught.value.cause
    assert (folder / "first.md").is_file()


def test_what_people_commit_themselves_is_taken(shelf: Shelf, folder: Path) -> None:
    (folder / "mine.md").write_text("---\nkind: fact\n---\nMine.\n")
    git(shelf, "add", "-A")
    git(shelf, "commit", "-qm", "Mine")
    shelf.put(entry("second"), message="Second")
    assert set(by_id(shelf)) == {"first", "mine", "second"}
    assert git(shelf, "log", "--format=%s").splitlines() == ["Second", "Mine", "First"]


def test_broken_bookkeeping_is_made_again(shelf: Shelf, folder: Path) -> None:
    (shelf.git_dir / "dreamdock.index").write_bytes(b"junk")
    (shelf.git_dir / "dreamdock.index.lock").write_bytes(b"")
    (folder / "mine.md").write_text("---\nkind: fact\n---\nMine.\n")
    shelf.put(entry("second"), message="Second")
    assert set(by_id(shelf)) == {"first", "mine", "second"}


def test_nothing_that_lies_in_the_library_is_run(shelf: Shelf, folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    trap.chmod(0o755)
    (shelf.git_dir / "hooks").mkdir(exist_ok=True)
    for hook in ("pre-commit", "post-checkout", "post-index-change", "reference-transaction"):
        (shelf.git_dir / "hooks" / hook).symlink_to(trap)
    git(shelf, "config", "filter.trap.clean", str(trap))
    git(shelf, "config", "filter.trap.smudge", str(trap))
    git(shelf, "config", "core.fsmonitor", str(trap))
    (shelf.root / ".gitattributes").write_text("* filter=trap text eol=crlf\n")
    (folder / "mine.md").write_text("---\nkind: fact\n---\nMine.\n")
    shelf.put(entry("second"), message="Second")
    assert not (tmp_path / "ran").exists()
    assert b"\r" not in (folder / "second.md").read_bytes()


def test_a_repository_that_is_broken_says_so(shelf: Shelf, folder: Path) -> None:
    assert folder.is_dir()
    for pack in (shelf.git_dir / "objects/pack").iterdir():
        pack.unlink()
    with pytest.raises(LibraryError) as caught:
        shelf.put(entry("second"), message="Second")
    assert str(shelf.root) in caught.value.message
    assert "fsck" in caught.value.hint


def test_many_writes_dont_leave_many_packs(shelf: Shelf) -> None:
    for number in range(60):
        shelf.put(entry(f"e{number:02}"), message="One")
    assert len(list((shelf.git_dir / "objects/pack").glob("*.pack"))) < 55
    assert len(by_id(shelf)) == 60
