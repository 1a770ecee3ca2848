"""Three-way merges of trees in a store: what goes together, and what doesn't."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from sandbox.merging import before, merging
from sandbox.objects import EMPTY_TREE, EXECUTABLE, FILE, GITLINK, LINK, Entry, Objects
from sandbox.trees import edited, files

if TYPE_CHECKING:
    from pathlib import Path

Content = bytes | tuple[int, bytes]
LINES = b"".join(b"line %d\n" % number for number in range(20))


class Trees:
    """Makes trees in a store, and reads them back."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects

    def make(self, **contents: Content) -> str:
        edits: dict[bytes, Entry | None] = {}
        for name, content in contents.items():
            mode, data = content if isinstance(content, tuple) else (FILE, content)
            oid = data.decode() if mode == GITLINK else self.objects.put(b"blob", data)
            edits[name.replace("__", "/").encode()] = Entry(mode, oid)
        return edited(self.objects, EMPTY_TREE, edits)

    def read(self, tree: str) -> dict[str, Content]:
        found: dict[str, Content] = {}
        for path, entry in files(self.objects, tree):
            data = self.objects.read(entry.oid)
            found[path.decode()] = data if entry.mode == FILE else (entry.mode, data)
        return found


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "r.git"], check=True)
    return Trees(Objects(tmp_path / "r.git"))


def test_changes_of_different_files_go_together(trees: Trees) -> None:
    base = trees.make(a=b"a", b=b"b", c=b"c", d__e=b"e")
    ours = trees.make(a=b"mine", b=b"b", c=b"c", d__e=b"e", own=b"x")
    theirs = trees.make(a=b"a", b=(EXECUTABLE, b"\0bin"), link=(LINK, b"/etc/passwd"), d__f=b"f")
    found = merging(trees.objects, base, ours, theirs)
    assert found.conflicts == ()
    assert trees.read(found.tree) == {
        "a": b"mine",
        "b": (EXECUTABLE, b"\0bin"),
        "link": (LINK, b"/etc/passwd"),
        "d/f": b"f",
        "own": b"x",
    }
    assert edited(trees.objects, found.tree, before(trees.objects, ours, found.edits)) == ours


def test_other_lines_of_one_file_go_together_and_modes_too(trees: Trees) -> None:
    base = trees.make(a=LINES)
    ours = trees.make(a=LINES.replace(b"line 1\n", b"mine\n"))
    theirs = trees.make(a=(EXECUTABLE, LINES.replace(b"line 15\n", b"theirs\n")))
    found = merging(trees.objects, base, ours, theirs)
    both = LINES.replace(b"line 1\n", b"mine\n").replace(b"line 15\n", b"theirs\n")
    assert trees.read(found.tree) == {"a": (EXECUTABLE, both)}


def test_what_both_did_alike_is_no_conflict(trees: Trees) -> None:
    base, both = trees.make(a=b"a", gone=b"x"), trees.make(a=b"b", new=b"y")
    found = merging(trees.objects, base, both, both)
    assert (found.tree, dict(found.edits), found.conflicts) == (both, {}, ())


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "conflicts"),
    [
        ({"a": LINES}, {"a": LINES + b"1\n"}, {"a": LINES + b"2\n"}, ("a",)),
        ({"a": b"\0\1"}, {"a": b"\0\2"}, {"a": b"\0\3"}, ("a",)),
        ({"a": b"a"}, {}, {"a": b"b"}, ("a",)),
        ({"a": b"a"}, {"a": b"b"}, {}, ("a",)),
        ({}, {"a": b"1"}, {"a": b"2"}, ("a",)),
        ({"a": (LINK, b"x")}, {"a": (LINK, b"y")}, {"a": (LINK, b"z")}, ("a",)),
        ({}, {"a": b"file"}, {"a__b": b"below"}, ("a/b",)),
        ({}, {"a": (LINK, b"/etc")}, {"a__b": b"below"}, ("a/b",)),
        ({"a__b": b"1"}, {"a__b": b"1", "a__c": b"2"}, {"a": b"file"}, ("a",)),
        ({}, {}, {"sub": (GITLINK, b"0" * 40)}, ("sub",)),
    ],
)
def test_what_cannot_go_together_is_named(
    trees: Trees, base: dict[str, Content], ours: dict[str, Content], theirs: dict[str, Content], conflicts: object
) -> None:
    mine = trees.make(**ours)
    found = merging(trees.objects, trees.make(**base), mine, trees.make(**theirs))
    assert (found.conflicts, found.tree, dict(found.edits)) == (conflicts, mine, {})


def test_a_directory_may_become_a_file_and_a_file_a_directory(trees: Trees) -> None:
    base = trees.make(a__b=b"1", c=b"2")
    found = merging(trees.objects, base, base, trees.make(a=b"file", c__d=b"below"))
    assert trees.read(found.tree) == {"a": b"file", "c/d": b"below"}
