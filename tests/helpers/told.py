"""A journal of long work, made up: what a model is told and says, step by step, and how the window is kept in shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from orchestrator import events as e
from orchestrator.agent.context import Context, Projection
from orchestrator.agent.window import rebuild
from orchestrator.dialogue import Reply, Request, ToolCall, ToolResult, Turn, Usage

TASK: Final = "Mend the ledger, and keep its format."


class Told:
    """Events of one run, and the context that they are folded into; `usable` tokens of the window are kept to."""

    def __init__(self, usable: int = 0, task: str = TASK) -> None:
        self.events: list[e.Event] = []
        self.usable = usable
        self.asked: list[Request] = []
        self.rebuilt: list[e.Rebuilt] = []
        self._projection = Projection()
        self.add(e.Prompted(system="You are tested.", text=task))

    @property
    def context(self) -> Context:
        return self._projection.follow(self.events)

    def add(self, *bodies: e.Body) -> None:
        for body in bodies:
            self.events.append(e.Event(seq=len(self.events) + 1, at=datetime.now(UTC), who="w", body=body))

    def say(self, text: str) -> None:
        """Have a person say something, and the model told of it."""
        self.add(e.Steered(text=text))
        self.add(e.Prompted(text=f"A person says:\n\n{text}", heard=len(self.events)))

    def step(self, *results: str, text: str = "", usage: Usage | None = None, name: str = "bash") -> int:
        """Ask, as the agent does, and take a step with a call for each result."""
        number = self.context.step + 1
        self.fit()
        self.asked.append(self.context.request)
        ids = [f"c{number}-{place}" for place in range(len(results))]
        calls = tuple(ToolCall(id=one, name=name, arguments={"command": f"run {one}"}) for one in ids)
        self.add(
            e.Replied(step=number, reply=Reply(text=text or f"step {number}", calls=calls, usage=usage or Usage()))
        )
        for call, content in zip(calls, results, strict=True):
            result = ToolResult(call_id=call.id, name=name, content=content)
            self.add(e.CallStarted(step=number, call=call), e.CallFinished(step=number, result=result))
        self.add(e.Checkpointed(step=number, commit=f"c{number}", tree=f"t{number}"))
        if not results:
            self.add(e.Prompted(text="Call a tool."))
        return number

    def fit(self) -> None:
        """Build the context anew where it's too much."""
        context = self.context
        if self.usable and context.tokens > self.usable and context.sight.steps:
            self.rebuilt.append(rebuild(context.sight, context.memory, self.usable, step=context.step + 1))
            self.add(self.rebuilt[-1])

    def back(self, to: int, message: str = "") -> None:
        """Go back to a step, as a person asked."""
        asked = e.RewindRequested(step=to, message=message)
        self.add(asked)
        told = "\n\n".join(filter(None, (f"back to {to}", message)))
        at = {"commit": f"c{to}", "tree": f"t{to}", "depth": to}
        self.add(e.Rewound(step=self.context.step + 1, to=to, why="rewind", message=told, asked=len(self.events), **at))

    def condensed(self, step: int, summary: str = "", failure: str = "") -> None:
        self.add(e.Condensed(step=step, summary=summary, failure=failure, tokens=self.context.tokens))


def text_of(request: Request) -> str:
    """Return all that a request says behind the system text."""
    told: list[str] = []
    for said in request.dialogue:
        told.append(said.text)
        told += [result.content for result in said.results] if isinstance(said, Turn) else []
    return "\n".join(told)


def check_pairs(request: Request) -> None:
    """Fail unless each reply is followed by the results of just its calls, and the request ends with a turn."""
    before: tuple[str, ...] = ()
    kinds = [isinstance(said, Turn) for said in request.dialogue]
    assert kinds == [place % 2 == 0 for place in range(len(kinds))], "a turn, a reply, a turn, and so on"
    assert kinds[-1]
    for said in request.dialogue:
        if isinstance(said, Turn):
            assert tuple(result.call_id for result in said.results) == before
        else:
            before = tuple(call.id for call in said.calls)
