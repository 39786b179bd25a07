"""A little HTTP server in a thread, that answers as a function says: for clients to be tested against any behaviour."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


class Answer(NamedTuple):
    """What it gets: a value becomes JSON, a string is sent as it is."""

    status: int
    body: Any = ""
    headers: dict[str, str] = {}  # noqa: RUF012 (never written)


Behaviour = Callable[[Call], Answer]


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The root address of a server that behaves so, while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            body = json.loads(raw) if raw else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, value, extra = behaviour(Call(self.command, self.path, headers, body))
            data = (value if isinstance(value, str) else json.dumps(value)).encode()
            self.send_response(status)
            for name, content in {
                "content-type": "application/json",
                "content-length": str(len(data)),
                **extra,
            }.items():
                self.send_header(name, content)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _answer  # noqa: N815 (http.server's names)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
