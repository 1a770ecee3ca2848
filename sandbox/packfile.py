"""One pack of git objects, and its index: gitformat-pack(5), version 2, every object whole.

libgit2's writer looks for likenesses and copies what it writes into a second file: 1 to 3 ms for a step's ten objects.
What likenesses save, the consolidation of packs finds later.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import zlib
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_KINDS = {b"commit": 1, b"tree": 2, b"blob": 3}
_LEVEL = 1  # Of compression: a step waits for it, and the consolidation does it again.
_PLAIN_BYTES = 1 << 13  # What is no longer isn't compressed at all: making ready for it takes longer than writing it.
_MOST_BYTES = 1 << 31  # Offsets beyond that are written in another way.


def write_pack(folder: Path, objects: Iterable[tuple[str, bytes, bytes]], count: int) -> None:
    """Write `count` objects, each an id (40 hex digits), a kind and its content, as one pack into `folder`.

    The index comes last and makes it visible; both have their names only when they are whole. A process that is killed
    on the way leaves files that `packs` removes. Raises OSError, and leaves nothing then.
    """
    part = folder / f".tmp-{os.urandom(8).hex()}"
    index = part.with_suffix(".idx")
    try:
        with part.open("xb") as file:
            name, entries = _write_objects(file.write, objects, count)
        with index.open("xb") as file:
            file.write(_index(entries, name))
        # Not by its content: a collection that gives an old pack up by name would take a new one of the same content.
        place = folder / f"pack-{os.urandom(20).hex()}"
        for made, suffix in ((part, ".pack"), (index, ".idx")):
            made.chmod(0o444)
            made.replace(place.with_suffix(suffix))
    except BaseException:
        part.unlink(missing_ok=True)
        index.unlink(missing_ok=True)
        raise


def _write_objects(
    write: Callable[[bytes], object], objects: Iterable[tuple[str, bytes, bytes]], count: int
) -> tuple[bytes, list[tuple[bytes, int, int]]]:
    """Write the pack; return its checksum, and of each object the id, the CRC and where it starts."""
    check = hashlib.sha1(usedforsecurity=False)
    entries = []
    piece = struct.pack(">4sII", b"PACK", 2, count)
    place = 0
    for oid, kind, data in objects:
        check.update(piece)
        write(piece)
        place += len(piece)
        piece = _size(_KINDS[kind], len(data)) + _deflated(data)
        entries.append((bytes.fromhex(oid), zlib.crc32(piece), place))
    check.update(piece)
    write(piece)
    if place >= _MOST_BYTES:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    write(check.digest())
    return check.digest(), entries


def _deflated(data: bytes) -> bytes:
    """Return data as zlib's format has it (RFC 1950), small ones in one block that is stored."""
    if len(data) > _PLAIN_BYTES:
        return zlib.compress(data, _LEVEL)
    head = struct.pack("<3sHH", b"\x78\x01\x01", len(data), len(data) ^ 0xFFFF)
    return head + data + struct.pack(">I", zlib.adler32(data))


def _size(kind: int, size: int) -> bytes:
    """Return an object's header: four bits of its size beside its kind, then seven at a time."""
    first, size = kind << 4 | size & 0xF, size >> 4
    header = bytearray()
    while size:
        header.append(first | 0x80)
        first, size = size & 0x7F, size >> 7
    header.append(first)
    return bytes(header)


def _index(entries: list[tuple[bytes, int, int]], name: bytes) -> bytes:
    entries.sort()
    fan = [0] * 256
    for oid, _, _ in entries:
        fan[oid[0]] += 1
    count = len(entries)
    text = b"".join(
        (
            b"\xfftOc\0\0\0\2",
            struct.pack(">256I", *accumulate(fan)),
            *(oid for oid, _, _ in entries),
            struct.pack(f">{count}I", *(crc for _, crc, _ in entries)),
            struct.pack(f">{count}I", *(place for _, _, place in entries)),
            name,
        )
    )
    return text + hashlib.sha1(text, usedforsecurity=False).digest()
