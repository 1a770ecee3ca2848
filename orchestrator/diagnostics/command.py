"""Whose words a command prints, as far as its line tells: what a build says can be trusted, a file's text can't."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LONGEST: Final = 4_000
"""Characters of a command that is looked at: taking one apart costs a millisecond for so many."""
_CHECKERS: Final = frozenset(
    (
        *("gcc", "g++", "cc", "c++", "clang", "clang++", "clang-tidy", "cppcheck", "gfortran", "nvcc", "ld", "cmake"),
        *("javac", "kotlinc", "scalac", "checkstyle", "detekt", "ktlint", "rustc", "tsc", "vue-tsc", "swiftc"),
        *("ruff", "flake8", "pylint", "pyflakes", "pycodestyle", "pydocstyle", "bandit", "vulture", "compileall"),
        *("mypy", "dmypy", "pyright", "basedpyright", "eslint", "biome", "oxlint", "standard", "stylelint", "jshint"),
        *("golangci-lint", "staticcheck", "revive", "gosec", "shellcheck", "hadolint", "yamllint", "markdownlint"),
        *("rubocop", "phpstan", "psalm", "phpcs", "swiftlint", "semgrep", "actionlint", "buf", "verilator"),
    )
)
"""Compilers and linters: whatever they locate is a finding, even where they exit with 0 (cppcheck, `--exit-zero`)."""
_BUILDERS: Final = frozenset(
    (
        *("make", "gmake", "ninja", "meson", "bazel", "just", "ant", "mvn", "mvnw", "gradle", "gradlew", "sbt"),
        *("cargo", "go", "gotestsum", "dotnet", "swift", "xcodebuild", "npm", "yarn", "pnpm", "bun", "deno"),
        *("tox", "nox", "pytest", "py.test", "unittest", "jest", "vitest", "mocha", "ava", "phpunit", "rspec"),
        *("rake", "ctest", "pre-commit", "webpack", "rollup", "esbuild", "vite", "next", "turbo", "nx", "catch"),
    )
)
"""Builds and tests: they print what others say, and a test that passes may print the error that it expects."""
_PROGRAMS: Final = ("run", "start", "exec", "serve", "dev", "show", "view", "cat", "doc", "explain")
"""What these are asked for to run or show something else; `npm run` and its like run a script, most often a check."""
_SCRIPTS: Final = ("npm", "yarn", "pnpm", "bun", "turbo", "nx", "pre-commit")
_PRINTERS: Final = frozenset(
    (
        *("cat", "head", "tail", "less", "more", "nl", "bat", "tac", "grep", "egrep", "fgrep", "zgrep", "rg", "ag"),
        *("ack", "sed", "awk", "gawk", "perl", "git", "gh", "diff", "colordiff", "cut", "sort", "strings", "xargs"),
        *("find", "jq", "yq", "column", "fold", "docker", "podman", "journalctl", "curl", "wget", "sh", "bash", "eval"),
    )
)
"""What prints text of files: a place in it is no finding of now."""
_QUIET: Final = frozenset(
    (
        *("cd", "echo", "printf", "true", "false", "export", "set", "source", ".", "mkdir", "rm", "cp", "mv", "touch"),
        *(
            "sleep",
            "test",
            "[",
            "[[",
            "exit",
            "wait",
            "pwd",
            "date",
            "ls",
            "which",
            "pushd",
            "popd",
            "for",
            "done",
            "fi",
        ),
        *("}", "fi", "chmod", "ln", "unset", "ulimit", "activate", "shopt", "trap", "esac", "in", "case"),
    )
)
"""What prints nothing of its own that could be a place."""
_WHOLE: Final = frozenset(("tee", "cat", "sort", "ts"))
_FILTERS: Final = _WHOLE | {"head", "tail", "grep", "egrep", "fgrep", "rg", "sed", "awk", "gawk", "uniq", "cut", "tr"}
_WRAPPERS: Final = frozenset(
    (
        *("timeout", "gtimeout", "env", "time", "nice", "ionice", "nohup", "stdbuf", "sudo", "command", "exec"),
        *("unbuffer", "xvfb-run", "npx", "bunx", "uvx", "pipx", "ccache"),
        *("if", "then", "else", "do", "while", "until", "!", "{"),
    )
)
_RUNNERS: Final = frozenset(
    ("uv", "poetry", "pipenv", "hatch", "pdm", "rye", "bundle", "coverage", "conda", "pnpm", "yarn")
)
"""They run another program with `run` or `exec` before its name."""
_HIDES: Final = frozenset(("--exit-zero", "--exit-0", "--no-fail", "--ignore-errors", "--issues-exit-code=0"))
_CONDITIONS: Final = frozenset(("if", "while", "until", "!"))
_SEPARATORS: Final = frozenset((";", "&&", "||", "&", ";;", "(", ")", ";&"))
_DOCUMENT: Final = re.compile(r"<<-?\s{0,9}(['\"\\]?)(\w{1,99})\1")
_HARMLESS: Final = re.compile(r"[0-9]?>&[0-9-]|[0-9&]?>{1,2}\s{0,9}/dev/null")
_ASSIGNED: Final = re.compile(r"\w{1,99}=")
_AMOUNT: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?[smhd]?")
_VERSION: Final = re.compile(r"-?\d[\d.]{0,9}$")
_PYTHON: Final = re.compile(r"(?:python|pypy)[\d.]{0,9}$")
_SAYS_NO: Final = re.compile(
    r"\b[1-9]\d{0,6} (?:failed|failing|errors?|failures?|problems?)\b|BUILD FAIL|: (?:fatal )?error[:\[ ]|\*\*\* \["
    r"|^(?:FAILED|FAIL|--- FAIL|error|Traceback|not ok|npm ERR!)(?![\w-])|panicked at ",
    re.MULTILINE,
)
_VERDICT: Final = 20_000
"""Characters of the end of an output in which it says how it went."""


@dataclass(frozen=True)
class Command:
    """Whose words a command prints.

    `speaks` says that all of it is what tools say, `checks` that all of these are compilers and linters. `hidden` says
    that its exit code isn't the tools', `partial` that it shows only a part of what they print.
    """

    speaks: bool = False
    checks: bool = False
    hidden: bool = False
    partial: bool = False


_SILENT: Final = Command()


def says_no(output: str) -> bool:
    """Say whether the end of an output says that something failed, where no exit code does."""
    return _SAYS_NO.search(output[-_VERDICT:]) is not None


@lru_cache(256)
def command(line: str) -> Command:
    """Return whose words a command prints; nothing is known of one that can't be taken apart."""
    line = _without_documents(line)
    try:
        pipelines = _pipelines(line) if len(line) <= _LONGEST else []
    except ValueError:  # A quote that never ends.
        return _SILENT
    logs: set[str] = set()
    alone = True
    spoke: list[_Spoken] = []
    for number, (stages, _) in enumerate(pipelines):
        name = _program(stages[0].words)
        is_tool = name in _CHECKERS or name in _BUILDERS
        if not is_tool and stages[-1].files:  # Into a file, and not to us.
            continue
        if not is_tool and name in _PRINTERS:
            if not logs.intersection(stages[0].words):
                return _SILENT  # Text of files, and nobody knows which.
            spoke.append(_Spoken(checks=True, hidden=True, partial=name not in _WHOLE))
        elif is_tool:
            filters = [_program(stage.words) for stage in stages[1:]]
            if not all(one in _FILTERS for one in filters):
                return _SILENT
            logs |= {file for stage in stages for file in _written(stage)}
            behind = {separator for _, separator in pipelines[number:-1]}
            words = frozenset(stages[0].words)
            hidden = (
                (bool(filters) and "pipefail" not in line)
                or bool(behind - {"&&"})
                or bool(words & (_HIDES | _CONDITIONS))
                or (name == "make" and "-i" in words)
            )
            spoke.append(_Spoken(name in _CHECKERS, hidden, partial=not _WHOLE.issuperset(filters)))
        else:
            alone = alone and name in _QUIET
    if not spoke:
        return _SILENT
    return Command(
        speaks=True,
        checks=alone and all(one.checks for one in spoke),
        hidden=any(one.hidden for one in spoke),
        partial=any(one.partial for one in spoke),
    )


@dataclass(frozen=True)
class _Spoken:
    """What one pipeline of tools adds."""

    checks: bool
    hidden: bool
    partial: bool


@dataclass(frozen=True)
class _Stage:
    """One program of a pipeline: its words, and the files that it writes by a redirection."""

    words: tuple[str, ...]
    files: tuple[str, ...]


def _pipelines(line: str) -> list[tuple[list[_Stage], str]]:
    """Return the pipelines of a command, each with what stands behind it. Raises ValueError for an open quote."""
    found: list[tuple[list[_Stage], str]] = []
    stages: list[_Stage] = []
    words: list[str] = []
    files: list[str] = []
    redirected = False
    for token in [*_tokens(line), ";"]:
        if token in _SEPARATORS or token in {"|", "|&"}:
            if words:
                stages.append(_Stage(tuple(words), tuple(files)))
            words, files = [], []
            if token not in {"|", "|&"} and stages:
                found.append((stages, token))
                stages = []
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
    lexer = shlex.shlex(_HARMLESS.sub(" ", line).replace("\\\n", " ").replace("\n", " ; "), punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    for token in lexer:
        quoted = len(token) > 1 and token[0] in "'\"" and token[0] == token[-1]
        yield token[1:-1] if quoted else token.rstrip(";") or token


def _written(stage: _Stage) -> Iterator[str]:
    yield from stage.files
    if _program(stage.words) == "tee":
        yield from (word for word in stage.words[1:] if not word.startswith("-"))


def _program(words: Sequence[str]) -> str:
    """Return the name of the program that a command runs in the end; empty for one that runs or shows another's."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = word.rpartition("/")[2]
        if _ASSIGNED.match(word) or name in _WRAPPERS:
            while name in _WRAPPERS and rest and (rest[0].startswith("-") or _AMOUNT.fullmatch(rest[0])):
                del rest[0]
        elif _PYTHON.match(name):
            if rest[:1] != ["-m"]:
                return ""
            del rest[0]
        elif name in _RUNNERS and rest[:1] in (["run"], ["exec"]) and name not in _SCRIPTS:
            del rest[0]
            while rest and rest[0].startswith("-"):
                del rest[0]
        else:
            name = _VERSION.sub("", name) or name
            shows = bool(rest) and rest[0] in _PROGRAMS and name not in _SCRIPTS
            return "" if shows and name in _BUILDERS else name
    return ""
