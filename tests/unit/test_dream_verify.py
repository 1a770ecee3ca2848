"""What of the library still holds, by real repositories; commands are tried by a table of how they end."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from repos import Repo

from orchestrator.dream.batch import Action, Batch
from orchestrator.dream.commands import MOST, Holds, Tried, in_turn
from orchestrator.dream.verifier import Verifier
from orchestrator.dream.verify import CONFIRMED, DOUBTED, verify
from orchestrator.library.entry import Entry, EntryKind, Evidence, Origin, Scope, SeenPath, Status
from orchestrator.stop import Stop, Stopped
from sandbox.errors import ChannelLost, EngineUnavailable, ImageMissing, SandboxError
from sandbox.spec import CommandResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.dream.sealed import Box

PROJECT = "0123456789ab"
LONG = "".join(f"line {number} of a file that is long enough to be known again\n" for number in range(30))
EARLY, LATE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def entry(name: str = "e1x", **fields: Any) -> Entry:
    known = {"kind": EntryKind.FACT, "scope": Scope.REPO, "scope_id": PROJECT, "title": "so it is"}
    return Entry(**{"id": name, **known, "origin": Origin.AGENT, "confidence": 0.6, **fields})


def seen(*paths: str, at: str) -> tuple[SeenPath, ...]:
    return tuple(SeenPath(path=path, commit=at) for path in paths)


def batch_of(*entries: Entry) -> Batch:
    return Batch({one.id: one for one in entries})


def removed(repo: Repo, *paths: str) -> str:
    repo.git("rm", "-q", "--", *paths)
    return repo.commit()


def at_head(repo: Repo, sealing: Any = None, *, head: str = "", seconds: float = 600.0) -> Verifier:
    return Verifier(
        git_dir=repo.path / ".git",
        head=head or repo.git("rev-parse", "HEAD"),
        sealing=sealing,
        command_seconds=300.0,
        until=time.monotonic() + seconds,
    )


class Table:
    """Boxes in which each command ends as the table says: an exit code, `hangs`, or an error; counts them."""

    def __init__(self, **ends: Any) -> None:
        self.ends = {name.replace("_", " "): end for name, end in ends.items()}
        self.ran: list[str] = []
        self.unready: SandboxError | None = None

    @contextmanager
    def ready(self, stop: Stop, seconds: float) -> Iterator[Callable[[], Any]]:
        stop.check()
        assert seconds > 0
        if self.unready is not None:
            raise self.unready
        yield self._fresh

    @contextmanager
    def _fresh(self) -> Iterator[Box]:
        yield self

    def run(self, command: str, *, timeout_s: float | None = None) -> CommandResult:
        assert timeout_s
        assert timeout_s <= 300
        self.ran.append(command)
        end = self.ends[command]
        if isinstance(end, list):
            end = end.pop(0)
        if isinstance(end, Exception):
            raise end
        hangs, code = end == "hangs", end if isinstance(end, int) else None
        output = b"some lines\nAssertionError: no\n\n" if code else b""
        told = {"signal": None if code is not None else 9, "total_bytes": 0, "duration_s": 0.1, "cwd": "/workspace"}
        return CommandResult(exit_code=code, timed_out=hangs, output=output, **told)


def test_a_renamed_file_takes_its_new_name_and_the_head(repo: Repo) -> None:
    start = repo.commit({"conf.py": LONG})
    repo.git("mv", "conf.py", "settings.py")
    head = repo.commit()
    proof = (Evidence(run="r1", step=3, commit=start),)
    given = entry(paths=seen("conf.py", at=start), evidence=proof)
    found = verify(batch_of(given), at_head(repo))
    assert found.entries["e1x"] == given.changed(paths=seen("settings.py", at=head))
    (change,) = found.changes
    assert (change.action, change.why) == (Action.MOVED, "conf.py is settings.py now")
    assert verify(Batch(found.entries), at_head(repo)) == Batch(found.entries), "once more changes nothing"


def test_one_that_is_there_costs_nothing_and_changes_nothing(repo: Repo) -> None:
    repo.commit({"a.py": LONG})
    given = batch_of(entry(paths=seen("a.py", at="0" * 40)), entry("e2x"), entry("e3x", paths=seen("a.py", at="")))
    assert verify(given, at_head(repo)) == given, "where it was seen isn't even looked at"


def test_files_that_are_gone_make_it_stale_and_one_of_several_only_goes(repo: Repo) -> None:
    start = repo.commit({"a.py": LONG, "b.py": LONG.upper(), "c.py": "c", "lib/d.py": LONG.title(), "e.py": "stays"})
    head = removed(repo, "a.py", "b.py", "lib/d.py")
    repo.commit({"other/d.py": "something else\n"})
    away = entry("away", paths=seen("a.py", "b.py", at=start), status=Status.ACTIVE)
    part = entry("part", paths=seen("a.py", "e.py", at=start))
    near = entry("near", paths=seen("lib/d.py", at=start))
    found = verify(batch_of(away, part, near), at_head(repo))
    assert found.entries["away"] == away.changed(status=Status.STALE), "its paths stay: they may come back"
    assert found.entries["part"] == part.changed(paths=seen("e.py", at=start))
    assert found.entries["near"].status is Status.STALE
    told = {change.entry: (change.action, change.why) for change in found.changes}
    assert told == {
        "away": (Action.STALE, "its files are gone: a.py, b.py"),
        "part": (Action.MOVED, "gone: a.py"),
        "near": (Action.STALE, "its files are gone: lib/d.py (perhaps other/d.py)"),
    }
    assert found.notes == ()
    assert verify(Batch(found.entries), at_head(repo)) == Batch(found.entries)
    repo.git("checkout", "-q", start, "--", "a.py")
    repo.commit()
    back = verify(Batch(found.entries), at_head(repo))
    assert back.entries["away"] == away.changed(paths=seen("a.py", at=start), status=Status.UNVERIFIED)
    assert [change.action for change in back.changes] == [Action.MOVED, Action.CONFIRMED]
    assert verify(Batch(back.entries), at_head(repo, head=head)).entries["away"].status is Status.STALE


def test_what_a_run_made_and_nobody_merged_is_not_gone(repo: Repo) -> None:
    base = repo.commit({"a.py": "a"})
    repo.git("checkout", "-q", "--detach")
    checkpoint = repo.commit({"made.py": LONG})
    repo.git("checkout", "-q", "main")
    repo.commit({"a.py": "b"})
    given = entry(paths=seen("made.py", at=checkpoint))
    found = verify(batch_of(given), at_head(repo))
    assert found.entries == {"e1x": given}
    assert found.notes == (
        "not verified, so left as it was: e1x: git didn't tell in time of its files, or they were never merged",
    )
    repo.git("cherry-pick", checkpoint)
    assert verify(batch_of(given), at_head(repo)) == batch_of(given)
    removed(repo, "made.py")
    assert verify(batch_of(given), at_head(repo)).entries["e1x"].status is Status.STALE, "it was there at a later base"
    assert verify(batch_of(given), at_head(repo, head=base)).entries == {"e1x": given}


def test_what_a_run_made_is_followed_once_it_was_merged(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    repo.git("checkout", "-q", "--detach")
    checkpoint = repo.commit({"made.py": LONG})
    repo.git("checkout", "-q", "main")
    repo.git("cherry-pick", checkpoint)
    repo.git("mv", "made.py", "better.py")
    head = repo.commit()
    found = verify(batch_of(entry(paths=seen("made.py", at=checkpoint))), at_head(repo))
    assert found.entries["e1x"].paths == seen("better.py", at=head)


def test_where_a_checkpoint_is_given_up_the_head_of_then_counts(repo: Repo) -> None:
    start = repo.commit({"a.py": LONG, "b.py": LONG.upper()})
    repo.git("mv", "a.py", "moved.py")
    removed(repo, "b.py")
    given = [entry(name, paths=seen(path, at="0" * 40), created=LATE) for name, path in (("e1x", "a.py"), ("e2x", "x"))]
    found = verify(batch_of(*given), at_head(repo))
    assert found.entries == {one.id: one for one in given}, "it was gone by then: it's a file of something else"
    when = datetime.fromisoformat(repo.git("log", "-1", "--format=%cI", start))
    later = Verifier(repo.path / ".git", repo.git("rev-parse", "HEAD"), None, 1.0, time.monotonic() + 60)
    assert later.history.anchor(["0" * 40, ""], EARLY) == ""
    assert later.history.anchor(["0" * 40], LATE) == later.head
    assert later.history.anchor(["0" * 40, start], LATE) == start
    assert later.history.anchor([], when) in {start, later.head}, "commits of one second"


def test_names_of_files_are_no_patterns_and_no_options(repo: Repo) -> None:
    base = repo.commit({"keep": "k"})
    names = [":(glob)*", "-x", "--all", "*", "[k]eep", "umläut file"]
    repo.git("checkout", "-q", "--detach")
    checkpoint = repo.commit(dict.fromkeys(names, LONG))
    repo.git("checkout", "-q", "main")
    repo.commit({"gone": "something"})
    removed(repo, "gone")
    given = batch_of(*(entry(f"e{number}x", paths=seen(name, at=checkpoint)) for number, name in enumerate(names)))
    assert verify(given, at_head(repo)).entries == given.entries, "nobody ever merged them"
    repo.git("cherry-pick", checkpoint)
    repo.git("rm", "-q", "--", *(f":(literal){name}" for name in names))
    repo.commit()
    found = verify(given, at_head(repo))
    assert {one.status for one in found.entries.values()} == {Status.STALE}
    assert verify(given, at_head(repo, head=base)).entries == given.entries


@pytest.mark.parametrize("seen_at", ["0" * 40, "", "beef"])
def test_a_commit_that_is_missing_says_nothing(repo: Repo, seen_at: str) -> None:
    repo.commit({"a.py": LONG})
    removed(repo, "a.py")
    given = entry(paths=seen("a.py", at=seen_at))
    found = verify(batch_of(given), at_head(repo))
    assert (found.entries, found.changes) == ({"e1x": given}, ())
    assert found.notes[0].endswith("never merged")


def test_a_damaged_repository_and_none_say_nothing(repo: Repo, tmp_path: Path) -> None:
    start = repo.commit({"a.py": LONG, "code.py": "def make_client(): pass"})
    removed(repo, "a.py", "code.py")
    head = repo.commit({"b.py": LONG.title()})
    given = batch_of(entry(paths=seen("a.py", at=start)), entry("e2x", title="Use `make_client`", created=EARLY))
    tree = repo.git("rev-parse", f"{start}^{{tree}}")
    (repo.path / ".git/objects" / tree[:2] / tree[2:]).unlink()
    broken = verify(given, at_head(repo, head=head))
    assert broken.entries == given.entries
    nowhere = Verifier(tmp_path / "nowhere", head, None, 1.0, time.monotonic() + 60)
    for found in (verify(given, nowhere), verify(given, None)):
        assert (found.entries, found.changes) == (given.entries, ())
        assert found.notes
    assert verify(Batch(), None) == Batch()


def test_a_shallow_history_says_only_what_it_holds(repo: Repo, tmp_path: Path) -> None:
    old = repo.commit({"a.py": LONG, "b.py": LONG.upper()})
    removed(repo, "a.py")
    recent = repo.commit({"c.py": "c"})
    removed(repo, "b.py")
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=2", f"file://{repo.path}", shallow], check=True)
    there = Verifier(shallow / ".git", repo.git("rev-parse", "HEAD"), None, 1.0, time.monotonic() + 60)
    before, within = entry("e1x", paths=seen("a.py", at=old)), entry("e2x", paths=seen("b.py", at=recent))
    found = verify(batch_of(before, within), there)
    assert found.entries == {"e1x": before, "e2x": within.changed(status=Status.STALE)}


def test_code_that_is_named_and_nowhere_any_more_is_doubted(repo: Repo) -> None:
    start = repo.commit({"a.py": "def make_client(): pass\nclass OldShelf: pass\nkept_name = 1\ndef go(): pass\n"})
    repo.commit({"a.py": "kept_name = 1\nmake_clients = 2\n"})
    proof = (Evidence(run="r1", step=1, commit=start),)
    texts = {
        "gone": "Get it from `make_client()`",
        "class": "`a.OldShelf` has it",
        "kept": "`kept_name` is 1",
        "never": "`never_there` is what `--fixed -e $(x)` and `.*` take, see `a.py` and `go()`",
        "word": "make_client without ticks",
    }
    given = [entry(name, title=text, evidence=proof, status=Status.ACTIVE) for name, text in texts.items()]
    given.append(entry("did", kind=EntryKind.DECISION, title="`OldShelf` goes", evidence=proof))
    given.append(entry("stale", title="`OldShelf`", evidence=proof, status=Status.STALE))
    given.append(entry("data", title="`OldShelf`", evidence=proof, status=Status.QUARANTINED))
    found = verify(batch_of(*given), at_head(repo))
    assert {one.id for one in given if found.entries[one.id] != one} == {"gone", "class"}
    doubted = found.entries["gone"]
    assert (doubted.status, doubted.confidence) == (Status.UNVERIFIED, DOUBTED)
    assert {(change.action, change.why) for change in found.changes} == {
        (Action.DOUBTED, "no longer in the repository: make_client"),
        (Action.DOUBTED, "no longer in the repository: OldShelf"),
    }
    again = verify(Batch(found.entries), at_head(repo))
    assert again == Batch(found.entries)


def test_code_that_only_a_run_ever_had_is_not_doubted(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    repo.git("checkout", "-q", "--detach")
    checkpoint = repo.commit({"a.py": "def brand_new(): pass"})
    repo.git("checkout", "-q", "main")
    repo.commit({"b.py": "b"})
    given = batch_of(entry(title="`brand_new` does it", evidence=(Evidence(run="r1", step=1, commit=checkpoint),)))
    assert verify(given, at_head(repo)) == given


def test_what_passes_is_confirmed_and_what_fails_is_stale(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    table = Table(make_test=0, make_all=2)
    good = entry("good", command="make test", status=Status.UNVERIFIED)
    back = entry("back", command="make test", status=Status.STALE)
    sure = entry("sure", command="make test", status=Status.ACTIVE, confidence=1.0)
    bad = entry("bad", command="make all", confidence=0.8)
    found = verify(batch_of(good, back, sure, bad), at_head(repo, table))
    for given in (good, back):
        assert found.entries[given.id] == given.changed(status=Status.ACTIVE, confidence=CONFIRMED)
    assert found.entries["sure"] == sure
    assert found.entries["bad"] == bad.changed(status=Status.STALE)
    told = {change.entry: (change.action, change.why) for change in found.changes}
    assert told == {
        "good": (Action.CONFIRMED, "its command passes"),
        "back": (Action.CONFIRMED, "its command passes"),
        "bad": (Action.STALE, "its command fails: exit code 2: AssertionError: no"),
    }
    assert table.ran == ["make all", "make all", "make test"], "what fails is tried twice, what several say once"
    assert verify(Batch(found.entries), at_head(repo, table)) == Batch(found.entries)
    assert table.ran[3:] == ["make test", "make all"], "what is known to fail isn't tried twice"


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("hangs", "no end after 300 s"),
        (137, "a signal ended it"),
        (None, "a signal ended it"),
        (127, "the sandbox doesn't have it"),
        ([1, 0], "it fails sometimes: exit code 1"),
        (ChannelLost("the sandbox is gone"), "the sandbox is gone"),
        (EngineUnavailable("the engine doesn't answer", cause="no socket"), "the engine doesn't answer: no socket"),
    ],
)
def test_what_nobody_can_say_changes_nothing_and_is_told(repo: Repo, end: Any, why: str) -> None:
    repo.commit({"a.py": "a"})
    given = batch_of(entry(command="tool x", status=Status.ACTIVE))
    found = verify(given, at_head(repo, Table(tool_x=end)))
    assert (found.entries, found.changes) == (given.entries, ())
    assert f"its command wasn't tried to the end: {why}" in found.notes[0]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("./check.sh -x", Status.STALE),
        ("bash tools/check.sh", Status.STALE),
        ("bash -c check", Status.ACTIVE),
        ("bash", Status.ACTIVE),
        ("/opt/check", Status.ACTIVE),
        ("check", Status.ACTIVE),
    ],
)
def test_what_the_image_lacks_is_told_from_what_the_repository_lacks(repo: Repo, command: str, status: Status) -> None:
    repo.commit({"a.py": "a"})
    table = Table()
    table.ends = {command: 127}
    assert verify(batch_of(entry(command=command)), at_head(repo, table)).entries["e1x"].status is status


def test_where_no_sandbox_can_be_had_all_is_unknown(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    table = Table()
    table.unready = ImageMissing("no image x", cause="built elsewhere")
    given = batch_of(entry("e1x", command="make"), entry("e2x", command="make test"))
    away, off = verify(given, at_head(repo, table)), verify(given, at_head(repo))
    assert away.notes == (
        "not verified, so left as it was: e1x, e2x: its command wasn't tried to the end: no image x: built elsewhere",
    )
    assert "dream.commands is off" in off.notes[0]
    for found in (away, off):
        assert (found.entries, found.changes) == (given.entries, ())


def test_one_lost_sandbox_is_not_the_next_ones_fault_and_a_lost_engine_is_all_of_theirs(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    table = Table(a1=ChannelLost("lost"), a2=0, a3=EngineUnavailable("away"))
    given = batch_of(*(entry(f"e{number}x", command=f"a{number}", confidence=1.0) for number in range(1, 6)))
    found = verify(given, at_head(repo, table))
    assert table.ran == ["a1", "a2", "a3"]
    assert [note.split(": ")[1] for note in found.notes] == ["e1x", "e3x, e4x, e5x"]


def test_which_commands_are_tried_and_in_which_order(repo: Repo) -> None:
    start = repo.commit({"a.py": LONG})
    removed(repo, "a.py")
    names = ("new", "used", "sure", "old", "tool", "wild", "let", "over", "gone", "key")
    table = Table(**dict.fromkeys(names, 0))
    given = [
        entry("e-old", command="old", status=Status.STALE, uses=9),
        entry("e-used", command="used", uses=5),
        entry("e-sure", command="sure", uses=50, confidence=0.9),
        entry("e-new", command="new", status=Status.UNVERIFIED),
        entry("e-tool", command="tool", status=Status.QUARANTINED, origin=Origin.TOOL),
        entry("e-wild", command="wild", status=Status.UNVERIFIED, origin=Origin.WEB),
        entry("e-let", command="let", origin=Origin.REPO),
        entry("e-over", command="over", status=Status.SUPERSEDED),
        entry("e-gone", command="gone", paths=seen("a.py", at=start)),
        entry("e-key", command="key=[redacted] x"),
    ]
    found = verify(batch_of(*given), at_head(repo, table))
    assert table.ran == ["used", "let", "new", "sure", "old"]
    assert found.entries["e-let"].status is Status.ACTIVE, "a person let it in"
    assert found.entries["e-wild"] == given[5]


def test_a_failure_is_not_believed_where_the_work_was_never_merged(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    repo.git("checkout", "-q", "--detach")
    checkpoint = repo.commit({"test_new.py": LONG})
    repo.git("checkout", "-q", "main")
    table = Table()
    table.ends = {"pytest test_new.py": 4}
    given = batch_of(entry(command="pytest test_new.py", paths=seen("test_new.py", at=checkpoint)))
    found = verify(given, at_head(repo, table))
    assert (found.entries, found.changes) == (given.entries, ())


def test_there_is_an_end_to_commands_and_to_time(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    table = Table(**{f"c{number}": 0 for number in range(50)})
    given = batch_of(*(entry(f"e{number:02}x", command=f"c{number}", confidence=1.0) for number in range(50)))
    said: list[tuple[int, int]] = []
    found = verify(given, at_head(repo, table), tell=lambda *told: said.append(told))
    assert len(table.ran) == MOST
    assert said == [(number, MOST) for number in range(MOST)]
    assert f"a dream tries {MOST} commands" in found.notes[0]
    late = verify(given, at_head(repo, Table(), seconds=0))
    assert (late.entries, late.changes) == (given.entries, ())
    assert "the dream's time was up" in late.notes[0]


def test_a_stop_ends_it(repo: Repo) -> None:
    repo.commit({"a.py": "a"})
    stop = Stop()
    table = Table(a=0, b=0)

    def heard(_done: int, _of: int) -> None:
        stop.set("asked")

    with pytest.raises(Stopped):
        verify(batch_of(entry(command="a")), at_head(repo, Killed(table, stop)), stop=stop, tell=heard)


class Killed(Table):
    """Boxes that are gone because of the stop."""

    def __init__(self, table: Table, stop: Stop) -> None:
        super().__init__()
        self.ends, self.stop = table.ends, stop

    def run(self, command: str, *, timeout_s: float | None = None) -> CommandResult:
        super().run(command, timeout_s=timeout_s)
        assert self.stop.is_set
        raise ChannelLost("it was ended on request")


@pytest.mark.parametrize(
    ("ends", "came", "ran"),
    [
        ({"make lint": 0, "make test": 0}, Tried(Holds.YES, "`make test`: it printed nothing"), 2),
        ({"make lint": 0, "make test": 2}, Tried(Holds.NO, "`make test`: exit code 2: AssertionError: no"), 2),
        ({"make lint": 2}, Tried(Holds.NO, "`make lint`: exit code 2: AssertionError: no"), 1),
        ({"make lint": "hangs"}, Tried(Holds.UNKNOWN, "`make lint`: no end after 300 s"), 1),
        ({"make lint": ChannelLost("the sandbox is gone")}, Tried(Holds.UNKNOWN, "the sandbox is gone"), 1),
    ],
)
def test_commands_are_tried_in_one_workspace_in_their_order(
    repo: Repo, ends: dict[str, Any], came: Tried, ran: int
) -> None:
    repo.commit({"a": "a\n"})
    table = Table()
    table.ends = ends
    assert in_turn(("make lint", "make test"), at_head(repo, table), Stop()) == came
    assert len(table.ran) == ran


def test_commands_that_cant_be_tried_in_turn_are_unknown(repo: Repo) -> None:
    repo.commit({"a": "a\n"})
    assert in_turn(("make",), at_head(repo), Stop()).why == "commands aren't tried: dream.commands is off"
    assert in_turn((), at_head(repo, Table()), Stop()) == Tried(Holds.UNKNOWN, "it has no command")
    unready = Table()
    unready.unready = ChannelLost("there is no engine")
    assert in_turn(("make",), at_head(repo, unready), Stop()) == Tried(Holds.UNKNOWN, "there is no engine")
