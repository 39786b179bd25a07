"""Bearer keys. A path is closed unless it is listed as open, so that a new endpoint cannot be forgotten."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from upsize.server.error_replies import Unauthorized, reply_to

OPEN = frozenset({"/health", "/health_generate", "/ready", "/ping"})
METRICS = "/metrics"


class BearerAuth:
    """Lets through what carries `Authorization: Bearer <key>` with one of `keys`."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], protect_metrics: bool) -> None:
        self._app, self._keys = app, [key.encode() for key in keys]
        self._open = OPEN if protect_metrics else OPEN | {METRICS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] != "http" or (scope["path"].rstrip("/") in self._open) or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        await reply_to(Unauthorized(), scope["path"])(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = sent.partition(b" ")
        # Every key is compared, each in constant time, so that timing tells neither a key nor which one it was.
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        return scheme.lower() == b"bearer" and any(matches)
