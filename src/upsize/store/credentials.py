"""Which store's address a secret of the environment belongs to. A secret goes to no other."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from upsize.errors import InvalidInput

QDRANT_KEY, QDRANT_URL = "QDRANT_API_KEY", "QDRANT_URL"
"""Of the environment, so that no key is written into an index's state."""
POSTGRES_PASSWORD = "PGPASSWORD"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Credentials:
    """The addresses that `QDRANT_API_KEY` and `PGPASSWORD` may be sent to.

    `addresses`: those that a server was configured with. None: whichever the user names, in a process of their own.
    Where `QDRANT_URL` is set, the key belongs to that server alone.
    """

    addresses: frozenset[str] | None = None

    def qdrant_key(self, address: str) -> str | None:
        """The key for this server, or None if it has none or the key is another server's."""
        key, home = os.environ.get(QDRANT_KEY), os.environ.get(QDRANT_URL)
        belongs = _origin(address) == _origin(home) if home else self._configured(address)
        return key if belongs else None

    def postgres_password(self, address: str) -> bool:
        """Whether libpq may take `PGPASSWORD` for this address. (`~/.pgpass` names its hosts itself.)"""
        return self._configured(address)

    def require_unambiguous(self) -> None:
        """InvalidInput where one secret of the environment would go to two servers."""
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
"""Of a process of the user's own: whichever store they name is theirs."""


def credentials_of(addresses: Collection[str]) -> Credentials:
    """Credentials of a server with these stores; InvalidInput where one would go to two of them."""
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
    """Hosts and ports; None where the address has a password of its own."""
    parts = urlsplit(address)
    query = parse_qs(parts.query)
    if parts.password or "password" in query:
        return None
    return " ".join([parts.netloc.rpartition("@")[2].lower(), *query.get("host", ()), *query.get("port", ())])
