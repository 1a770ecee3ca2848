"""Escape check from the host: what a run does to itself, the run beside it doesn't feel."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from sandbox.attack.check import HostCheck, NotHeld
from sandbox.attack.opening import opened

if TYPE_CHECKING:
    from sandbox.attack.check import Ground
    from sandbox.open import Sandbox

SECONDS: Final = 5.0
"""How long a command of the neighbour may take: it takes milliseconds, but the machine may be busy otherwise."""

_STRAINS: Final = {
    "fork bomb": "bomb() { bomb | bomb & }; bomb; sleep 1.5",
    "memory hog": "python3 -I -c 'taken = bytearray(1 << 30)'",
    "files in memory": "for at in /tmp /dev/shm /run; do cat /dev/zero >$at/fill; done; rm /*/fill /dev/shm/fill",
    "busy loops": "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; sleep 1.5; kill $(jobs -p)",
}


def beside(box: Sandbox, neighbour: Sandbox) -> str:
    """Strain one sandbox, and ask the other for commands meanwhile. Raises NotHeld."""
    slowest, asked = 0.0, 0
    for name, command in _STRAINS.items():
        with ThreadPoolExecutor(1) as pool:
            strain = pool.submit(box.run, command, timeout_s=2.0)
            while not strain.done():
                began = time.monotonic()
                answer = neighbour.run("/bin/echo $((6 * 7)) | tee /tmp/attack-beside", timeout_s=SECONDS)
                slowest, asked = max(slowest, time.monotonic() - began), asked + 1
                if answer.output != b"42\n" or answer.timed_out:
                    raise NotHeld(f"beside a {name} a command of the neighbour failed: {answer.output!r}")
                time.sleep(0.05)
        strain.result()
    if slowest > SECONDS:
        raise NotHeld(f"a command of the neighbour took {slowest:.1f} s")
    return f"{asked} commands of the neighbour all ran; the slowest took {slowest * 1000:.0f} ms"


def _probe(ground: Ground) -> str:
    with opened(ground.image, ground.folder) as neighbour:
        return beside(ground.box, neighbour)


NEIGHBOUR = (
    HostCheck(
        "neighbour",
        "What uses up processes, memory or processor in one sandbox doesn't hurt another.",
        f"{', '.join(_STRAINS)} in one sandbox; commands in a second one meanwhile",
        _probe,
    ),
)
