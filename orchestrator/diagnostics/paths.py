"""Which printed paths are files of the repository, and what they are called there."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final

from orchestrator.diagnostic import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    Find = Callable[[frozenset[str]], Collection[str]]

_FOREIGN: Final = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules|\.venv|\.cargo|\.rustup|rustc|vendor|\.m2|\.tox)/"
    r"|^(?:node:|<|internal/|java\.base/)|/lib/python3"
)
_DRIVE: Final = re.compile(r"^[A-Za-z]:[\\/]")
_WITH_SUFFIX: Final = re.compile(r"\.[A-Za-z][\w+-]{0,15}$")
_HOST: Final = re.compile(r"\.(?:com|org|net|local|localhost|internal|lan|cluster)$")
_IN_PACKAGES: Final = (".java", ".kt", ".scala", ".groovy", ".clj")
_BARE_NAMES: Final = frozenset(
    (
        "Makefile",
        "makefile",
        "GNUmakefile",
        "Dockerfile",
        "Containerfile",
        "Gemfile",
        "Rakefile",
        "Jenkinsfile",
        "Vagrantfile",
        "Podfile",
        "Justfile",
        "justfile",
        "BUILD",
        "WORKSPACE",
        "Procfile",
        "Brewfile",
    )
)


class Files:
    """The files of a repository, as paths relative to its root; where none are known, paths are judged by their look.

    `root` is where the workspace lies for the commands, `cwd` where the command ran, relative to it. `find` returns the
    files that have one of some names; it's asked in `learn`, and only of names that say too little by themselves:
    those without a directory (go test, Surefire), and those of Java, which stand below a package. With `all_names` it's
    asked of each.
    """

    def __init__(
        self, find: Find = lambda _: (), *, root: str = "/workspace", cwd: str = "", all_names: bool = False
    ) -> None:
        self._find = find
        self._root = root.rstrip("/") + "/"
        self._cwd = cwd.strip("/")
        self._all_names = all_names
        self._asked: set[str] = set()
        self._known: dict[str, set[str]] = {}
        self._ours: dict[str, bool] = {}
        self._told: dict[tuple[str, str], str] = {}

    def learn(self, printed: Iterable[str]) -> None:
        """Ask at once which files these paths may be."""
        names = {path.rpartition("/")[2] for path in printed if self._all_names or _says_little(path)}
        if names := names - self._asked:
            self._asked |= names
            for path in self._find(frozenset(names)):
                self._known.setdefault(path.rpartition("/")[2], set()).add(path)

    def named(self, printed: str, directory: str = "") -> str:
        """Return the path relative to the workspace where it lies there, else as printed.

        `directory` is where make said that it is, if it did.
        """
        key = (printed, directory)
        if (told := self._told.get(key)) is None:
            told = self._told[key] = self._named(printed, directory)
        return told

    def exists(self, path: str) -> bool:
        """Say whether a path as `named` returns it was found in the workspace."""
        return path in self._known.get(path.rpartition("/")[2], ())

    def ours(self, path: str) -> bool:
        """Say whether a path as `named` returns it is the repository's, and not a library's."""
        if path.rpartition("/")[2] in self._asked:
            return self.exists(path)
        if (ours := self._ours.get(path)) is None:
            ours = self._ours[path] = self._looks_ours(path)
        return ours

    @staticmethod
    def _looks_ours(path: str) -> bool:
        return not path.startswith("/") and not _DRIVE.match(path) and not _FOREIGN.search(path) and is_file(path)

    def _named(self, printed: str, directory: str) -> str:
        path = printed.removeprefix("file://")
        if path.startswith("/"):
            clean = posixpath.normpath(path)
            return clean[len(self._root) :] if clean.startswith(self._root) else path
        if _DRIVE.match(path) or ":" in path or path.startswith("<") or "\\" in path:
            return printed
        if directory:
            joined = posixpath.normpath(posixpath.join(directory, path))
            return joined.removeprefix(self._root)
        tail = posixpath.normpath(path)
        known = self._known.get(tail.rpartition("/")[2], set())
        for base in (self._cwd, ""):
            here = posixpath.normpath(posixpath.join(base, path))
            if here in known:
                return here
        # Some tools print the name alone (go test, a Java stack trace): it is known where there is only one of them.
        ends = [one for one in known if one.endswith("/" + tail)]
        if len(ends) == 1:
            return ends[0]
        here = posixpath.normpath(posixpath.join(self._cwd, path))
        return printed if here.startswith("../") else here


def _says_little(path: str) -> bool:
    """Say whether a printed path tells no directory of the workspace."""
    return "/" not in path or (path.endswith(_IN_PACKAGES) and not path.startswith(("/", "./", "../", "file:")))


def is_rooted(text: str) -> bool:
    """Say whether a path begins at a root or a drive: whatever is in it belongs to it."""
    return text.startswith("/") or _DRIVE.match(text) is not None


def is_file(text: str) -> bool:
    """Say whether this looks like the path of a source file: no word, no clock, no address."""
    if not text or len(text) > LONGEST_NAME or ": " in text or "://" in text.removeprefix("file://"):
        return False
    text = text.replace("\\", "/")
    if _HOST.search(text) and "/" not in text:
        return False
    name = text.rpartition("/")[2]
    return bool(_WITH_SUFFIX.search(name)) or name in _BARE_NAMES or ("/" in text and name[:1].isalpha())
