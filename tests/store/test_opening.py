"""From an address to a store: what is taken from the environment, and what cannot be one."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from upsize.errors import InvalidInput, StoreUnavailable
from upsize.store import Table, open_store


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_qdrant_server_gets_the_key_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str | None] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["api-key"])
            self.send_error(401)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    monkeypatch.setenv("QDRANT_API_KEY", "a key")
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = open_store(f"http://127.0.0.1:{server.server_port}", tmp_path)
        with pytest.raises(StoreUnavailable, match="QDRANT_API_KEY"):
            store.create(Table("upsize_docs_g1", 4, None))
        store.close()
        server.shutdown()
    assert set(keys) == {"a key"}


def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="mongodb"):
        open_store("mongodb://here", tmp_path)
