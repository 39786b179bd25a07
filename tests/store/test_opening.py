"""From an address to a store: what is taken from the environment, and what cannot be one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from upsize.errors import InvalidInput, StoreUnavailable
from upsize.store import Credentials, Table, credentials_of, open_store


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


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """A server that is neither Qdrant nor PostgreSQL, its port, and what it was sent."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    if received[-1][:4] == b"\0\0\0\x08":  # PostgreSQL's question for TLS: none here
                        connection.sendall(b"N")
                        received.append(connection.recv(65536))
                    if received[-1][4:8] == b"\0\x03\0\0":  # its first message: send the password as it is
                        connection.sendall(b"R\0\0\0\x08\0\0\0\x03")
                        received.append(connection.recv(65536))
                    else:
                        body = b"private words"
                        connection.sendall(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}", received
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
@pytest.mark.parametrize("configured", [True, False])
def test_secrets_go_only_to_the_addresses_that_they_are_configured_for(
    configured: bool, listener: tuple[str, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, received = listener
    monkeypatch.setenv("QDRANT_API_KEY", "the-secret")
    monkeypatch.setenv("PGPASSWORD", "the-secret")
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    addresses = (f"http://{where}", f"postgresql://me@{where}/db?sslmode=disable")
    credentials = Credentials(frozenset(addresses if configured else ()))
    store = open_store(addresses[0], tmp_path, credentials)
    with pytest.raises(StoreUnavailable) as failed:
        store.count(Table("upsize_docs_g1", 4, None))
    store.close()
    assert "private words" not in str(failed.value)
    with pytest.raises((StoreUnavailable, InvalidInput)):
        open_store(addresses[1], tmp_path, credentials)
    assert received[0].startswith((b"GET", b"POST"))
    assert any(b"\0me\0" in sent for sent in received), "PostgreSQL's client did not get as far as to name its user"
    assert any(b"the-secret" in sent for sent in received[:1]) is configured
    assert any(b"the-secret" in sent for sent in received[1:]) is configured


def test_the_key_belongs_to_the_server_that_is_named_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "a key")
    monkeypatch.setenv("QDRANT_URL", "https://Mine.example:443/")
    assert Credentials().qdrant_key("https://mine.example") == "a key"
    assert Credentials().qdrant_key("http://mine.example") is None
    assert Credentials().qdrant_key("https://mine.example.evil.example") is None


@pytest.mark.parametrize(
    ("variable", "addresses"),
    [
        ("QDRANT_API_KEY", ("http://a:6333", "http://b:6333")),
        ("PGPASSWORD", ("postgresql://me@a/db", "postgresql://me@b/db")),
        ("PGPASSWORD", ("postgresql:///db?host=a", "postgresql:///db?host=b")),
    ],
)
def test_one_secret_for_two_servers_is_refused(
    variable: str, addresses: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    monkeypatch.setenv(variable, "a secret")
    with pytest.raises(InvalidInput, match=variable):
        credentials_of(addresses)
    assert credentials_of(addresses[:1]).addresses == {addresses[0]}
    monkeypatch.delenv(variable)
    assert credentials_of(addresses).addresses == set(addresses)
