"""An entry as a page and back; what is no page is refused with its line, whatever it holds."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.library.entry import Entry, EntryKind, Evidence, Origin, Scope, SeenPath, Status, new_id
from orchestrator.library.glance import glance
from orchestrator.library.page import LONGEST, PageError, parse, render
from orchestrator.library.place import known, path_of

LINES = st.text(st.characters(codec="utf-8"), max_size=60).map(lambda text: "".join(filter(str.isprintable, text)))
COMMITS = st.sampled_from(("", "1234567", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "12e4567"))
TIMES = st.none() | st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
ENTRIES = st.builds(
    Entry,
    id=st.from_regex(r"[0-9a-z][0-9a-z-]{2,20}", fullmatch=True),
    kind=st.sampled_from(EntryKind),
    scope=st.sampled_from((Scope.TEAM, Scope.USER)),
    scope_id=st.sampled_from(("red", "ann@host", "1234567", "yes")),
    title=LINES,
    text=st.text(st.characters(codec="utf-8"), max_size=200),
    status=st.sampled_from(Status),
    origin=st.sampled_from(Origin),
    confidence=st.floats(0, 1),
    created=TIMES,
    updated=TIMES,
    uses=st.integers(0, 10**6),
    accepted=st.integers(0, 10**6),
    evidence=st.lists(
        st.builds(
            Evidence, run=st.sampled_from(("0123456789ab", "x", "1e5")), step=st.integers(0, 999), commit=COMMITS
        ),
        max_size=3,
    ),
    paths=st.lists(st.builds(SeenPath, path=LINES.filter(bool), commit=COMMITS), max_size=3),
    supersedes=st.lists(st.from_regex(r"[0-9a-z][0-9a-z-]{2,20}", fullmatch=True), max_size=3),
)


def page(*front: str, text: str = "It is so.") -> str:
    return "\n".join(("---", *front, "---", "", text, ""))


def refused(text: str | bytes, path: str = "team/red/e00.md") -> PageError:
    with pytest.raises(PageError) as caught:
        parse(text, path, known(path))
    return caught.value


@given(entry=ENTRIES)
def test_a_page_gives_its_entry_back_and_stays_the_same(entry: Entry) -> None:
    text = render(entry)
    again = parse(text.encode(), "x", known(path_of(entry)))
    assert again == entry
    assert render(again) == text


@given(entry=ENTRIES)
def test_other_readers_of_yaml_see_the_same(entry: Entry) -> None:
    front = yaml.load(render(entry).split("\n---\n")[0][4:], Loader=yaml.SafeLoader)
    assert front["title"] == entry.title
    assert front["id"] == entry.id
    assert front.get("supersedes", []) == list(entry.supersedes)


def test_what_a_person_writes_needs_no_more_than_its_kind() -> None:
    entry = parse("---\nkind: pitfall\n---\nTests need Redis.\n", "x", known("repo/0123456789ab/redis.md"))
    assert (entry.id, entry.kind, entry.scope_id) == ("redis", "pitfall", "0123456789ab")
    assert (entry.status, entry.origin, entry.text) == (Status.ACTIVE, Origin.PERSON, "Tests need Redis.")


def test_people_write_yaml_in_many_ways() -> None:
    text = (
        "\ufeff---\r\n# mine\r\nkind: 'fact'  # so\r\ntitle: \"a: b\"\r\n"
        "supersedes: [abc, 'de-f']\r\npaths:\r\n- a.py\r\n  - b.py @ 1234567\r\n---\r\nYes.\r\n"
    )
    entry = parse(text, "x", known("team/red/e00.md"))
    assert (entry.title, entry.supersedes, entry.text) == ("a: b", ("abc", "de-f"), "Yes.")
    assert entry.paths == (SeenPath(path="a.py"), SeenPath(path="b.py", commit="1234567"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("no front matter\n", 1, "doesn't begin with ---"),
        ("---\nkind: fact\n", 1, "has no end"),
        (page("title: x"), 3, "kind is missing"),
        (page("kind: fact", "kind: fact"), 3, "twice"),
        (page("kind: fact", "colour: red"), 3, "no field"),
        (page("kind: poem"), 2, "kind"),
        (page("kind: fact", "confidence: 7"), 3, "confidence"),
        (page("kind: fact", "confidence: nan"), 3, "confidence"),
        (page("kind: fact", "created: yesterday"), 3, "created"),
        (page("kind: fact", "created: 0001-01-01T00:00:00+14:00"), 3, "all time"),
        (page("kind: fact", "uses: -1"), 3, "uses"),
        (page("kind: fact", "evidence: yes"), 3, "a list"),
        (page("kind: fact", "evidence:", "  - what I saw"), 3, "evidence is"),
        (page("kind: fact", "title:", "  - a"), 3, "one value"),
        (page("kind: fact", "just words"), 3, "name: value"),
        (page("kind: fact", 'title: "no end'), 3, "quotes"),
        (page("kind: fact", "supersedes: [a, b"), 3, "brackets"),
        (page("kind: fact", "title: &a [*a]"), 3, "can't begin with &"),
        (page("kind: !!python/object/apply:os.system [id]"), 2, "can't begin with !"),
        (page("kind: fact", "title: |", "  more"), 3, "can't begin with |"),
        (page("kind: fact", "title: \u202eevil"), 3, "can't be seen"),
        (page("kind: fact", "scope: repo"), 3, "lies where it would be"),
        (page("kind: fact", "scope_id: blue"), 3, "lies where it would be"),
        (page("kind: fact", "id: other"), 3, "lies where it would be"),
        (page("kind: fact", text="a\0b"), 5, "NUL"),
        (page("kind: fact", text="x" * 30_000), 3, "text"),
        (b"---\nkind: fact\n\xff\n---\n", 3, "UTF-8"),
        (page("<<<<<<< HEAD", "kind: fact", "=======", "kind: api", ">>>>>>> theirs"), 2, "both sides"),
        (page("kind: fact", text="<<<<<<< HEAD\na\n=======\nb\n>>>>>>> theirs"), 5, "both sides"),
    ],
)
def test_what_is_no_page_is_refused_with_its_line(text: str | bytes, line: int, reason: str) -> None:
    error = refused(text)
    assert (error.file, error.line) == ("team/red/e00.md", line)
    assert reason in error.reason


@pytest.mark.parametrize(
    "path",
    [
        "repo/../secrets.md",
        "repo/a/b/c.md",
        "repo/x.md",
        "team/.git/config.md",
        "team/red/UPPER CASE.md",
        "team/red/...md",
        "repo/not-a-project/e00.md",
    ],
)
def test_a_page_lies_only_where_pages_lie(path: str) -> None:
    with pytest.raises(PageError):
        parse(page("kind: fact"), path, known(path))


@pytest.mark.parametrize(
    "text",
    [
        "---\n" + "".join(f"k{n}: v\n" for n in range(1_000_000)) + "---\n",
        "---\n" + "".join(f"key{'a' * n}: v\n" for n in range(30)) + "---\n",
        "---\nkind: fact\nsupersedes:\n" + "  - abc\n" * 100_000 + "---\n",
        "---\na: &a [x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*a, *a, *a, *a, *a, *a]\n" for n in range(9))
        + "---\n",
        "---\ntitle: [" + "[" * 100_000 + "\n---\n",
        "---\ntitle: " + '"\\' * 200_000 + "\n---\n",
        "---\ntitle: " + " #" * 200_000 + "\n---\n",
        "---\npaths: [" + "'a' " * 100_000 + "\n---\n",
        "---\npaths:\n  - " + "a @ " * 100_000 + "\n---\n",
        "x" * (LONGEST + 1),
    ],
)
def test_a_hostile_page_costs_little(text: str) -> None:
    began = time.process_time()
    refused(text.encode())
    assert time.process_time() - began < 1


@given(text=st.text(max_size=300) | st.binary(max_size=300).map(lambda data: data.decode("latin-1")))
def test_whatever_a_page_holds_it_is_an_entry_or_refused(text: str) -> None:
    for whole in (text, f"---\nkind: fact\n{text}\n---\nx", f"---\nkind: fact\n---\n{text}"):
        try:
            entry = parse(whole, "x", known("team/red/e00.md"))
        except PageError as error:
            assert error.line >= 1  # noqa: PT017  # Either is fine, and both say something.
        else:
            assert parse(render(entry), "x", known("team/red/e00.md")) == entry


def test_an_entry_has_nothing_that_cant_be_seen() -> None:
    said: dict[str, Any] = {"id": "e00", "kind": "fact", "scope": "team", "scope_id": "red", "title": "t"}
    entry = Entry.model_validate(said | {"text": "a\u202eb\x1b[31m\0c\r\n\td  \n\n"})
    assert entry.text == "ab[31mc\n\td"
    with pytest.raises(ValueError, match="can't be seen"):
        Entry.model_validate(said | {"title": "a\nb"})


def test_ids_sort_by_when_they_were_made_and_dont_repeat() -> None:
    ids = [new_id() for _ in range(2_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 13 for one in ids)
    assert ids[0][:7] <= ids[-1][:7]


@given(entry=ENTRIES, cut=st.integers(0, 400), put=st.sampled_from(("", "x", " ", "#", "\n", "9", "-", '"', "\u202e")))
def test_a_glance_takes_nothing_that_is_no_page_and_sees_the_same(entry: Entry, cut: int, put: str) -> None:
    path, text = path_of(entry), render(entry)
    for page in (text, text[:cut] + put + text[cut + 1 :], text[:cut] + put + text[cut:]):
        if (seen := glance(path, page.encode())) is not None:
            read = parse(page, path, known(path))
            assert (read.scope, read.scope_id, read.status, read.title) == seen[:4]
            assert read.text.split() == seen.text.split()
            assert seen[5:] == ((read.evidence[0].run, read.evidence[0].step) if read.evidence else ("", 0))


def test_a_glance_sees_the_usual_page() -> None:
    usual = Entry(
        id=new_id(),
        kind=EntryKind.PITFALL,
        scope=Scope.REPO,
        scope_id="0123456789ab",
        title="Tests need Redis",
        text="Start it first.\n\n\tmake up",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        confidence=0.8,
        evidence=(Evidence(run="0123456789ab", step=3, commit="12345678"),) * 3,
        paths=(SeenPath(path="src/a b.py", commit="1234567"), SeenPath(path="Makefile")),
        supersedes=("abc", "def"),
    )
    assert glance(path_of(usual), render(usual).encode()) is not None
    assert glance("team/red/e00.md", render(usual).encode()) is None
