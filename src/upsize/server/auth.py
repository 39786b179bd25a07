"""Bearer keys. Every path needs a key unless it is listed as open, so a new endpoint is protected by default."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from upsize.server.error_replies import Unauthorized, reply_to

OPEN = frozenset({"/health", "/health_generate", "/ready", "/ping"})
METRICS = "/metrics"


class BearerAuth:
    """Middleware that requires `Authorization: Bearer <key>` with one of `keys`."""

    def __init__(self, app: ASGIApp, keys: Sequence[str], protect_metrics: bool) -> None:
        self._app, self._keys = app, [key.encode() for key in keys]
        self._open = OPEN if protect_metrics else OPEN | {METRICS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reply 401, or pass the request on."""
        if scope["type"] != "http" or (scope["path"].rstrip("/") in self._open) or self._allowed(scope):
            await self._app(scope, receive, send)
            return
        await reply_to(Unauthorized(), scope["path"])(scope, receive, send)

    def _allowed(self, scope: Scope) -> bool:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = sent.partition(b" ")
        # All keys are compared, each in constant time, so that timing reveals neither a key nor which one matched.
        matches = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        return scheme.lower() == b"bearer" and any(matches)
