"""A run's journal made up from what it did, event by event as an attempt writes it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator import events as e
from orchestrator.dialogue import Reply, ToolCall, ToolResult
from orchestrator.runs import Outcome

if TYPE_CHECKING:
    from orchestrator.runs import RunSpec
    from sandbox.spec import FileChange


class Deeds:
    """The events of a run."""

    def __init__(self, spec: RunSpec) -> None:
        self.events: list[e.Event] = []
        self.step = 0
        self.add(e.Submitted(spec=spec), e.Dispatched(attempt=1), e.Prompted(system="You are tested.", text="Do it."))

    def add(self, *bodies: Any) -> None:
        for body in bodies:
            seq = len(self.events) + 1
            self.events.append(e.Event(seq=seq, at=datetime.now(UTC), who="w", body=body))

    def did(
        self,
        name: str,
        *,
        code: int | None = None,
        out: str = "out",
        files: tuple[FileChange, ...] = (),
        **arguments: str,
    ) -> None:
        """Commit a step of one call."""
        self.step += 1
        call = ToolCall(id=f"c{self.step}", name=name, arguments=arguments)
        content = "noted" if code is None else f"{out}\n[exit code {code}]"
        result = ToolResult(call_id=call.id, name=name, content=content)
        self.add(
            e.Replied(step=self.step, reply=Reply(calls=(call,))),
            e.CallStarted(step=self.step, call=call),
            e.CallFinished(step=self.step, result=result, exit_code=code),
            e.Checkpointed(step=self.step, commit=f"commit-{self.step}", tree=f"t{self.step}", files=files),
        )

    def end(self, outcome: Outcome = Outcome.SUCCEEDED) -> None:
        self.add(e.Finished(outcome=outcome))
