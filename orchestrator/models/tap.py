"""What goes through the HTTP client: request bodies are looked at as they leave, replies may not be endless."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from httpx2 import AsyncByteStream, AsyncClient

from orchestrator.models.sent import Sender

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from httpx2 import Request, Response

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Bytes of one answer as they come in: the longest reply in pieces of one token each, and room."""


class TooLargeError(Exception):
    """The answer is larger than any reply can be."""


class Tap:
    """Sits on one HTTP client."""

    def __init__(self, client: AsyncClient) -> None:
        self.sender = Sender()
        client.headers["Accept-Encoding"] = "identity"  # What is packed can unpack to any size.
        client.event_hooks["request"].append(self._request)
        client.event_hooks["response"].append(self._response)

    async def _request(self, request: Request) -> None:
        self.sender.sent(request.content)

    async def _response(self, response: Response) -> None:
        response.headers.pop("Content-Encoding", None)  # Who packs all the same is read as what it sent.
        if isinstance(response.stream, AsyncByteStream):
            response.stream = _Bounded(response.stream)


class _Bounded(AsyncByteStream):
    def __init__(self, stream: AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > LARGEST_BODY:
                raise TooLargeError
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
