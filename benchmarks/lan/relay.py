"""A slow cable: `python -m benchmarks.lan.relay FROM TO DELAY_MS LOSS` hands frames on between two interfaces, late."""

from __future__ import annotations

import array
import fcntl
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from typing import Final

_EVERY_PROTOCOL: Final = 3
_OUTGOING: Final = 4
_SIOCETHTOOL: Final = 0x8946
_OFF: Final = (0x17, 0x19, 0x1F, 0x21, 0x24, 0x2C)
"""ETHTOOL_STXCSUM, _SSG, _STSO, _SUFO, _SGSO, _SGRO: what veth leaves to a card that isn't there."""
_LARGEST: Final = 1 << 16


def without_offloads(interface: str) -> None:
    """Have the kernel send whole frames with their checksums through an interface of this namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFF:
            value = array.array("B", struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), value.buffer_info()[0])
            try:
                fcntl.ioctl(control, _SIOCETHTOOL, request)
            except OSError:
                continue  # One that this kernel doesn't know, or that goes with another.


def relay(one: str, other: str, *, delay_s: float, loss: float) -> None:
    """Hand frames on until killed."""
    ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL)) for _ in range(2)]
    for end, interface in zip(ends, (one, other), strict=True):
        end.bind((interface, 0))
        end.setblocking(False)
    dice = random.Random(f"{one} {other}")  # noqa: S311  # The same losses each time.
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()  # Each waits as long: the order stays.
    print("ready", flush=True)
    while True:
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for end in select.select(ends, [], [], pause)[0]:
            frame, (_, _, kind, *_) = end.recvfrom(_LARGEST)
            if kind != _OUTGOING and dice.random() >= loss:
                waiting.append((time.monotonic() + delay_s, ends[end is ends[0]], frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, end, frame = waiting.popleft()
            try:
                end.send(frame)
            except OSError:
                continue  # The cable is out, or its buffer is full: the frame is lost, as others are.


if __name__ == "__main__":
    relay(sys.argv[1], sys.argv[2], delay_s=float(sys.argv[3]) / 1000, loss=float(sys.argv[4]))
