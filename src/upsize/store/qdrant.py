"""Qdrant through its own client: a server, or the client's local mode, which the tests use."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from upsize.errors import InvalidInput, RowsRefused, StoreDamaged, StoreUnavailable, UnusableProxy
from upsize.proxies import client_options
from upsize.store.base import Hit, Table, VectorRows, Vectors, column_of, cut
from upsize.store.circuit_breaker import Kind, breaker_of
from upsize.store.filters import Condition, Filter, scalars
from upsize.store.numbers import EXACT, split

log = logging.getLogger("upsize.store")

T = TypeVar("T")

LARGEST = 65_536
PAGE = 1000
"""Ids, or points without vectors, in one request."""
REQUEST_BYTES = 24 << 20
"""Bytes of one request, or of one reply with vectors: three quarters of a server's default limit."""
FLOAT_BYTES, POINT_BYTES = 25, 200
"""Bytes of the longest value of a vector as JSON with its comma, and of a point without its vectors."""
SEARCH, WRITE = 10, 60
"""Seconds that a server may be silent during a search, and during any other request."""


class QdrantStore:
    """Collections of one server or folder. See Store. The server's settings say when it builds its HNSW index."""

    kind = "qdrant"
    largest_dimension = LARGEST

    def __init__(self, **where: Any) -> None:
        """Open the `url` of a server, or the `path` of a folder."""
        self._local = "path" in where
        address = urlsplit(str(where.get("url") or where.get("path")))
        self._where = f"Qdrant ({address.hostname or ''}{address.path})"  # without a password
        self._breaker = breaker_of(f"qdrant {address.hostname} {address.port} {address.path}", self._where)
        self._request_bytes = REQUEST_BYTES
        # The local mode is one SQLite connection, and not made for several threads.
        self._one = threading.RLock()
        if self._local:
            self._client = self._searcher = QdrantClient(**where, force_disable_check_same_thread=True)
        else:  # the first request reports a server that does not answer, not a warning of the client
            self._client = self._connect(where, WRITE)
            self._searcher = self._connect(where, SEARCH)

    def _connect(self, where: dict[str, Any], seconds: int) -> QdrantClient:
        try:
            options = client_options(str(where["url"]))
        except UnusableProxy as error:
            raise StoreUnavailable(self._where, str(error).rstrip(".")) from None
        return QdrantClient(**where, **options, timeout=seconds, check_compatibility=False)

    def require_answering(self) -> None:  # noqa: D102 (Store's)
        if not self._local:
            self._breaker.require_answering()

    def create(self, table: Table) -> None:  # noqa: D102
        sizes = {"vector": table.dimension, **({"coarse": table.coarse} if table.coarse else {})}
        config = {n: models.VectorParams(size=s, distance=models.Distance.DOT) for n, s in sizes.items()}

        def make() -> None:
            if not self._client.collection_exists(table.name):
                self._client.create_collection(table.name, vectors_config=config)

        self._guarded(make)

    def upsert(self, table: Table, rows: VectorRows) -> None:
        """Write in requests that fit the server's size limit. Raises RowsRefused if one point alone is too large."""
        coarse = cut(rows.vectors, table.coarse) if table.coarse else None
        each = POINT_BYTES + FLOAT_BYTES * (table.dimension + (table.coarse or 0))
        payloads = [
            {"id": id, "number": rows.numbers[i], **_payload(rows.metadata[i])} for i, id in enumerate(rows.ids)
        ]
        sizes = [each + len(json.dumps(payload)) for payload in payloads]

        def points(some: range) -> list[models.PointStruct]:
            return [
                models.PointStruct(
                    id=_point(rows.ids[i]),
                    vector={"vector": rows.vectors[i].tolist()}
                    | ({"coarse": coarse[i].tolist()} if coarse is not None else {}),
                    payload=payloads[i],
                )
                for i in some
            ]

        refused: list[int] = []
        left = [range(len(rows))] if len(rows) else []
        while left:
            some = _within(left.pop(), sizes, self._request_bytes, PAGE)
            if len(some) > 1:
                left += reversed(some)
                continue
            try:
                self._guarded(
                    lambda part=some[0]: self._client.upsert(table.name, points(part), wait=True),  # type: ignore[misc]
                    "write",
                )
            except TooManyBytes:
                if len(some[0]) == 1:
                    refused += some[0]
                else:  # this server, or a proxy before it, has a lower limit
                    self._request_bytes = max(sum(sizes[i] for i in some[0]) // 2, 1)
                    left.append(some[0])
        if refused:
            raise RowsRefused(
                [rows.ids[i] for i in refused],
                f"{self._where} takes no request as large as its vector and metadata: "
                f"{max(sizes[i] for i in refused):,} bytes. Leave metadata out, or raise its max_request_size_mb.",
            )

    def delete(self, table: Table, ids: Sequence[str]) -> None:  # noqa: D102
        for first in range(0, len(ids), PAGE):
            chosen = models.PointIdsList(points=[_point(id) for id in ids[first : first + PAGE]])
            self._guarded(lambda chosen=chosen: self._client.delete(table.name, chosen, wait=True), "write")  # type: ignore[misc]

    def search(  # noqa: D102
        self,
        table: Table,
        query: Vectors,
        k: int,
        *,
        where: Filter = (),
        exact: bool = False,
        coarse: int | None = None,
    ) -> list[Hit]:
        conditions = models.Filter(must=[_condition(c) for c in where]) if where else None
        arguments: dict[str, Any] = {"query": query.tolist(), "using": column_of(table, query), "limit": k}
        if coarse is not None and table.coarse:
            arguments["prefetch"] = models.Prefetch(
                query=cut(query, table.coarse).tolist(), using="coarse", limit=max(coarse, k), filter=conditions
            )
        else:
            arguments["query_filter"] = conditions
        client = self._client if exact else self._searcher

        def find(exact: bool) -> list[Hit]:
            if not self._local:  # which is always exact, and warns of it
                arguments["search_params"] = models.SearchParams(exact=exact)
            found = client.query_points(table.name, with_payload=["id", "number"], **arguments)
            return [Hit(p.payload["id"], p.payload["number"], p.score) for p in found.points if p.payload]

        hits = self._guarded(lambda: find(exact), "read")
        if where and len(hits) < k and not exact and not self._local:  # its graph may have led past some
            hits = self._guarded(lambda: find(True), "read")
        return hits

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:  # noqa: D102
        page = min(max(REQUEST_BYTES // (POINT_BYTES + FLOAT_BYTES * table.dimension), 1), PAGE)
        result: dict[str, tuple[int, Vectors]] = {}
        for first in range(0, len(ids), page):
            points = [_point(id) for id in ids[first : first + page]]

            def ask(points: list[str] = points) -> Any:
                return self._searcher.retrieve(table.name, points, ["id", "number"], with_vectors=["vector"])

            for found in self._guarded(ask, "read"):
                vector = np.asarray(found.vector["vector"], np.float32)
                result[found.payload["id"]] = (found.payload["number"], vector)
        return result

    def committed_ids(self, table: Table) -> Iterator[tuple[str, int]]:  # noqa: D102
        offset: Any = None
        while True:

            def ask(offset: Any = offset) -> Any:
                return self._client.scroll(table.name, limit=PAGE, offset=offset, with_payload=["id", "number"])

            points, offset = self._guarded(ask, "long")
            yield from ((p.payload["id"], p.payload["number"]) for p in points)
            if offset is None:
                return

    def count(self, table: Table) -> int:  # noqa: D102
        return self._guarded(lambda: self._searcher.count(table.name, exact=True), "read").count

    def bytes(self, table: Table) -> int:
        """Return the bytes of the vectors alone: Qdrant does not report the size of its files."""
        return self.count(table) * 4 * (table.dimension + (table.coarse or 0))

    def optimize(self, table: Table) -> None:
        """Do nothing: the server optimises by itself."""

    def indexed(self, table: Table) -> bool:  # noqa: D102
        collection = self._guarded(lambda: self._searcher.get_collection(table.name), "read")
        return bool(collection.indexed_vectors_count)

    def drop(self, table: Table) -> None:  # noqa: D102
        self._guarded(lambda: self._client.delete_collection(table.name))

    def publish_alias(self, name: str, table: Table | None, owner: str) -> None:
        """Change a Qdrant alias in one operation. Raises InvalidInput for the alias of another index."""
        there = {a.alias_name: a.collection_name for a in self._guarded(self._client.get_aliases).aliases}
        actions: list[Any] = []
        if name in there:
            if not there[name].startswith(owner):
                if table is None:
                    return
                raise InvalidInput(
                    f"Qdrant has an alias {name!r} that is not this index's: choose another name.", param="name"
                )
            actions.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)))
        if table is not None:
            alias = models.CreateAlias(collection_name=table.name, alias_name=name)
            actions.append(models.CreateAliasOperation(create_alias=alias))
        if actions:
            self._guarded(lambda: self._client.update_collection_aliases(actions))

    def remove(self, name: str, tables: Sequence[Table], owner: str) -> None:  # noqa: D102
        self.publish_alias(name, None, owner)
        for table in tables:
            self.drop(table)

    def flush(self, table: Table) -> None:
        """Do nothing: the server writes its log before it acknowledges."""

    def close(self) -> None:  # noqa: D102
        self._client.close()
        if self._searcher is not self._client:
            self._searcher.close()

    def _guarded(self, work: Callable[[], T], kind: Kind = "write") -> T:
        if self._local:
            with self._one:
                return self._translated(work)
        with self._breaker.enter(kind):
            try:
                result = self._translated(work)
            except StoreUnavailable as error:
                cause = error.__cause__
                if isinstance(cause, ResponseHandlingException):
                    self._breaker.failed(stalled=isinstance(cause.source, httpx.TimeoutException))
                raise
            self._breaker.answered()
            return result

    def _translated(self, work: Callable[[], T]) -> T:
        """Run `work`, and translate what the client raises into errors that an index can act on."""
        try:
            return work()
        except ResponseHandlingException as error:
            message = str(error) if isinstance(error.source, httpx.HTTPError) else "the server there is not Qdrant"
            if isinstance(error.source, httpx.TimeoutException):
                message = f"time-out ({message or type(error.source).__name__})"
            raise StoreUnavailable(self._where, message) from error
        except UnexpectedResponse as error:
            code = error.status_code or 0
            if code in (401, 403):
                message = (
                    f"it wants another key than QDRANT_API_KEY in the environment ({code}); the key is sent to "
                    "QDRANT_URL alone or, where that is not set, to what serve --store names"
                )
                raise StoreUnavailable(self._where, message) from error
            if code == 413 or (code == 400 and b"larger than" in error.content.lower()):
                raise TooManyBytes(self._where, f"it answered with status {code}: the request is too large") from error
            kind = StoreUnavailable if code == 429 or code >= 500 else StoreDamaged
            # The body goes to the log alone: callers of this service need not see the replies of other servers.
            log.warning("%s answered %d: %.500r", self._where, code, error.content)
            raise kind(self._where, f"it answered with status {code}; the log has its message") from error
        except ResourceExhaustedResponse as error:
            raise StoreUnavailable(self._where, "it answered with status 429") from error
        except (ApiException, ValueError) as error:
            raise StoreDamaged(self._where, str(error)) from error


class TooManyBytes(StoreDamaged):
    """The server takes no request of this size."""


def _within(some: range, sizes: Sequence[int], most: int, count: int) -> list[range]:
    """Split a range into parts of at most `most` bytes and `count` points; a larger point is a part of its own."""
    parts, first, total = [], some.start, 0
    for i in some:
        if i > first and (total + sizes[i] > most or i - first == count):
            parts.append(range(first, i))
            first, total = i, 0
        total += sizes[i]
    return [*parts, range(first, some.stop)]


def _point(id: str) -> str:
    """The point id of a document id: Qdrant takes numbers or UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, id))


def _payload(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` with numbers as floats, and in `low` their second parts unless 0. See numbers.split."""
    values, low = dict[str, Any](), dict[str, float]()
    for name, value in scalars(metadata).items():
        if isinstance(value, str | bool):
            values[name] = value
            continue
        values[name], rest = split(value)
        if rest:
            low[name] = rest
    return {"metadata": values, **({"low": low} if low else {})}


def _condition(condition: Condition) -> Any:
    key, operator = _key("metadata", condition.field), condition.operator
    if condition.kind == "number":
        return _number(condition)
    if operator == "in" and condition.kind == "string":
        return models.FieldCondition(key=key, match=models.MatchAny(any=[str(value) for value in condition.values]))
    if operator == "in":
        return _any([_condition(replace(condition, operator="eq", values=(value,))) for value in condition.values])
    (value,) = condition.values
    assert isinstance(value, str | bool)  # numbers are above
    if operator == "eq":
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    if operator != "ne":
        raise InvalidInput(f"filter.{condition.field}.{operator}: Qdrant orders numbers only.", param="filter")
    if isinstance(value, bool):
        return models.FieldCondition(key=key, match=models.MatchValue(value=not value))
    return models.FieldCondition(key=key, match=models.MatchExcept(**{"except": [str(value)]}))


def _number(condition: Condition) -> Any:
    """A condition on both parts of a number. Below numbers.EXACT the first part decides."""
    operator = condition.operator
    if operator == "in":
        return _any([_number(replace(condition, operator="eq", values=(value,))) for value in condition.values])
    (value,) = condition.numbers
    high, low = split(value)
    first = _key("metadata", condition.field)
    second = _key("low", condition.field)
    same, absent = _range(first, gte=high, lte=high), models.IsEmptyCondition(is_empty=models.PayloadField(key=second))
    if operator == "eq":
        certain = abs(value) < EXACT
        return same if certain else models.Filter(must=[same, _range(second, gte=low, lte=low) if low else absent])
    if abs(value) < EXACT and operator != "ne":
        return _range(first, **{operator: high})
    outside = [
        _range(first, **{strictly: high}) for strictly in (("lt", "gt") if operator == "ne" else (operator[:2],))
    ]
    if abs(value) < EXACT:
        return _any(outside)
    # An absent second part is 0, and no second part is less than 0.
    rest = {
        "ne": [_range(second, lt=low), _range(second, gt=low)],
        "gt": [_range(second, gt=low)],
        "gte": [_range(second, gte=low)],
        "lt": [_range(second, lt=low)],
        "lte": [_range(second, lte=low)],
    }[operator]
    if (operator in ("ne", "lt") and low > 0) or operator == "lte" or (operator == "gte" and low == 0):
        rest.append(absent)
    return _any([*outside, models.Filter(must=[same, _any(rest)])])


def _range(key: str, **bounds: float) -> Any:
    return models.FieldCondition(key=key, range=models.Range(**bounds))


def _any(conditions: list[Any]) -> Any:
    return models.Filter(should=conditions)


def _key(part: str, field: str) -> str:
    if '"' in field:
        raise InvalidInput(
            f"filter.{field}: Qdrant has no path to a field with a quotation mark in it.", param="filter"
        )
    return f'{part}."{field}"'
