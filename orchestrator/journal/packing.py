"""How a journal is kept small: each event by itself while its run is under way, all of them together once it's over.

What is hashed are the bytes of the event, however they are kept. An event alone is compressed with a dictionary of what
events have in common; that file is part of the format, and never changes. Together they are pieces of an archive.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import lzma
import re
import struct
import zlib
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PLAIN: Final = "e"
PACKED: Final = "z"
MOST_EVENT_BYTES: Final = 32 * 1024 * 1024
"""Of one event or one line of a bundle, unpacked: twice the largest patch, and far more than a model's window."""
MOST_RUN_BYTES: Final = 256 * 1024 * 1024
"""Of a whole journal, unpacked: 10,000 steps of 25 KB, and what a reader's memory takes. Packed, it may be a few KB."""
_EACH: Final = 128
"""What an event or a blob counts for beside its bytes: two million empty ones fill a reader's memory, too."""
_TOO_MUCH: Final = f"it unpacks to more than a run can have: {MOST_RUN_BYTES >> 20} MB"
_SMALLEST: Final = 100
_PIECE: Final = 8 << 20
_MAGIC: Final = b"DDJ2"
_TRACE: Final = 2
"""Bytes of each event's hash that an archive keeps, so that an altered one can still be named; the head is whole."""
_SIGNATURE: Final = 64
_HEAD: Final = struct.Struct(">4I")
_PLACE: Final = struct.Struct(">I8s")
_SIGNED: Final = re.compile(r"[0-9a-f]{16}:[A-Za-z0-9+/]{86}==")
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
"""As texts like it."""


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


def weight(*parts: bytes) -> int:
    """Return what events or blobs count for in a journal, of which there may be `MOST_RUN_BYTES`."""
    return sum(map(len, parts)) + _EACH * len(parts)


def pack(data: bytes) -> tuple[str, bytes]:
    """Return the field that an event's bytes are kept in, and what is kept: compressed, where that is shorter."""
    if len(data) >= _SMALLEST:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _dictionary())
        packed = packer.compress(data) + packer.flush()
        if len(packed) < len(data):
            return PACKED, packed
    return PLAIN, data


def line(fields: Mapping[bytes, bytes]) -> Line:
    """Return the event of stored fields. What is damaged, or too large, has bytes that no hash and no event fits."""
    data, hashed = fields.get(PLAIN.encode(), b""), fields.get(b"h", b"")
    if packed := fields.get(PACKED.encode()):
        try:
            data = zlib.decompressobj(-15, _dictionary()).decompress(packed, MOST_EVENT_BYTES + 1)
        except zlib.error:
            data = b""
    data = data if len(data) <= MOST_EVENT_BYTES else b""
    told = hashed.hex() if len(hashed) == hashlib.sha256().digest_size else hashed.decode(errors="replace")
    return Line(data, told, fields.get(b"s", b"").decode(errors="replace"))


def pieces(lines: Sequence[Line], blobs: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the pieces of an archive: events in order, some 8 MB of them in each; the last one has the blobs, too.

    Raises ValueError for what `piece` wouldn't take: too much of it, a signature that is none, an event of two lines.
    """
    if any(b"\n" in one.data for one in lines):
        raise ValueError("it has an event of two lines")
    if weight(*(one.data for one in lines), *blobs) > MOST_RUN_BYTES:
        raise ValueError(_TOO_MUCH)
    start, size = 0, 0
    for end, one in enumerate(lines, start=1):
        size += len(one.data)
        if size >= _PIECE or end == len(lines):
            yield _piece(start + 1, lines[start:end], blobs if end == len(lines) else ())
            start, size = end, 0


def _piece(first: int, lines: Sequence[Line], blobs: Sequence[bytes]) -> bytes:
    """Return a piece: its numbers, traces and signatures as they are, for they can't be compressed, and all else.

    What is compressed begins with each signature's distance from the one before and its key, and with the length of
    each blob; then there are the events, one a line, and the blobs.
    """
    signed = [(place, *_unsigned(one.signature)) for place, one in enumerate(lines) if one.signature]
    apart = [place - before for (place, *_), before in zip(signed, [0, *(place for place, *_ in signed)], strict=False)]
    places = b"".join(_PLACE.pack(distance, key) for distance, (_, key, _) in zip(apart, signed, strict=True))
    lengths = struct.pack(f">{len(blobs)}I", *map(len, blobs))
    text = b"".join((places, lengths, *(one.data + b"\n" for one in lines), *blobs))
    traces = b"".join(bytes.fromhex(one.hash)[:_TRACE] for one in lines)
    if len(traces) != _TRACE * len(lines):
        raise ValueError("an event's hash is too short")
    head = _HEAD.pack(first, len(lines), len(signed), len(blobs))
    packed = lzma.compress(text, format=lzma.FORMAT_RAW, filters=_FILTERS)
    body = b"".join((head, traces, *(signature for *_, signature in signed), packed))
    return _MAGIC + hashlib.sha256(body).digest()[:8] + body


def piece(
    data: bytes, first: int, previous: str, chain: Callable[[str, bytes], str], *, most: int = MOST_RUN_BYTES
) -> Piece:
    """Return what is in a piece that begins with event number `first` and weighs no more than `most`.

    `previous` is the head that it goes on from, `chain` leads from one to the next. An event that isn't as it was put
    there has what is left of its hash as its hash, and fits no chain. Raises ValueError for what isn't such a piece.
    """
    magic, check, body = data[:4], data[4:12], data[12:]
    if magic != _MAGIC or hashlib.sha256(body).digest()[:8] != check or len(body) < _HEAD.size:
        raise ValueError("it isn't a piece of an archive, or damaged")
    begins, count, signed, blobs = _HEAD.unpack_from(body)
    traces = _HEAD.size
    signatures = traces + _TRACE * count
    packed = signatures + _SIGNATURE * signed
    if begins != first or not count or packed > len(body):
        raise ValueError(f"it doesn't go on with event {first}")
    if _EACH * (count + blobs) > most:
        raise ValueError(_TOO_MUCH)
    text = _unpacked(body[packed:], most + _PLACE.size * signed + 4 * blobs + count)
    places, at = text[: _PLACE.size * signed], _PLACE.size * signed + 4 * blobs
    if at > len(text):
        raise ValueError(f"what tells of event {first} and what follows is missing")
    lengths = struct.unpack_from(f">{blobs}I", text, len(places))
    end = len(text) - sum(lengths)
    if not at < end or text[end - 1 : end] != b"\n" or text.count(b"\n", at, end) != count:
        raise ValueError(f"event {first} and what follows are other ones than it says")
    named, place = {}, 0
    for number, (distance, key) in enumerate(_PLACE.iter_unpack(places)):
        place += distance
        start = signatures + _SIGNATURE * number
        named[place] = f"{key.hex()}:{base64.b64encode(body[start : start + _SIGNATURE]).decode()}"
    lines = []
    for place, own in enumerate(text[at : end - 1].split(b"\n")):
        trace = body[traces + _TRACE * place : traces + _TRACE * (place + 1)].hex()
        previous = chain(previous, own)
        lines.append(Line(own, previous if previous.startswith(trace) else trace, named.get(place, "")))
    held = {}
    for length in lengths:
        blob, end = text[end : end + length], end + length
        held[f"sha256:{hashlib.sha256(blob).hexdigest()}"] = blob
    return Piece(first, tuple(lines), held)


def _unsigned(signature: str) -> tuple[bytes, bytes]:
    """Return a signature's key and its bytes. Raises ValueError for what is no signature, or isn't written as one."""
    if not _SIGNED.fullmatch(signature):
        raise ValueError("it has a signature that is none")
    key, _, text = signature.partition(":")
    raw = base64.b64decode(text)
    if base64.b64encode(raw).decode() != text:
        raise ValueError("it has a signature that isn't written as one")
    return bytes.fromhex(key), raw


def _unpacked(packed: bytes, most: int) -> bytes:
    """Return what was compressed. Raises ValueError for what wasn't, and before it has more than `most` bytes."""
    opened = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_FILTERS)
    try:
        text = opened.decompress(packed, most + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"what is compressed in it is damaged: {error}") from error
    if len(text) > most:
        raise ValueError(_TOO_MUCH)
    if not opened.eof or opened.unused_data:
        raise ValueError("what is compressed in it is cut off, or goes on behind its end")
    return text


@functools.cache
def _dictionary() -> bytes:
    return resources.files(__package__).joinpath("dictionary-1.txt").read_bytes()
