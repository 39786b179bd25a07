"""`/v1/indexes`: create, write, search and drop indexes, and set their cascade."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upsize.errors import InvalidInput, UnknownDocument
from upsize.index import Index, Rerank, Rescore, SearchRequest, SearchResult, Setup, VectorSpec, cascade
from upsize.index.coverage import MAX_COUNTED
from upsize.index.vector_fields import is_vector_name
from upsize.server.codec import dumps
from upsize.server.dialects.index_bodies import (
    AddBody,
    CreateBody,
    DeleteBody,
    LadderBody,
    MeasureBody,
    RebuildBody,
    SearchBody,
)
from upsize.server.endpoint import Operation, read_body
from upsize.server.redaction import public_status
from upsize.server.service import IndexWork, Service
from upsize.store import parse_filter

T = TypeVar("T")

ONE = "/v1/indexes/{name}"
_UNKNOWN = re.compile(r"unknown field `(\w+)`")
MOST_DOCUMENTS = 2048
"""Documents of one write at most. Chosen, so that one request does not occupy the index for long."""


async def run_in_thread(service: Service, kind: IndexWork, work: Callable[[], T]) -> T:
    """Run blocking work in a thread of its kind; a client that may not see folders gets a status without them."""
    done = await service.in_index_thread(kind, work)
    shown = not service.allowed.anything and isinstance(done, dict)
    return cast(T, public_status(done, service.folders)) if shown else done


def index_of(service: Service, request: Request) -> Index:
    """The index that the path names. Blocks while it is opened."""
    return service.indexes().get(request.path_params["name"])


def json_reply(value: Any, headers: dict[str, str] | None = None) -> Response:
    """A JSON reply."""
    return Response(dumps(value), headers=headers, media_type="application/json")


async def names(service: Service, _: Request) -> Response:
    """List the indexes."""
    return json_reply({"indexes": await run_in_thread(service, "search", service.indexes().names)})


async def create(service: Service, request: Request) -> Response:
    """Create an index. Loads its model if it is not loaded yet."""
    body = await read_body(request, CreateBody)
    model, store = service.loadable(body.model, "model"), service.allowed.store(body.store)
    vectors = VectorSpec(model, body.dtype, body.dimension, body.coarse, body.max_length)
    setup = Setup(body.name, vectors, store, body.truncate, body.instruction)
    return json_reply(await run_in_thread(service, "long", lambda: service.indexes().create(setup).status()))


async def status(service: Service, request: Request) -> Response:
    """Status of an index."""
    return json_reply(await run_in_thread(service, "search", lambda: index_of(service, request).status()))


async def drop(service: Service, request: Request) -> Response:
    """Drop an index with its texts. `?force=true` drops it even if its store does not answer; its tables stay there."""
    name = request.path_params["name"]
    wanted = request.query_params.get("force", "false")
    if wanted not in ("true", "false"):
        raise InvalidInput(f"force is {wanted[:60]!r}; write true or false.", param="force")
    await run_in_thread(service, "write", lambda: service.indexes().drop(name, force=wanted == "true"))
    return json_reply({"dropped": name})


async def add(service: Service, request: Request) -> Response:
    """Write documents, all or none. With the reply they are on disk, and searches find them."""
    try:
        body = await read_body(request, AddBody)
    except InvalidInput as error:
        field = _UNKNOWN.search(str(error))
        if field is None or not is_vector_name(field[1]):
            raise
        hint = "An index embeds each text with its own model and takes no vectors of another: leave the field out."
        raise InvalidInput(f"{error} {hint}", param=error.param) from None
    if len(body.documents) > MOST_DOCUMENTS:
        raise InvalidInput(f"{len(body.documents)} documents; send {MOST_DOCUMENTS} a call at most.", param="documents")
    written = await run_in_thread(
        service, "write", lambda: index_of(service, request).add(body.documents, keep_vectors=body.keep_vectors)
    )
    return json_reply(dataclasses.asdict(written))


async def delete(service: Service, request: Request) -> Response:
    """Delete documents. With the reply the deletion is on disk, and no search finds them."""
    body = await read_body(request, DeleteBody)
    deleted = await run_in_thread(service, "write", lambda: index_of(service, request).delete(body.ids))
    return json_reply({"deleted": deleted, "not_found": sorted(set(body.ids) - set(deleted))})


async def document(service: Service, request: Request) -> Response:
    """One document with its current text."""
    wanted = request.path_params["id"]
    found = await run_in_thread(service, "search", lambda: index_of(service, request).get([wanted]).get(wanted))
    if found is None:
        raise UnknownDocument(wanted, request.path_params["name"])
    return json_reply({"id": found.id, "text": found.text, "metadata": found.metadata})


async def search(service: Service, request: Request) -> Response:
    """Search: the nearest documents, best first."""
    body = await read_body(request, SearchBody)
    rerank = body.rerank if isinstance(body.rerank, bool | None) else Rerank(body.rerank.model, body.rerank.depth)
    search_request = SearchRequest(
        query=body.query,
        vector=body.vector,
        fingerprint=body.fingerprint,
        k=body.k,
        where=parse_filter(body.filter),
        instruction=body.instruction,
        dimension=body.dimension,
        rerank=rerank,
        rescore=body.rescore,
        funnel=body.funnel,
        exact=body.exact,
    )

    def work() -> SearchResult:
        index = index_of(service, request)
        if isinstance(rerank, Rerank) and not _at_hand(index, rerank.model):
            service.loadable(rerank.model, "rerank.model", index)  # NotAllowed takes precedence over the advice below
            raise InvalidInput(
                f"rerank.model: {rerank.model!r} is not served here, and a search does not load one. Set it for the "
                f"index: upsize index ladder {index.name} --rerank {rerank.model}",
                param="rerank",
            )
        return index.search(search_request)

    with service.require_ready().throttle_bulk():  # includes the time in queues before and after the search
        result = await run_in_thread(service, "search", work)
        return json_reply(
            _search_reply(result, body.explain), {"x-upsize-fingerprint": result.generation.fingerprint.id}
        )


def _at_hand(index: Index, model: str) -> bool:
    own = index.state.rerank
    return index.models.at_hand(model) or (own is not None and index.models.path(model) == own.model)


def _search_reply(result: SearchResult, explain: bool) -> dict[str, Any]:
    results: list[dict[str, Any]] = [
        {"id": f.document.id, "score": f.score, "text": f.document.text, "metadata": f.document.metadata}
        for f in result.found
    ]
    value: dict[str, Any] = {"results": results}
    if result.missing or result.refused:
        many = f"{MAX_COUNTED:,} or more" if result.missing >= MAX_COUNTED else f"{result.missing:,}"
        value["incomplete"] = {
            "missing": result.missing,
            "refused": result.refused,
            "note": f"Searches do not find {many} documents that are still to be embedded and {result.refused:,} that "
            "the model refused: upsize index status.",
        }
    if explain:
        for reply, hit in zip(results, result.found, strict=True):
            reply["scores"] = hit.scores
        value["explain"] = {
            "generation": result.generation.id,
            "model": result.generation.model,
            "fingerprint": result.generation.fingerprint.id,
            "rungs": result.rungs,
            "milliseconds": {part: 1e3 * s for part, s in result.seconds.items()},
        }
    return value


async def set_ladder(service: Service, request: Request) -> Response:
    """Set or clear stages of the cascade; replies with the index's status."""
    body = await read_body(request, LadderBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        if body.rerank is not msgspec.UNSET:
            wanted = body.rerank
            model = service.loadable(wanted.model, "rerank.model", index) if wanted else None
            cascade.set_rerank(index, model, wanted.depth if wanted else 20)
        if body.rescore is not msgspec.UNSET:
            larger = body.rescore
            if larger:
                model = service.loadable(larger.model, "rescore.model", index)
                cascade.set_rescore(index, model, larger.depth, larger.keep_bytes)
            else:
                cascade.set_rescore(index, None)
        if body.funnel is not msgspec.UNSET:
            cascade.set_funnel(index, body.funnel)
        return index.status()

    return json_reply(await run_in_thread(service, "write", work))


async def measure(service: Service, request: Request) -> Response:
    """Quality with intervals and latency of each stage of the cascade, on labelled queries."""
    body = await read_body(request, MeasureBody)

    def work() -> dict[str, Any]:
        from upsize.migration.compare import compare_ladder  # statistics and metrics, which take a second to import

        index = index_of(service, request)
        own, larger = index.state.rerank, index.state.rescore
        if body.rescore and not larger:
            raise InvalidInput("rescore: no larger model is set. Set one: upsize index ladder NAME --rescore MODEL.")
        wanted = [Rerank(service.loadable(r.model, "rerank.model", index), r.depth) for r in body.rerank]
        reranks = wanted or ([own] if own else [])
        rescores = [Rescore(larger.generation, d) for d in body.rescore or [larger.depth]] if larger else []
        return compare_ladder(index, body.queries, rerank=reranks, rescore=rescores)

    return json_reply(await run_in_thread(service, "long", work))


async def rebuild(service: Service, request: Request) -> Response:
    """Embed all texts of a generation again."""
    body = await read_body(request, RebuildBody)
    generation = await run_in_thread(service, "write", lambda: index_of(service, request).rebuild(body.generation))
    return json_reply({"rebuilding": generation.id})


_DOCUMENTS = {"documents": [{"id": "a", "text": "Plants turn light into sugar.", "metadata": {"lang": "en"}}]}
LABELLED = {"queries": [{"query": "how do plants eat?", "relevant": [{"id": "a"}]}]}

OPERATIONS = (
    Operation("GET", ("/v1/indexes",), names, "Indexes"),
    Operation("POST", ("/v1/indexes",), create, "Create an index", CreateBody, {"name": "docs", "model": "demo-m"}),
    Operation("GET", (ONE,), status, "An index's status"),
    Operation("DELETE", (ONE,), drop, "Drop an index"),
    Operation("POST", (f"{ONE}/documents",), add, "Write documents", AddBody, _DOCUMENTS),
    Operation("POST", (f"{ONE}/delete",), delete, "Delete documents", DeleteBody, {"ids": ["a"]}),
    Operation("GET", (f"{ONE}/documents/{{id:path}}",), document, "One document"),
    Operation("POST", (f"{ONE}/search",), search, "Search", SearchBody, {"query": "how do plants eat?", "k": 10}),
    Operation(
        "POST",
        (f"{ONE}/ladder",),
        set_ladder,
        "Set the cascade",
        LadderBody,
        {"rerank": {"model": "demo-rerank", "depth": 20}},
    ),
    Operation("POST", (f"{ONE}/ladder/measure",), measure, "Compare stages of the cascade", MeasureBody, LABELLED),
    Operation("POST", (f"{ONE}/rebuild",), rebuild, "Embed all texts again", RebuildBody, {}),
)
