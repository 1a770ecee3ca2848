from __future__ import annotations

from io import StringIO

import pytest
from rich.text import Text

from orchestrator.cli import layout
from orchestrator.cli.patch import coloured
from orchestrator.cli.reporter import TalkReporter
from orchestrator.cli.screen import Screen, wants_colour
from orchestrator.cli.wording import Line

PATCH = b"""diff --git a/x b/x
--- a/x
+++ b/x
@@ -1,2 +1,2 @@
--- a removed line that looks like a header
+\x1b[31mred\r
\\ No newline at end of file
diff --git a/y b/y
"""


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "environ", "tty", "colour"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"CLICOLOR_FORCE": "1"}, False, True),
        ("auto", {"CLICOLOR_FORCE": "0"}, False, False),
        ("auto", {"NO_COLOR": "1", "CLICOLOR_FORCE": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"CLICOLOR_FORCE": "1"}, True, False),
    ],
)
def test_the_flag_wins_then_no_color_then_force_then_the_terminal(
    choice: str, environ: dict[str, str], *, tty: bool, colour: bool
) -> None:
    assert wants_colour(choice, environ, tty=tty) is colour


def test_a_pipe_gets_no_colour_no_wrapping_and_full_ids() -> None:
    answer = StringIO()
    screen = Screen(json=False, color="never", answer=answer, talk=StringIO())
    screen.line(Text("word " * 500, "red"))
    assert answer.getvalue() == "word " * 500 + "\n"
    assert screen.id("7k2m9x4c1b0d") == "7k2m9x4c1b0d"


def test_a_terminal_gets_cut_lines_and_short_ids() -> None:
    answer = Terminal()
    screen = Screen(json=False, color="never", answer=answer, talk=StringIO())
    screen.answer.width = 20
    screen.line("word " * 500)
    assert answer.getvalue() == "word word word word…\n"
    assert screen.id("7k2m9x4c1b0d") == "7k2m9x"


def test_a_terminal_gets_talk_broken_between_words_but_commands_in_one_piece() -> None:
    talk = Terminal()
    screen = Screen(json=False, color="never", answer=StringIO(), talk=talk)
    screen.talk.width = 20
    screen.say("the run goes on until it is over")
    screen.next("dreamdock apply x --repo y")
    assert [line.rstrip() for line in talk.getvalue().splitlines()] == [
        "the run goes on",
        "until it is over",
        "next: dreamdock apply x --repo y",
    ]


def test_a_terminal_gets_prose_under_its_own_column() -> None:
    answer = Terminal()
    screen = Screen(json=False, color="never", answer=answer, talk=StringIO())
    screen.answer.width = 28
    layout.beside(screen, Text("disk  "), Text("four words are too long here"))
    assert [line.rstrip() for line in answer.getvalue().splitlines()] == ["disk  four words are too", "      long here"]


def test_a_label_keeps_its_style_to_itself() -> None:
    answer = Terminal()
    screen = Screen(json=False, color="always", answer=answer, talk=StringIO())
    layout.put(screen, [Line("goal", Text("mend it")), Line("goal", Text("mend " * 20), prose=True)])
    first, second, *_ = answer.getvalue().splitlines()
    assert first.endswith("\x1b[0mmend it")
    assert "\x1b[0mmend mend" in second


def test_a_dumb_terminal_gets_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    answer = Terminal()
    layout.beside(Screen(json=False, color="auto", answer=answer, talk=StringIO()), Text("disk  "), Text("word " * 50))
    assert answer.getvalue() == "disk  " + "word " * 50 + "\n"


def test_colour_can_be_forced_into_a_pipe() -> None:
    answer = StringIO()
    Screen(json=False, color="always", answer=answer, talk=StringIO()).line(Text("x", "green"))
    assert answer.getvalue() == "\x1b[32mx\x1b[0m\n"


def test_json_leaves_no_talk() -> None:
    talk = Terminal()
    screen = Screen(json=True, color="auto", answer=Terminal(), talk=talk)
    screen.next("dreamdock ps")
    TalkReporter(screen).line("started Redis")
    assert talk.getvalue() == ""
    assert not screen.tty


def test_commands_to_paste_stand_one_below_the_other() -> None:
    talk = StringIO()
    Screen(json=False, color="auto", answer=StringIO(), talk=talk).next("dreamdock diff x", "dreamdock apply x")
    assert talk.getvalue() == "next: dreamdock diff x\n      dreamdock apply x\n"


def test_long_work_is_told_before_and_after() -> None:
    talk = StringIO()
    with TalkReporter(Screen(json=False, color="auto", answer=StringIO(), talk=talk)).step("building\x1b") as detail:
        detail("Step 1\r\n")
    assert talk.getvalue() == "building␛ ...\nbuilding␛: done in 0 ms\n"


def test_progress_is_drawn_below_the_answer_and_taken_away() -> None:
    both = Terminal()
    screen = Screen(json=False, color="never", answer=both, talk=both)
    screen.answer.width = screen.talk.width = 40
    with screen.progress(lambda: Text("step 1/200")):
        screen.line("an answer")
    screen.line("after")
    assert "an answer" in both.getvalue()
    assert "step 1/200" in both.getvalue()
    assert both.getvalue().endswith("after\n")


def test_a_patch_is_coloured_by_what_its_lines_are_and_harmless() -> None:
    rows = [(line.plain, line.style) for line in coloured(PATCH)]
    assert rows == [
        ("diff --git a/x b/x", "bold"),
        ("--- a/x", "bold"),
        ("+++ b/x", "bold"),
        ("@@ -1,2 +1,2 @@", "cyan"),
        ("--- a removed line that looks like a header", "red"),
        ("+␛[31mred␍", "green"),
        ("\\ No newline at end of file", "dim"),
        ("diff --git a/y b/y", "bold"),
    ]


def test_a_long_patch_says_what_is_left_out() -> None:
    assert [line.plain for line in coloured(PATCH, limit=1)] == ["diff --git a/x b/x", "… 7 more lines"]
