"""The process behind a pool: starts containers ahead and hands each of them over once. `sandbox.pool` starts it.

One thread decides; two others start and remove containers. It ends, and removes what it has, when nobody is left
who could ask: a worker that was killed, and its work-horse, have closed their ends. Where it's killed itself, the
runners of its containers leave, and the keeper finds those by their label and their rooms by the locks.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sandbox import engine
from sandbox.cache import hold_too
from sandbox.container import POOL_LABEL, Container
from sandbox.errors import SandboxError
from sandbox.mounts import may_mount
from sandbox.pool import Claimed, Offer, Plan, Request, kind_key, receive, send
from sandbox.slot import Slot
from sandbox.spec import JOB_UID
from sandbox.upper import lay, volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.cache import Held
    from sandbox.spec import SandboxSpec

STARTS = 2
"""How many containers are started at once, at most."""

OTHERS = 2
"""How many kinds are kept beside the first one: those that were asked for last."""

REFILL_S = 0.5
"""How long after a claim the next container is started, in seconds: the claimer's first command comes first."""

RETRY_S = 30.0
"""How long after a start that failed, or a container that ended by itself, the next one is tried, in seconds."""

_INSPECT_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Shelf:
    """The containers of one kind: those that are ready, and how many are being started.

    `below` are the entries of the cache that `lower` names: while the kind is kept, nobody evicts them.
    """

    spec: SandboxSpec
    lower: str = ""
    below: list[Held] = field(default_factory=list)
    ready: list[Claimed] = field(default_factory=list)
    starting: int = 0
    not_before: float = 0.0


class Warming:
    """Keeps the shelves full and answers claims, until nobody can ask any more."""

    def __init__(self, control: socket.socket, plan: Plan) -> None:
        """Take the pool's end of the socket pair, and what to keep."""
        self._control = control
        self._plan = plan
        self._labels = {**plan.labels, POOL_LABEL: secrets.token_hex(6)}
        self._shelves: dict[str, Shelf] = {}
        self._first = ""
        self._busy_until = 0.0
        self._ended = False
        self._client: Any = None
        self._helpers = ThreadPoolExecutor(STARTS)
        self._started: deque[tuple[Shelf, Claimed | None]] = deque()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._selector.register(control, selectors.EVENT_READ, self._answer)
        self._selector.register(self._woken, selectors.EVENT_READ, self._collect)
        if plan.first is not None and may_mount():
            self._first = kind_key(plan.first, "")
            self._shelves[self._first] = self._shelf(plan.first)

    def serve(self) -> None:
        """Work until the last one who could ask is gone, or `end`."""
        try:
            while not self._ended:
                self._refill()
                for key, _ in self._selector.select(self._patience()):
                    act: Callable[[], None] = key.data
                    act()
        finally:
            self._helpers.shutdown(wait=True)
            left = [warm for shelf in self._shelves.values() for warm in shelf.ready]
            for warm in left + [warm for _, warm in self._started if warm is not None]:
                _remove(warm)

    def end(self) -> None:
        """Have it end; for a signal's handler."""
        self._ended = True
        self._wake()

    def _refill(self) -> None:
        now = time.monotonic()
        for shelf in self._shelves.values():
            while self._lacks(shelf) and now >= max(shelf.not_before, self._busy_until):
                shelf.starting += 1
                self._helpers.submit(self._start, shelf)

    def _patience(self) -> float | None:
        """Return the seconds until a container may be started again; None where nothing has to be."""
        due = [max(shelf.not_before, self._busy_until) for shelf in self._shelves.values() if self._lacks(shelf)]
        return max(0.0, min(due) - time.monotonic()) if due and min(due) < math.inf else None

    def _lacks(self, shelf: Shelf) -> bool:
        return len(shelf.ready) + shelf.starting < self._plan.size

    def _start(self, shelf: Shelf) -> None:
        """Start one container; in a helper's thread."""
        made: Claimed | None = None
        try:
            if not self._ended:
                made = _started(shelf, self._plan)
        except SandboxError as error:
            _log.warning("no container can be started ahead: %s (%s)", error.message, error.cause)
        finally:
            self._started.append((shelf, made))
            self._wake()

    def _collect(self) -> None:
        """Take what the helpers started."""
        self._woken.recv(4096)
        while self._started:
            shelf, made = self._started.popleft()
            shelf.starting -= 1
            if made is None:
                shelf.not_before = time.monotonic() + RETRY_S
            elif made.container.fallback:
                shelf.not_before = math.inf  # Without a runner there is no stream that could be handed over.
                self._give_up(made)
            elif shelf not in self._shelves.values():
                self._give_up(made)
            else:
                shelf.ready.append(made)
                lost = _Lost(self, shelf, made)
                self._selector.register(made.container.stream, selectors.EVENT_READ, lost)

    def lose(self, shelf: Shelf, warm: Claimed) -> None:
        """Give up a container that says something unasked: most of all, that it has ended."""
        if warm in shelf.ready:
            shelf.ready.remove(warm)
            shelf.not_before = time.monotonic() + RETRY_S
            self._selector.unregister(warm.container.stream)
            self._give_up(warm)

    def _answer(self) -> None:
        """Answer one claim: a container, or the closed socket."""
        try:
            message, descriptors = receive(self._control)
        except OSError:
            descriptors = []
        if not descriptors:
            self._ended = True
            return
        with socket.socket(fileno=descriptors[0]) as reply:
            warm = self._pick(message)
            if warm is None:
                return
            self._busy_until = time.monotonic() + REFILL_S
            box = warm.container
            offer = Offer(
                container=box.id,
                image=box.image_id,
                room=warm.slot.room.name,
                attached=box.is_attached,
                uid=box.uid,
                freezer=box.freezer,
            )
            try:
                send(reply, offer.model_dump_json().encode(), warm.container.stream.fileno(), warm.slot.lock.fileno())
            except OSError:  # The claimer is gone.
                self._give_up(warm)
                return
            warm.container.let_go()
            warm.slot.lock.close()

    def _pick(self, message: bytes) -> Claimed | None:
        try:
            shelf = self._asked(Request.model_validate_json(message))
        except (ValidationError, OSError, SandboxError) as error:
            _log.warning("a claim can't be answered: %s", error)
            return None
        if shelf is None or not shelf.ready:
            return None
        image = self._image(shelf.spec.image)
        while shelf.ready:
            warm = shelf.ready.pop(0)
            self._selector.unregister(warm.container.stream)
            if warm.container.is_quiet() and warm.container.image_id == image:
                return warm
            self._give_up(warm)
        return None

    def _asked(self, request: Request) -> Shelf | None:
        """Return the shelf of what was asked for, from now on the last to be given up; None where it can't be kept."""
        shelf = self._shelves.get(request.key)
        if shelf is None:
            if kind_key(request.spec, request.lower) != request.key:  # Somebody's code was changed meanwhile.
                return None
            shelf = self._shelf(request.spec)
            shelf.lower = request.lower
            for entry in filter(None, request.lower.split(":")):
                shelf.below.append(hold_too((self._plan.root / entry).parent))
            shelf.not_before = time.monotonic() + REFILL_S
        if request.key != self._first:
            self._shelves.pop(request.key, None)
            self._shelves[request.key] = shelf
        others = [key for key in self._shelves if key != self._first]
        for key in others[: max(0, len(others) - OTHERS)]:
            gone = self._shelves.pop(key)
            for warm in gone.ready:
                self._selector.unregister(warm.container.stream)
                self._give_up(warm)
            for held in gone.below:  # What is just being removed needs it no more.
                held.release()
        return shelf

    def _shelf(self, spec: SandboxSpec) -> Shelf:
        return Shelf(spec.model_copy(update={"labels": self._labels}))

    def _image(self, name: str) -> str:
        """Return which image a name means now: it may have been built anew. Empty where the engine doesn't tell."""
        try:
            if self._client is None:
                self._client = engine.client(timeout_s=_INSPECT_S)
            image: str = self._client.api.inspect_image(name)["Id"]
        except Exception as error:  # noqa: BLE001  # Whatever the SDK lets through: then nothing is handed over.
            _log.warning("the engine doesn't tell which image %s is: %s", name, error)
            return ""
        return image

    def _give_up(self, warm: Claimed) -> None:
        self._helpers.submit(_remove, warm)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # Then enough was said.
            self._wakes.send(b"\0")


@dataclass(frozen=True)
class _Lost:
    """What is done when a container that waits says something."""

    warming: Warming
    shelf: Shelf
    warm: Claimed

    def __call__(self) -> None:
        self.warming.lose(self.shelf, self.warm)


def _started(shelf: Shelf, plan: Plan) -> Claimed:
    slot = Slot.make(plan.root, secrets.token_hex(8), size_mb=shelf.spec.limits.workspace_mb)
    overlay, owner = "", None
    try:
        if shelf.lower:
            owner = JOB_UID + engine.shift()
            lay(slot.room, owner)
            overlay = volume(slot.room, shelf.lower)
        return Claimed(Container.start(shelf.spec, workspace=slot.merged, overlay=overlay, owner=owner), slot)
    except BaseException:
        with suppress(SandboxError):  # The first error is the one to tell.
            slot.remove()
        raise


def _remove(warm: Claimed) -> None:
    try:
        warm.remove()
    except SandboxError as error:
        _log.warning("a container that was started ahead can't be removed: %s (%s)", error.message, error.cause)


def main() -> None:
    """Keep a pool; the arguments are the descriptor of its socket, and the plan as JSON."""
    descriptor, plan = sys.argv[1:]
    warming = Warming(socket.socket(fileno=int(descriptor)), Plan.model_validate_json(plan))
    os.set_inheritable(int(descriptor), False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's.
    signal.signal(signal.SIGTERM, lambda *_: warming.end())
    warming.serve()


if __name__ == "__main__":
    main()
