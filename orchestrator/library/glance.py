"""What an index needs of a page, at a glance: of pages that are just as `render` writes them, so of nearly all.

Reading a page in full takes 30 µs, most of it to check what such a page can't have wrong; this takes 5. Whatever is
written in another way, or might be refused, is left to `parse`: nothing is taken here that it wouldn't take.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from orchestrator.library.entry import LONGEST_TEXT, LONGEST_TITLE, EntryKind, Origin, Status
from orchestrator.library.page import LONGEST

_ID: Final = "[0-9a-z][0-9a-z-]{2,63}"
_TIME: Final = r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ"
_RUN: Final = r"[0-9A-Za-z_-]{1,64}"
_PAGE: Final = re.compile(
    rf"---\nid: (?P<id>{_ID})\nkind: (?:{'|'.join(EntryKind)})\n"
    r"scope: (?P<scope>repo|team|user)\n"
    r"scope_id: (?P<quote>\"?)(?P<scope_id>[0-9A-Za-z][0-9A-Za-z._@+-]{0,63})(?P=quote)\n"
    rf"title: (?P<title>[0-9A-Za-z][^\n\"#']{{0,{LONGEST_TITLE - 1}}})\n"
    rf"status: (?P<status>{'|'.join(Status)})\norigin: (?:{'|'.join(Origin)})\nconfidence: (?:1|0(?:\.\d{{1,3}})?)\n"
    rf"(?:created: {_TIME}\n)?(?:updated: {_TIME}\n)?uses: \d{{1,9}}\naccepted: \d{{1,9}}\n"
    rf"(?:evidence:\n  - run (?P<run>{_RUN}) step (?P<step>\d{{1,9}})(?: commit [0-9a-f]{{4,64}})?\n"
    rf"(?:  - run {_RUN} step \d{{1,9}}(?: commit [0-9a-f]{{4,64}})?\n){{0,100}})?"
    r"(?:paths:\n(?:  - [0-9A-Za-z_./][^\n\"#']{0,390}\n){1,100})?"
    rf"(?:supersedes:\n(?:  - {_ID}\n){{1,100}})?"
    r"(?:command: [0-9A-Za-z_./][^\n\"'#]{0,390}\n)?"
    r"---\n(?:\n(?P<text>.*)\n)?\Z",
    re.DOTALL,
)
_REPO: Final = re.compile(r"repo/[0-9a-f]{12}/")


class Glance(NamedTuple):
    """What is searched, and where: the scope, the status, title and text, and the run and step that it's first from."""

    scope: str
    scope_id: str
    status: str
    title: str
    text: str
    run: str
    step: int


def glance(path: str, page: bytes) -> Glance | None:
    """Return what there is to search in a page; None where it has to be read in full."""
    try:
        text = page.decode() if len(page) <= LONGEST else ""
    except UnicodeDecodeError:
        return None
    seen = _PAGE.match(text)
    if seen is None or path != f"{seen['scope']}/{seen['scope_id']}/{seen['id']}.md":
        return None
    if (seen["scope"] == "repo" and not _REPO.match(path)) or len(seen["text"] or "") > LONGEST_TEXT:
        return None
    if "<<<<<<< " in text or not text.replace("\n", "").replace("\t", "").isprintable():
        return None
    scope, scope_id, status, title, body, run, step = seen.group(*Glance._fields)
    return Glance(scope, scope_id, status, title, body or "", run or "", int(step or 0))
