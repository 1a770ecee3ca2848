"""Whose words a command prints, as far as its line tells: what a build says can be trusted, a file's text can't."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.diagnostics.programs import CONDITIONS, FILTERS, WHOLE, Kind, kind, program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LONGEST: Final = 4_000
"""Characters of a command that is looked at: taking one apart costs a millisecond for so many."""
_TOOLS: Final = (Kind.CHECKER, Kind.BUILDER)
_HIDES: Final = frozenset(("--exit-zero", "--exit-0", "--no-fail", "--ignore-errors", "--issues-exit-code=0"))
_SEPARATORS: Final = frozenset((";", "&&", "||", "&", ";;", "(", ")", ";&"))
_ENDS: Final = frozenset((";", "||", "&"))
"""Behind these the exit code of what was before is gone."""
_PIPES: Final = frozenset(("|", "|&"))
_DOCUMENT: Final = re.compile(r"<<-?\s{0,9}(['\"\\]?)(\w{1,99})\1")
_HARMLESS: Final = re.compile(r"[0-9]?>&[0-9-]|[0-9&]?>{1,2}\s{0,9}/dev/null")
_GOES_ON: Final = re.compile(r"(?:\\|(&&|\|\|?))[ \t]{0,99}\n")
_OPERATOR: Final = re.compile(r"&&|\|\||\|&|;;|[<>&]{1,3}|[();|]")
_SAYS_NO: Final = re.compile(
    r"\b[1-9]\d{0,6} (?:tests? )?(?:failed|failing|errors?|failures?|problems?)\b|\bfail [1-9]|BUILD FAIL|\*\*\* \["
    r"|^(?:FAILED|FAIL|FAILURES|Failed|--- FAIL|error|not ok|npm ERR!|npm error)(?![\w-])|panicked at ",
    re.MULTILINE,
)
_SAYS_YES: Final = re.compile(
    r"\b\d{1,7} (?:passed|passing)\b|^(?:OK|ok)\b|BUILD SUCCESS|test result: ok", re.MULTILINE
)
_SOUNDS_SO: Final = re.compile(r": (?:fatal )?error[:\[ ]")
"""What only a compiler says in earnest: tests log it as well."""
_VERDICT: Final = 20_000
"""Characters of the end of an output in which it says how it went."""


@dataclass(frozen=True)
class Command:
    """Whose words a command prints.

    `speaks` says that all of it is what tools say, `checks` that all of these are compilers and linters. `hidden` says
    that its exit code isn't the tools', `partial` that it shows only a part of what they print. `quotes` says that all
    of it is text of files, histories or searches.
    """

    speaks: bool = False
    checks: bool = False
    hidden: bool = False
    partial: bool = False
    quotes: bool = False


def says_no(output: str) -> bool:
    """Say whether the end of an output says that something failed, where no exit code does."""
    end = output[-_VERDICT:]
    if _SAYS_NO.search(end):
        return True
    return _SOUNDS_SO.search(end) is not None and not _SAYS_YES.search(end)


@lru_cache(256)
def command(line: str) -> Command:
    """Return whose words a command prints; nothing is known of one that can't be taken apart."""
    line = _without_documents(line)
    try:
        pipelines = _pipelines(line) if len(line) <= _LONGEST else []
    except ValueError:  # A quote that never ends.
        return Command()
    logs: set[str] = set()
    spoke: list[Command] = []
    others: set[Kind] = set()
    for number, (stages, _) in enumerate(pipelines):
        first, filters = stages[0], [program(stage.words) for stage in stages[1:]]
        what = kind(first.words)
        filtered = FILTERS.issuperset(filters)
        if what in _TOOLS:
            logs.update(file for stage in stages for file in _written(stage))
            behind = {separator for _, separator in pipelines[number:-1]}
            hidden = (
                (bool(filters) and "pipefail" not in line)
                or bool(behind & _ENDS)
                or bool((_HIDES | CONDITIONS).intersection(first.words))
                or first.words[:2] == ("make", "-i")
            )
            spoke.append(Command(filtered, what is Kind.CHECKER, hidden, partial=not WHOLE.issuperset(filters)))
        elif what is Kind.TEXT and logs.intersection(first.words):  # What a tool has just written: `tail build.log`.
            spoke.append(Command(filtered, checks=True, hidden=True, partial=program(first.words) not in WHOLE))
        elif not stages[-1].files:  # Else it prints nothing.
            others.add(what if filtered or what is not Kind.TEXT else Kind.PRINTER)
    if not spoke or not all(one.speaks for one in spoke) or others & {Kind.TEXT, Kind.PRINTER}:
        return Command(quotes=not spoke and others - {Kind.QUIET} == {Kind.TEXT})
    return Command(
        speaks=True,
        checks=Kind.OTHER not in others and all(one.checks for one in spoke),
        hidden=any(one.hidden for one in spoke),
        partial=any(one.partial for one in spoke),
    )


class _Stage(NamedTuple):
    """One program of a pipeline: its words, and the files that it writes by a redirection."""

    words: tuple[str, ...]
    files: tuple[str, ...]


def _pipelines(line: str) -> list[tuple[Sequence[_Stage], str]]:
    """Return the pipelines of a command, each with what stands behind it. Raises ValueError for an open quote."""
    found: list[tuple[Sequence[_Stage], str]] = []
    stages: list[_Stage] = []
    words: list[str] = []
    files: list[str] = []
    redirected = False
    for token in [*_tokens(line), ";"]:
        if token in _SEPARATORS or token in _PIPES:
            if words:
                stages.append(_Stage(tuple(words), tuple(files)))
            words, files = [], []
            if token not in _PIPES and stages:
                found.append((stages, token))
                stages = []
            elif found and not stages and (token in _ENDS or found[-1][1] == ")"):  # Behind a parenthesis.
                found[-1] = (found[-1][0], token)
        elif token[0] in "<>&":
            redirected = ">" in token
        elif redirected:
            files.append(token)
            redirected = False
        else:
            words.append(token)
    return found


def _without_documents(line: str) -> str:
    """Return a command without its here-documents: what stands in them is no command."""
    if "<<" not in line:
        return line
    kept: list[str] = []
    ends: list[str] = []
    for row in line.split("\n"):
        if not ends:
            kept.append(_DOCUMENT.sub(" ", row))
            ends = [word for _, word in _DOCUMENT.findall(row)]
        elif row.strip() == ends[0]:
            del ends[0]
    return "\n".join(kept)


def _tokens(line: str) -> Iterator[str]:
    text = _GOES_ON.sub(r"\g<1> ", _HARMLESS.sub(" ", line)).replace("\n", " ; ")
    lexer = shlex.shlex(text, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    for token in lexer:
        if not token.strip("();<>|&"):
            yield from _OPERATOR.findall(token)
            continue
        quoted = len(token) > 1 and token[0] in "'\"" and token[0] == token[-1]
        yield token[1:-1] if quoted else token


def _written(stage: _Stage) -> Iterator[str]:
    yield from stage.files
    if program(stage.words) == "tee":
        yield from (word for word in stage.words[1:] if not word.startswith("-"))
