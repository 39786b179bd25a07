"""Qdrant by its own client: a server, or the client's local mode, which the tests run."""

from __future__ import annotations

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

from upsize.errors import InvalidInput, StoreDamaged, StoreUnavailable
from upsize.store.base import Hit, Rows, Table, Vectors, column_of, cut
from upsize.store.filters import Condition, Filter, scalars
from upsize.store.numbers import EXACT, split

log = logging.getLogger("upsize.store")

T = TypeVar("T")

LARGEST = 65_536
PAGE = 1000
TIMEOUT = 60
"""Seconds that a request may take."""


class QdrantStore:
    """Collections of one server or folder. See Store. Its own HNSW begins where its settings say."""

    kind = "qdrant"
    largest_dimension = LARGEST

    def __init__(self, **where: Any) -> None:
        """`url` of a server, or `path` of a folder."""
        self._local = "path" in where
        told = urlsplit(str(where.get("url") or where.get("path")))
        self._where = f"{told.hostname or ''}{told.path}"  # without what the address may hold of a password
        # The local mode is one SQLite connection, and not made for several threads.
        self._one = threading.RLock()
        # A server that is away is told by the first request, not by a warning of the client's.
        server = {"timeout": TIMEOUT, "check_compatibility": False}
        more = {"force_disable_check_same_thread": True} if self._local else server
        self._client = QdrantClient(**where, **more)

    def create(self, table: Table) -> None:  # noqa: D102 (Store's)
        sizes = {"vector": table.dimension, **({"coarse": table.coarse} if table.coarse else {})}
        config = {n: models.VectorParams(size=s, distance=models.Distance.DOT) for n, s in sizes.items()}

        def make() -> None:
            if not self._client.collection_exists(table.name):
                self._client.create_collection(table.name, vectors_config=config)

        self._guarded(make)

    def upsert(self, table: Table, rows: Rows) -> None:  # noqa: D102
        coarse = cut(rows.vectors, table.coarse) if table.coarse else None
        points = [
            models.PointStruct(
                id=_point(id),
                vector={
                    "vector": rows.vectors[i].tolist(),
                    **({"coarse": coarse[i].tolist()} if coarse is not None else {}),
                },
                payload={"id": id, "number": rows.numbers[i], **_payload(rows.metadata[i])},
            )
            for i, id in enumerate(rows.ids)
        ]
        for first in range(0, len(points), PAGE):
            self._guarded(lambda f=first: self._client.upsert(table.name, points[f : f + PAGE], wait=True))  # type: ignore[misc]

    def delete(self, table: Table, ids: Sequence[str]) -> None:  # noqa: D102
        chosen = models.PointIdsList(points=[_point(id) for id in ids])
        self._guarded(lambda: self._client.delete(table.name, chosen, wait=True))

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
        if not self._local:  # which is always exact, and warns of it
            arguments["search_params"] = models.SearchParams(exact=exact)
        found = self._guarded(lambda: self._client.query_points(table.name, with_payload=["id", "number"], **arguments))
        return [Hit(p.payload["id"], p.payload["number"], p.score) for p in found.points if p.payload]

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:  # noqa: D102
        points = self._guarded(
            lambda: self._client.retrieve(table.name, [_point(i) for i in ids], with_vectors=["vector"])
        )
        return {p.payload["id"]: (p.payload["number"], np.asarray(p.vector["vector"], np.float32)) for p in points}  # type: ignore[index,call-overload]

    def placed(self, table: Table) -> Iterator[tuple[str, int]]:  # noqa: D102
        offset: Any = None
        while True:

            def ask(offset: Any = offset) -> Any:
                return self._client.scroll(table.name, limit=PAGE, offset=offset, with_payload=["id", "number"])

            points, offset = self._guarded(ask)
            yield from ((p.payload["id"], p.payload["number"]) for p in points)
            if offset is None:
                return

    def count(self, table: Table) -> int:  # noqa: D102
        return self._guarded(lambda: self._client.count(table.name, exact=True)).count

    def bytes(self, table: Table) -> int:
        """Of the vectors alone: Qdrant does not tell its files' size."""
        return self.count(table) * 4 * (table.dimension + (table.coarse or 0))

    def tend(self, table: Table) -> None:
        """Nothing to do: the server optimises by itself."""

    def indexed(self, table: Table) -> bool:  # noqa: D102
        return bool(self._guarded(lambda: self._client.get_collection(table.name)).indexed_vectors_count)

    def drop(self, table: Table) -> None:  # noqa: D102
        self._guarded(lambda: self._client.delete_collection(table.name))

    def point(self, name: str, table: Table | None, owner: str) -> None:
        """An alias, changed in one operation. One that means another index's collection is left alone: InvalidInput."""
        there = {a.alias_name: a.collection_name for a in self._guarded(self._client.get_aliases).aliases}
        actions: list[Any] = []
        if name in there:
            if not there[name].startswith(owner):
                raise InvalidInput(
                    f"Qdrant has an alias {name!r} that is not this index's: choose another name.", param="name"
                )
            actions.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)))
        if table is not None:
            alias = models.CreateAlias(collection_name=table.name, alias_name=name)
            actions.append(models.CreateAliasOperation(create_alias=alias))
        if actions:
            self._guarded(lambda: self._client.update_collection_aliases(actions))

    def flush(self, table: Table) -> None:
        """Nothing to do: the server writes ahead of what it acknowledges."""

    def close(self) -> None:  # noqa: D102
        self._client.close()

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            if self._local:
                with self._one:
                    return work()
            return work()
        except ResponseHandlingException as error:
            told = str(error) if isinstance(error.source, httpx.HTTPError) else "what answers there is not Qdrant"
            raise StoreUnavailable(f"Qdrant ({self._where})", told) from error
        except UnexpectedResponse as error:
            code = error.status_code or 0
            if code in (401, 403):
                told = (
                    f"it wants another key than QDRANT_API_KEY in the environment ({code}); the key is sent to "
                    "QDRANT_URL alone or, where that is not set, to what serve --store names"
                )
                raise StoreUnavailable(f"Qdrant ({self._where})", told) from error
            kind = StoreUnavailable if code == 429 or code >= 500 else StoreDamaged
            # Its body goes to the log alone: who may call this server need not see what others answer.
            log.warning("Qdrant (%s) answered %d: %.500r", self._where, code, error.content)
            raise kind(f"Qdrant ({self._where})", f"it answered with status {code}; the log has its words") from error
        except ResourceExhaustedResponse as error:
            raise StoreUnavailable(f"Qdrant ({self._where})", "it answered with status 429") from error
        except (ApiException, ValueError) as error:
            raise StoreDamaged(f"Qdrant ({self._where})", str(error)) from error


def _point(id: str) -> str:
    """Qdrant's ids are numbers or UUIDs."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, id))


def _payload(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata`, whose numbers are floats, and in `low` the second part of those that are more. See numbers.split."""
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
    """A condition on both parts of a number. Below numbers.EXACT the first alone decides."""
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
    # The second part is 0 where it is absent, and never less.
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
