"""The one table of programs by what they print: findings of now, text of files, nothing, or who knows what."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


class Kind(Enum):
    """What a program prints."""

    CHECKER = "compilers and linters: what they locate is a finding, even where they exit with 0 (cppcheck)"
    BUILDER = "builds and tests: they print what others say; a test that passes may print the error that it expects"
    TEXT = "text of files, histories and searches: a place in it is no finding of now"
    PRINTER = "what programs that nobody knows print, or fetch"
    QUIET = "nothing that could be a place"
    OTHER = "a program that nobody knows"


_OF: Final = {
    name: kind
    for kind, names in {
        Kind.CHECKER: (
            *("gcc", "g++", "cc", "c++", "clang", "clang++", "clang-tidy", "cppcheck", "gfortran", "nvcc", "ld"),
            *("cmake", "javac", "kotlinc", "scalac", "checkstyle", "detekt", "ktlint", "rustc", "tsc", "vue-tsc"),
            *("swiftc", "ruff", "flake8", "pylint", "pyflakes", "pycodestyle", "pydocstyle", "bandit", "vulture"),
            *("compileall", "mypy", "dmypy", "pyright", "basedpyright", "eslint", "biome", "oxlint", "standard"),
            *("stylelint", "jshint", "golangci-lint", "staticcheck", "revive", "gosec", "shellcheck", "hadolint"),
            *("yamllint", "markdownlint", "rubocop", "phpstan", "psalm", "phpcs", "swiftlint", "semgrep"),
            *("actionlint", "buf", "verilator"),
        ),
        Kind.BUILDER: (
            *("make", "gmake", "ninja", "meson", "bazel", "just", "ant", "mvn", "mvnw", "gradle", "gradlew", "sbt"),
            *("cargo", "go", "gotestsum", "dotnet", "swift", "xcodebuild", "npm", "yarn", "pnpm", "bun", "deno"),
            *("tox", "nox", "pytest", "py.test", "unittest", "jest", "vitest", "mocha", "ava", "phpunit", "rspec"),
            *("rake", "ctest", "pre-commit", "webpack", "rollup", "esbuild", "vite", "next", "turbo", "nx"),
        ),
        Kind.TEXT: (
            *("cat", "head", "tail", "less", "more", "nl", "bat", "tac", "grep", "egrep", "fgrep", "zgrep", "rg"),
            *("ag", "ack", "sed", "git", "diff", "colordiff", "cut", "sort", "uniq", "strings", "jq", "yq", "column"),
        ),
        Kind.PRINTER: (
            *("awk", "gawk", "perl", "xargs", "find", "gh", "docker", "podman", "journalctl", "curl", "wget"),
            *("sh", "bash", "zsh", "eval"),
        ),
        Kind.QUIET: (
            *("cd", "echo", "printf", "true", "false", "export", "set", "source", ".", "mkdir", "rm", "cp", "mv"),
            *("touch", "sleep", "test", "[", "[[", "exit", "wait", "pwd", "date", "ls", "which", "pushd", "popd"),
            *("for", "done", "fi", "}", "chmod", "ln", "unset", "ulimit", "shopt", "trap", "esac", "case"),
        ),
    }.items()
    for name in names
}
_SHOWS: Final = frozenset(
    ("log", "show", "diff", "grep", "blame", "annotate", "whatchanged", "cat-file", "reflog", "-p")
)
"""What git prints text of files for; its other commands name files at most."""
_IN_PLACE: Final = re.compile(r"-[a-zA-Z]{0,5}i|--in-place")
_PROGRAMS: Final = ("run", "start", "exec", "serve", "dev", "show", "view", "cat", "doc", "explain")
"""What builds are asked for to run or show something else; `npm run` and its like run a script, most often a check."""
_SCRIPTS: Final = ("npm", "yarn", "pnpm", "bun", "turbo", "nx", "pre-commit")
WHOLE: Final = frozenset(("tee", "cat", "sort", "ts"))
"""Filters that let everything through."""
FILTERS: Final = WHOLE | {"head", "tail", "grep", "egrep", "fgrep", "rg", "sed", "awk", "gawk", "uniq", "cut", "tr"}
CONDITIONS: Final = frozenset(("if", "while", "until", "!"))
_WRAPPERS: Final = CONDITIONS | {
    *("timeout", "gtimeout", "env", "time", "nice", "ionice", "nohup", "stdbuf", "sudo", "command", "exec"),
    *("unbuffer", "xvfb-run", "npx", "bunx", "uvx", "pipx", "ccache", "then", "else", "do", "{"),
}
_RUNNERS: Final = frozenset(("uv", "poetry", "pipenv", "hatch", "pdm", "rye", "bundle", "coverage", "conda"))
"""They run another program with `run` or `exec` before its name."""
_ASSIGNED: Final = re.compile(r"\w{1,99}=")
_AMOUNT: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?[smhd]?")
_VERSION: Final = re.compile(r"-?\d[\d.]{0,9}$")
_PYTHON: Final = re.compile(r"(?:python|pypy)[\d.]{0,9}$")


def kind(words: Sequence[str]) -> Kind:
    """Return what a command of one program prints."""
    name = program(words)
    found = _OF.get(name, Kind.OTHER)
    if name == "go" and {"build", "vet", "install"}.intersection(words):
        return Kind.CHECKER
    if name == "git":
        return Kind.TEXT if _SHOWS.intersection(words) else Kind.QUIET
    if name in {"sed", "perl"} and any(_IN_PLACE.match(word) for word in words[1:]):
        return Kind.QUIET
    return found


def program(words: Sequence[str]) -> str:
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
        elif name in _RUNNERS and rest[:1] in (["run"], ["exec"]):
            del rest[0]
            while rest and rest[0].startswith("-"):
                del rest[0]
        else:
            name = _VERSION.sub("", name) or name
            shows = bool(rest) and rest[0] in _PROGRAMS and name not in _SCRIPTS
            return "" if shows and _OF.get(name) is Kind.BUILDER else name
    return ""
