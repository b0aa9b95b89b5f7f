"""What stands between the network and the model: who may ask, how long a connection may wait, and how many there may be."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from ..terminal import say

CONNECTIONS = 500  # open at once; one more is closed, so that files for the log and for new versions remain
HEADERS = 10.0  # seconds from the first moment of a connection, or of its next request, until the headers are there
EVERY = 5.0  # seconds between two printed lines about connections
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = ("/", "/health", "/ready")  # paths that tell nothing of the model: a token is not asked for

App = Callable[[Any, Any, Any], Awaitable[None]]
Observe = Callable[[str, int, float], None]  # path, status, seconds


class Guard:
    """ASGI middleware that refuses with one sentence what a browser was lured into sending, and whoever has no token.
    `observe` is told of every answer.

    host: the address that is listened on. On a loopback address the request's own Host must be one too: a foreign page
    can point its name at 127.0.0.1 (DNS rebinding). A request of a page of another origin is refused on every address.
    """

    def __init__(self, app: App, host: str, token: str = "", observe: Observe = lambda *_: None) -> None:
        self.app, self.local, self.token, self.observe = app, host in LOOPBACK, token.encode(), observe

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        began = time.perf_counter()

        async def observed(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.observe(scope["path"], message["status"], time.perf_counter() - began)
            await send(message)

        problem = self.problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self.app(scope, receive, observed)
            return
        from fastapi.responses import JSONResponse

        status, sentence = problem
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        await JSONResponse({"error": sentence}, status, headers)(scope, receive, observed)

    def problem(self, scope: Any) -> tuple[int, str] | None:
        """Status and sentence, None where the request may pass."""
        given = dict(scope["headers"])
        host = given.get(b"host", b"").decode("latin-1")
        if self.local and without_port(host) not in LOOPBACK:
            return 421, f"the request is for host {host[:80]!r}; this server answers for {' and '.join(LOOPBACK)} only"
        origin = given.get(b"origin", b"").decode("latin-1")
        if origin and origin.partition("://")[2] != host:
            return 403, f"the request comes from a page of {origin[:80]!r}; only this server's own page may ask"
        if scope["method"] == "POST" and not given.get(b"content-type", b"").lower().startswith(b"application/json"):
            return 415, "the request must be sent as JSON, with the header Content-Type: application/json"
        if self.token and scope["path"] not in OPEN:
            sent = given.get(b"authorization", b"").removeprefix(b"Bearer ").strip()
            if not hmac.compare_digest(sent, self.token):
                return 401, "this server needs the header Authorization: Bearer <token>, the one it was started with"
        return None


def without_port(host: str) -> str:
    """The name in a Host header: "[::1]:8000" -> "::1", "localhost:8000" -> "localhost"."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0].lower()


def token() -> str:
    """The token that requests must bring, from the environment; '' where none is asked for."""
    return os.environ.get("RECIPE_TOKEN", "")


class Bounded(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's connection, closed where it is one too many or where its headers are too slow in coming.

    uvicorn waits for a first request, and for the rest of its headers, for ever.
    """

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Take the connection, or close it at once."""
        if len(self.connections) >= CONNECTIONS:
            SPEAKER.say(f"{CONNECTIONS} connections are open; one more was closed")
            self.transport = transport
            transport.abort()
            return
        super().connection_made(Joined(transport, self.loop))
        self._expect()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when the headers are there; start it with the first byte of the next request."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop()
        elif self.waiting is None:
            self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock; a connection that was refused was never uvicorn's."""
        self._stop()
        if self in self.connections:
            super().connection_lost(exc)

    def _expect(self) -> None:
        self.waiting = self.loop.call_later(HEADERS, self.transport.abort)

    def _stop(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None


class Joined:
    """A transport that sends what is written in one turn of the event loop at once: the headers of an answer and its body
    in one packet and one system call, which costs more than a small model."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        """Send it at the end of this turn."""
        if not self.parts:
            self.loop.call_soon(self._flush)
        self.parts.append(data)

    def close(self) -> None:
        """Close when all is sent."""
        self._flush()
        self.transport.close()

    def _flush(self) -> None:
        if self.parts and not self.transport.is_closing():
            self.transport.write(b"".join(self.parts))
        self.parts.clear()


class Speaker:
    """Prints at most one line every few seconds, with the number of those that were left out."""

    def __init__(self) -> None:
        self.last, self.left_out = float("-inf"), 0

    def say(self, text: str) -> None:
        """Print, or count."""
        now = asyncio.get_running_loop().time()
        if now - self.last < EVERY:
            self.left_out += 1
            return
        more = f" ({self.left_out} more since the last line)" if self.left_out else ""
        self.last, self.left_out = now, 0
        say(f"serve: {text}{more}", error=True)


SPEAKER = Speaker()


def complain(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the event loop reports (no file left for a connection, say) as one line instead of a traceback each."""
    error = context.get("exception")
    SPEAKER.say(f"{context['message']}{f': {error}' if error else ''}")
