"""An Ethernet of its own: a bridge in a network namespace, to which nothing of this machine is connected."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

from benchmarks.lan.namespaces import Box
from benchmarks.lan.relay import without_offloads

if TYPE_CHECKING:
    from collections.abc import Iterable

SUBNET: Final = "10.77.0"


class Network:
    """The switch, and a cable to each box that is connected, by the last number of its address."""

    def __init__(self) -> None:
        self._switch = Box("net")
        self._boxes: dict[int, Box] = {}
        self._relays: dict[int, subprocess.Popen[bytes]] = {}

    def switch_on(self) -> None:
        """Have it from now on."""
        self._switch.switch_on("sleep", "infinity")
        _ip(self._switch, ["link set lo up", "link add br0 type bridge", "link set br0 up"])

    def switch_off(self) -> None:
        """Let go of it, and of every cable."""
        for number in list(self._relays):
            self._end_relay(number)
        self._switch.switch_off()

    def connect(self, number: int, box: Box) -> None:
        """Put a box onto the network, under the address that ends so."""
        self._end_relay(number)
        port, mac = f"p{number}", f"02:00:0a:4d:00:{number:02x}"
        _ip(self._switch, [f"link del {port}"], check=False)  # The kernel may not have noticed yet that a box went off.
        cable = f"link add {port} type veth peer name eth0 address {mac} netns {box.pid}"
        _ip(self._switch, [cable, f"link set {port} master br0 up"])
        _ip(box, ["link set lo up", f"addr add {address(number)}/24 dev eth0", "link set eth0 up"])
        self._boxes[number] = box

    def cut(self, number: int) -> None:
        """Pull a cable: nothing gets through, and nobody is told."""
        _ip(self._switch, [f"link set p{number} down"])

    def join(self, number: int) -> None:
        """Put it in again."""
        _ip(self._switch, [f"link set p{number} up"])

    def slow(self, number: int, *, ms: float, loss: float) -> None:
        """Let frames to and fro take so long for the way there and back, and lose this share of them each way.

        A relay between the cable and the switch does it, because not every kernel has netem.
        """
        port, mine, far = f"p{number}", f"r{number}", f"q{number}"
        pair = f"link add {mine} type veth peer name {far}"
        _ip(self._switch, [f"link set {port} nomaster", pair, f"link set {far} master br0 up", f"link set {mine} up"])
        with self._boxes[number].entered():
            without_offloads("eth0")
        with self._switch.entered():
            without_offloads(far)
        relay = (sys.executable, "-m", "benchmarks.lan.relay", port, mine, str(ms / 2), str(loss))
        inside = ("nsenter", f"--net=/proc/{self._switch.pid}/ns/net", "setpriv", "--pdeathsig=KILL")
        self._relays[number] = subprocess.Popen([*inside, *relay], stdout=subprocess.PIPE)
        assert self._relays[number].stdout is not None  # noqa: S101  # For the type checker.
        self._relays[number].stdout.readline()  # type: ignore[union-attr]  # It says so when it has begun.

    def fast(self, number: int) -> None:
        """Let frames pass as before."""
        if self._end_relay(number):
            _ip(self._switch, [f"link set p{number} master br0"])

    def _end_relay(self, number: int) -> bool:
        relay = self._relays.pop(number, None)
        if relay is None:
            return False
        with relay:
            relay.kill()
        _ip(self._switch, [f"link del r{number}"], check=False)
        return True


def address(number: int) -> str:
    """Return the address that ends with this number."""
    return f"{SUBNET}.{number}"


def _ip(box: Box, lines: Iterable[str], *, check: bool = True) -> None:
    argv = ["nsenter", f"--net=/proc/{box.pid}/ns/net", "ip", "-batch", "-"]
    done = subprocess.run(argv, input="\n".join(lines), capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"ip: {done.stderr.strip()}")
