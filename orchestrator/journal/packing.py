"""How a journal is kept small: each event by itself while its run is under way, all of them together once it's over.

What is hashed are the bytes of the event, however they are kept. An event alone is compressed with a dictionary of what
events have in common; that file is part of the format, and never changes. Together they are pieces of an archive.
"""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import zlib
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PLAIN: Final = "e"
PACKED: Final = "z"
_SMALLEST: Final = 100
_PIECE: Final = 8 << 20
_MAGIC: Final = b"DDJ1"
_TRACE: Final = 4
"""Bytes of each event's hash that an archive keeps, so that an altered one can still be named; the head is whole."""
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0}]  # As texts like it.


class Line(NamedTuple):
    """An event as it is kept: its bytes, the chain hash that it was given, and the signature of that."""

    data: bytes
    hash: str
    signature: str = ""


class Piece(NamedTuple):
    """A part of an archive: the events from number `first` on, and blobs by their names."""

    first: int
    lines: tuple[Line, ...]
    blobs: dict[str, bytes]


def pack(data: bytes) -> tuple[str, bytes]:
    """Return the field that an event's bytes are kept in, and what is kept: compressed, where that is shorter."""
    if len(data) >= _SMALLEST:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _dictionary())
        packed = packer.compress(data) + packer.flush()
        if len(packed) < len(data):
            return PACKED, packed
    return PLAIN, data


def line(fields: Mapping[bytes, bytes]) -> Line:
    """Return the event of stored fields. What is damaged has bytes that no hash and no event fits."""
    data, hashed = fields.get(PLAIN.encode(), b""), fields.get(b"h", b"")
    if packed := fields.get(PACKED.encode()):
        try:
            data = zlib.decompressobj(-15, _dictionary()).decompress(packed)
        except zlib.error:
            data = b""
    told = hashed.hex() if len(hashed) == hashlib.sha256().digest_size else hashed.decode(errors="replace")
    return Line(data, told, fields.get(b"s", b"").decode(errors="replace"))


def pieces(lines: Sequence[Line], blobs: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the pieces of an archive: events in order, some 8 MB of them in each; the last one has the blobs, too."""
    start, size = 0, 0
    for end, one in enumerate(lines, start=1):
        size += len(one.data)
        if size >= _PIECE or end == len(lines):
            yield _piece(start + 1, lines[start:end], blobs if end == len(lines) else ())
            start, size = end, 0


def _piece(first: int, lines: Sequence[Line], blobs: Sequence[bytes]) -> bytes:
    told = {
        "first": first,
        "events": [len(one.data) for one in lines],
        "signed": {number: one.signature for number, one in enumerate(lines) if one.signature},
        "blobs": [len(blob) for blob in blobs],
    }
    head = json.dumps(told, separators=(",", ":")).encode()
    text = b"".join((len(head).to_bytes(4, "big"), head, *(one.data for one in lines), *blobs))
    traces = b"".join(bytes.fromhex(one.hash)[:_TRACE] for one in lines)
    packed = lzma.compress(text, format=lzma.FORMAT_RAW, filters=_FILTERS)
    body = len(lines).to_bytes(4, "big") + traces + packed
    return _MAGIC + hashlib.sha256(body).digest()[:8] + body


def piece(data: bytes, previous: str, chain: Callable[[str, bytes], str]) -> Piece:
    """Return what is in a piece; `previous` is the head that it goes on from, `chain` leads from one to the next.

    An event that isn't as it was put there has what is left of its hash as its hash, and fits no chain.
    Raises ValueError for what isn't a piece.
    """
    magic, check, body = data[:4], data[4:12], data[12:]
    if magic != _MAGIC or hashlib.sha256(body).digest()[:8] != check:
        raise ValueError("it isn't a piece of an archive, or damaged")
    count = int.from_bytes(body[:4], "big")
    text = lzma.decompress(body[4 + _TRACE * count :], format=lzma.FORMAT_RAW, filters=_FILTERS)
    at = 4 + int.from_bytes(text[:4], "big")
    told: dict[str, Any] = json.loads(text[4:at])
    lines, blobs = [], {}
    for number, length in enumerate(told["events"]):
        own, trace = text[at : at + length], body[4 + _TRACE * number : 4 + _TRACE * (number + 1)].hex()
        previous = chain(previous, own)
        lines.append(Line(own, previous if previous.startswith(trace) else trace, told["signed"].get(str(number), "")))
        at += length
    for length in told["blobs"]:
        blob, at = text[at : at + length], at + length
        blobs[f"sha256:{hashlib.sha256(blob).hexdigest()}"] = blob
    return Piece(told["first"], tuple(lines), blobs)


@functools.cache
def _dictionary() -> bytes:
    return resources.files(__package__).joinpath("dictionary-1.txt").read_bytes()
