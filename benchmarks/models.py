"""What our model client adds to the SDK's own: `python -m benchmarks.models [--json]`.

The tests' fake provider answers at once, from a process of its own. For each of 200 steps of a run the same request is
made by the openai SDK alone and by our client; the overhead is the difference. The floor is the SDK's own time.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from benchmarks.report import Row, present, row
from orchestrator.dialogue import Reply, Request, ToolResult, ToolSpec, Turn
from orchestrator.models import catalog
from orchestrator.models.client import ApiModel, Patience
from orchestrator.stop import Stop
from tests.fakes.fake_provider import FakeProvider, chat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

STEPS: Final = 200
SHORT: Final = 20
"""The first so many steps, where the SDK's own walk over the dialogue doesn't count yet."""
OVERHEAD_MS: Final = 3.0
QUIET_MS: Final = 6.8
"""The SDK's own time for a short request on a quiet machine of the anchors' size."""
SDKS: Final = ("pydantic_ai", "openai", "anthropic", "genai_prices", "httpx2")
KEY: Final = "not-a-real-key-0123456789"
OUTPUT: Final = "drwxr-xr-x 2 job job 4096 Nov 25 15:04 src\n" * 25  # About 1 KB.
TOOL: Final = ToolSpec(
    name="bash",
    description="Run a bash command.",
    parameters={"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
)


def serve(pipe: Connection, answers: int) -> None:
    """Serve so many answers until the pipe says something; sends the address first."""
    call = ("call", "bash", json.dumps({"command": "ls -l src"}))
    with FakeProvider(*[chat("I look.", reasoning="What is there?", calls=[call])] * answers) as fake:
        pipe.send(f"{fake.url}/v1")
        pipe.recv()


@contextmanager
def provider(answers: int) -> Iterator[str]:
    """Yield the address of a fake provider in a process of its own."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(its, answers))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send("end")
        process.join()


def measure() -> tuple[list[float], list[float], list[float]]:
    """Return, per step: the SDK's milliseconds, what ours adds, and the percentage of the one before that is kept."""
    from openai import AsyncOpenAI  # noqa: PLC0415  # What is measured against.

    floor, added, kept = [], [], []
    with provider(2 * STEPS + 2) as url, asyncio.Runner() as runner:
        model = ApiModel(catalog({}).choose("openai-compatible/fake", base_url=url), SecretStr(KEY), Patience())
        client = AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0)

        async def alone(messages: Any, tools: Any) -> None:
            stream = await client.chat.completions.create(
                model="fake", messages=messages, tools=tools, stream=True, stream_options={"include_usage": True}
            )
            async for _ in stream:
                pass

        request = Request(system="You are measured.", tools=(TOOL,), dialogue=(Turn(text="Look around."),))
        tools = [{"type": "function", "function": TOOL.model_dump()}]
        messages: list[dict[str, Any]] = [{"role": "system", "content": request.system}]
        messages += [{"role": "user", "content": "Look around."}]
        runner.run(alone(messages, tools))  # Both connect, and import what they put off.
        model.ask(request, Stop())
        for number in range(STEPS):
            began = time.perf_counter()
            runner.run(alone(messages, tools))
            between = time.perf_counter()
            reply = model.ask(request, Stop())
            ended = time.perf_counter()
            floor.append((between - began) * 1000)
            added.append((ended - between) * 1000 - floor[-1])
            if number and reply.sent:
                kept.append(reply.sent.kept * 100 / reply.sent.previous)
            request, said = _answered(request, reply)
            messages += said
        runner.run(client.close())
        model.close()
    return floor, added, kept


def _answered(request: Request, reply: Reply) -> tuple[Request, list[dict[str, Any]]]:
    """Return the next request, and the same two messages as the SDK alone takes them."""
    results = tuple(ToolResult(call_id=call.id, name=call.name, content=OUTPUT) for call in reply.calls)
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in reply.calls
    ]
    said: list[dict[str, Any]] = [{"role": "assistant", "content": reply.text, "tool_calls": calls}]
    said[0]["reasoning_content"] = reply.reasoning
    said += [{"role": "tool", "tool_call_id": result.call_id, "content": result.content} for result in results]
    return request.model_copy(update={"dialogue": (*request.dialogue, reply, Turn(results=results))}), said


def imported(*arguments: str) -> float:
    """Return how many modules of model SDKs a command imports."""
    script = "import sys; from orchestrator.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    environ = {**os.environ, "DREAMDOCK_REDIS_URL": "redis://127.0.0.1:1"}
    argv = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environ)
    return float(sum(name.split(".")[0] in SDKS for name in done.stderr.split()))


def main() -> int:
    """Measure, once more where the machine was busy, and print."""
    floor, added, kept = measure()
    if statistics.median(floor[:SHORT]) > 1.5 * QUIET_MS:
        floor, added, kept = measure()

    def told(what: str, samples: list[float], unit: str, target: float, *, base: list[float] | None = None) -> Row:
        return row(what, samples, base or floor[:SHORT], unit=unit, target=target, quiet=QUIET_MS)

    lost = [100 - share for share in kept]
    sdks = [imported(*argv) for argv in (("--help",), ("ps",), ("run", "x", "--dry-run", "--model", "mimo/m"))]
    rows = [
        told(f"added to the SDK, first {SHORT} steps", added[:SHORT], "ms", OVERHEAD_MS),
        told(f"added to the SDK, {STEPS} steps", added, "ms", OVERHEAD_MS, base=floor),
        told("request not kept by the next, worst", [max(lost)], "%", 0.0),
        told("SDK modules on the CLI's path", [max(sdks)], "modules", 0.0),
    ]
    return present("models", rows, as_json="--json" in sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
