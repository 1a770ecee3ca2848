"""The host's apt sources, reduced to those of its own distribution: what a root file system may be made from. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_COMPONENTS = {"main", "contrib", "non-free", "non-free-firmware", "universe", "restricted", "multiverse"}
_SUFFIXES = ("", "-updates", "-security", "/updates")
_KEYRINGS = re.compile(r"/(debian|ubuntu)-archive-[a-z0-9-]+\.(asc|gpg)$")
_KEPT_OPTIONS = ("signed-by", "trusted")


@dataclass(frozen=True)
class Source:
    """One binary source of packages."""

    uri: str
    suite: str
    components: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    """`signed-by` (a path) and `trusted`, where given."""

    @property
    def line(self) -> str:
        """Return it in apt's one-line format."""
        options = " ".join(f"{name}={value}" for name, value in self.options)
        return f"deb {f'[{options}] ' if options else ''}{self.uri} {self.suite} {' '.join(self.components)}"


def parse(text: str, *, deb822: bool) -> list[Source]:
    """Read a file of apt's sources, in the one-line format or in stanzas (`*.sources`).

    Left out: what is disabled, source packages, and stanzas with a key inside, which distributions never use.
    """
    return list(_stanzas(text) if deb822 else _lines(text))


def of_distribution(sources: Iterable[Source], codename: str) -> list[Source]:
    """Return what belongs to the distribution release `codename` itself, without repeats.

    Third-party repositories give themselves away by their suite, their components or their key; backports and proposed
    updates are left out too.
    """
    kept: list[Source] = []
    seen: set[tuple[str, str, str]] = set()
    for source in sources:
        key = dict(source.options).get("signed-by", "")
        mine = source.suite in {codename + suffix for suffix in _SUFFIXES} and (not key or _KEYRINGS.search(key))
        rows = {name: (source.uri, source.suite, name) for name in source.components if name in _COMPONENTS}
        fresh = tuple(name for name, row in rows.items() if row not in seen)
        if mine and fresh:
            seen.update(rows.values())
            kept.append(Source(uri=source.uri, suite=source.suite, components=fresh, options=source.options))
    return kept


def _lines(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)", line.split("#")[0].strip())
        if found:
            options, uri, suite, components = found.groups()
            pairs = (option.partition("=")[::2] for option in (options or "").split())
            yield Source(uri=uri, suite=suite, components=tuple(components.split()), options=_kept(pairs))


def _stanzas(text: str) -> Iterator[Source]:
    without_comments = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", without_comments):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false"}:
            continue
        if "\n" in fields.get("signed-by", ""):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield Source(uri=uri, suite=suite, components=components, options=_kept(fields.items()))


def _kept(options: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return the options that a root file system needs."""
    return tuple((name.lower(), value) for name, value in options if name.lower() in _KEPT_OPTIONS and value)
