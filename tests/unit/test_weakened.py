"""What a change does to the tests that are to prove it is found; honest changes are left in peace."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cheat_cases import CHEATS, GO, HONEST, IN_FRONT, TESTS, Change, patch
from orchestrator.delivery.changed import changed_files
from orchestrator.delivery.weakened import weakened
from orchestrator.runs import Weakening


@pytest.mark.parametrize("change", CHEATS + IN_FRONT, ids=lambda change: change.name)
def test_a_change_that_cheats_is_named(change: Change) -> None:
    found = weakened(patch(change), accept=change.accept)
    assert {one.kind for one in found} & set(change.kinds), found
    assert {one.kind for one in found} <= set(change.kinds), found
    assert all(one.text for one in found)


@pytest.mark.parametrize("change", HONEST, ids=lambda change: change.name)
def test_an_honest_change_has_nothing_to_name(change: Change) -> None:
    assert weakened(patch(change), accept=change.accept) == ()


def test_each_finding_says_where_it_is_and_what_stands_there() -> None:
    mark = '@pytest.mark.skip(reason="flaky")\n'
    after = TESTS.replace("def test_double", f"{mark}def test_double").replace("== expected", "in expected")
    [skipped, weaker] = weakened(patch(Change("", {"tests/test_calc.py": TESTS}, {"tests/test_calc.py": after})))
    lines = after.splitlines()
    assert (skipped.kind, skipped.path, lines[skipped.line - 1]) == (
        Weakening.SKIPPED,
        "tests/test_calc.py",
        mark.strip(),
    )
    assert (weaker.kind, lines[weaker.line - 1].strip()) == (Weakening.WEAKER, weaker.text.split(" → ")[1])


def test_a_test_that_went_is_said_with_the_line_that_it_stood_at() -> None:
    after = GO.replace("func TestZero", "func testZero")
    [gone] = weakened(patch(Change("", {"calc_test.go": GO}, {"calc_test.go": after})))
    assert (gone.kind, gone.line) == (Weakening.REMOVED, GO.splitlines().index("func TestZero(t *testing.T) {") + 1)


def test_a_deleted_file_names_its_tests() -> None:
    [gone] = weakened(patch(CHEATS[0]))
    assert gone.text == "4 tests: test_double, test_table, test_refuses_text, test_half"


def test_a_part_that_is_no_patch_is_named_instead_of_passed_over() -> None:
    named = b"a/tests/test_x.py b/tests/test_x.py"
    broken = b"diff --git %b\n--- a/tests/test_x.py\n+++ b/tests/test_x.py\n@@ -1,3 +1,3 @@\n-x\n" % named
    [found] = weakened(broken + patch(HONEST[0]))
    assert (found.kind, found.path) == (Weakening.UNREAD, "tests/test_x.py")


def test_names_are_read_as_git_quotes_them() -> None:
    change = Change("", {"tests/test_ü b.py": TESTS}, {})
    assert [one.path for one in weakened(patch(change))] == ["tests/test_ü b.py"]


def test_lines_end_where_git_ends_them() -> None:
    text = TESTS.replace("(4) == 8", "(4) == 8  # \x0c \u2028 \r x")
    [file], unread = changed_files(
        patch(Change("", {"tests/test_x.py": text}, {"tests/test_x.py": text + "\n# end\n"}))
    )
    assert (file.path, unread) == ("tests/test_x.py", [])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["+", "-", " ", "@@ -1 +1 @@", "diff --git a/x b/x", "--- a/x", "\\", "@@", "+assert x == " * 200]
        ),
        max_size=30,
    )
)
def test_no_patch_is_too_strange_to_be_read(pieces: list[str]) -> None:
    weakened(
        "\n".join(
            [
                "diff --git a/tests/test_a.py b/tests/test_a.py",
                "--- a/tests/test_a.py",
                "+++ b/tests/test_a.py",
                *pieces,
            ]
        ).encode()
    )
