"""Which address a secret from the environment may be sent to. It goes to no other."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from upsize.errors import InvalidInput

QDRANT_KEY, QDRANT_URL = "QDRANT_API_KEY", "QDRANT_URL"
"""Environment variables, so that no key is written into an index's state."""
POSTGRES_PASSWORD = "PGPASSWORD"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Credentials:
    """The addresses that `QDRANT_API_KEY` and `PGPASSWORD` may be sent to.

    `addresses` are those that a server was configured with; None allows any address, in a process of the user's own.
    If `QDRANT_URL` is set, the key goes to that server alone.
    """

    addresses: frozenset[str] | None = None

    def qdrant_key(self, address: str) -> str | None:
        """Return the key for this server; None if there is no key or it belongs to another server."""
        key, home = os.environ.get(QDRANT_KEY), os.environ.get(QDRANT_URL)
        belongs = _origin(address) == _origin(home) if home else self._configured(address)
        return key if belongs else None

    def postgres_password(self, address: str) -> bool:
        """Return whether libpq may use `PGPASSWORD` for this address. (`~/.pgpass` names its own hosts.)"""
        return self._configured(address)

    def require_unambiguous(self) -> None:
        """Raise InvalidInput if one secret from the environment would go to two servers."""
        stores = self.addresses or ()
        qdrants = {_origin(a) for a in stores if a.startswith(("http://", "https://"))}
        if len(qdrants) > 1 and os.environ.get(QDRANT_KEY) and not os.environ.get(QDRANT_URL):
            raise InvalidInput(
                f"{QDRANT_KEY} is set and --store names {len(qdrants)} Qdrant servers: set {QDRANT_URL} to the one "
                "that the key belongs to."
            )
        servers = {_postgres_server(a) for a in stores if a.startswith(("postgresql://", "postgres://"))} - {None}
        if len(servers) > 1 and os.environ.get(POSTGRES_PASSWORD):
            raise InvalidInput(
                f"{POSTGRES_PASSWORD} is set and --store names {len(servers)} PostgreSQL servers: unset it, and put "
                "each one's password into ~/.pgpass."
            )

    def _configured(self, address: str) -> bool:
        return self.addresses is None or address in self.addresses


ANY_STORE = Credentials()
"""For a process of the user's own: every store that they name is theirs."""


def credentials_of(addresses: Collection[str]) -> Credentials:
    """Return the credentials of a server with these stores. Raises InvalidInput if one would go to two of them."""
    credentials = Credentials(frozenset(addresses))
    credentials.require_unambiguous()
    return credentials


def _origin(address: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(address)
        return parts.scheme, (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        raise InvalidInput(f"{address!r} is not an address such as http://host:6333.", param="store") from None


def _postgres_server(address: str) -> str | None:
    """Hosts and ports of an address; None if it has its own password."""
    parts = urlsplit(address)
    query = parse_qs(parts.query)
    if parts.password or "password" in query:
        return None
    return " ".join([parts.netloc.rpartition("@")[2].lower(), *query.get("host", ()), *query.get("port", ())])
