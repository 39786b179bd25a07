"""`/v1/indexes`: texts in, documents found, and the rungs before a move."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upsize.errors import InvalidInput, UnknownDocument
from upsize.index import Index, Rerank, Rescore, SearchRequest, SearchResult, Setup, VectorSpec
from upsize.index import cascade as ladder
from upsize.index.index import COUNTED
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
"""Of one call."""


async def do(service: Service, kind: IndexWork, work: Callable[[], T]) -> T:
    """Work that blocks, off the event loop."""
    done = await service.in_index_thread(kind, work)
    shown = not service.allowed.anything and isinstance(done, dict)
    return cast(T, public_status(done, service.folders)) if shown else done


def index_of(service: Service, request: Request) -> Index:
    """The index that the path names. Blocks where it has to be opened."""
    return service.indexes().get(request.path_params["name"])


def answered(value: Any, headers: dict[str, str] | None = None) -> Response:
    """A reply of JSON."""
    return Response(dumps(value), headers=headers, media_type="application/json")


async def names(service: Service, _: Request) -> Response:
    """The indexes that are here."""
    return answered({"indexes": await do(service, "search", service.indexes().names)})


async def create(service: Service, request: Request) -> Response:
    """A new index, on a model that is loaded for it if need be."""
    body = await read_body(request, CreateBody)
    model, store = service.loadable(body.model, "model"), service.allowed.store(body.store)
    vectors = VectorSpec(model, body.dtype, body.dimension, body.coarse, body.max_length)
    setup = Setup(body.name, vectors, store, body.truncate, body.instruction)
    return answered(await do(service, "long", lambda: service.indexes().create(setup).status()))


async def status(service: Service, request: Request) -> Response:
    """What an index holds and does."""
    return answered(await do(service, "search", lambda: index_of(service, request).status()))


async def drop(service: Service, request: Request) -> Response:
    """Remove an index, its texts included. `?force=true` also where its store does not answer, whose tables stay."""
    name = request.path_params["name"]
    asked = request.query_params.get("force", "false")
    if asked not in ("true", "false"):
        raise InvalidInput(f"force is {asked[:60]!r}; write true or false.", param="force")
    await do(service, "write", lambda: service.indexes().drop(name, force=asked == "true"))
    return answered({"dropped": name})


async def add(service: Service, request: Request) -> Response:
    """Write documents: all of them or none. When this answers they are on disk, and searches find them."""
    try:
        body = await read_body(request, AddBody)
    except InvalidInput as error:
        field = _UNKNOWN.search(str(error))
        if field is None or not is_vector_name(field[1]):
            raise
        told = "An index embeds each text with its own model and takes no vectors of another: leave the field out."
        raise InvalidInput(f"{error} {told}", param=error.param) from None
    if len(body.documents) > MOST_DOCUMENTS:
        raise InvalidInput(f"{len(body.documents)} documents; send {MOST_DOCUMENTS} a call at most.", param="documents")
    written = await do(
        service, "write", lambda: index_of(service, request).add(body.documents, keep_vectors=body.keep_vectors)
    )
    return answered(dataclasses.asdict(written))


async def delete(service: Service, request: Request) -> Response:
    """Delete documents. When this answers it is on disk, and no search finds them."""
    body = await read_body(request, DeleteBody)
    deleted = await do(service, "write", lambda: index_of(service, request).delete(body.ids))
    return answered({"deleted": deleted, "not_found": sorted(set(body.ids) - set(deleted))})


async def document(service: Service, request: Request) -> Response:
    """One document as it stands."""
    wanted = request.path_params["id"]
    found = await do(service, "search", lambda: index_of(service, request).get([wanted]).get(wanted))
    if found is None:
        raise UnknownDocument(wanted, request.path_params["name"])
    return answered({"id": found.id, "text": found.text, "metadata": found.metadata})


async def search(service: Service, request: Request) -> Response:
    """The documents nearest to a query, best first."""
    body = await read_body(request, SearchBody)
    rerank = body.rerank if isinstance(body.rerank, bool | None) else Rerank(body.rerank.model, body.rerank.depth)
    question = SearchRequest(
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
            service.loadable(rerank.model, "rerank.model", index)  # NotAllowed comes before what to do about it
            raise InvalidInput(
                f"rerank.model: {rerank.model!r} is not served here, and a search does not load one. Set it for the "
                f"index: upsize index ladder {index.name} --rerank {rerank.model}",
                param="rerank",
            )
        return index.search(question)

    with service.require_ready().throttle_bulk():  # also on the ways there and back
        answer = await do(service, "search", work)
        return answered(_answer(answer, body.explain), {"x-upsize-fingerprint": answer.generation.fingerprint.id})


def _at_hand(index: Index, model: str) -> bool:
    own = index.state.rerank
    return index.models.at_hand(model) or (own is not None and index.models.path(model) == own.model)


def _answer(answer: SearchResult, explain: bool) -> dict[str, Any]:
    results: list[dict[str, Any]] = [
        {"id": f.document.id, "score": f.score, "text": f.document.text, "metadata": f.document.metadata}
        for f in answer.found
    ]
    value: dict[str, Any] = {"results": results}
    if answer.missing or answer.refused:
        many = f"{COUNTED:,} or more" if answer.missing >= COUNTED else f"{answer.missing:,}"
        value["incomplete"] = {
            "missing": answer.missing,
            "refused": answer.refused,
            "note": f"Searches do not find {many} documents that are still to be embedded and {answer.refused:,} that "
            "the model refused: upsize index status.",
        }
    if explain:
        for result, found in zip(results, answer.found, strict=True):
            result["scores"] = found.scores
        value["explain"] = {
            "generation": answer.generation.id,
            "model": answer.generation.model,
            "fingerprint": answer.generation.fingerprint.id,
            "rungs": answer.rungs,
            "milliseconds": {part: 1e3 * s for part, s in answer.seconds.items()},
        }
    return value


async def set_ladder(service: Service, request: Request) -> Response:
    """Set rungs, or take them away; the status that follows."""
    body = await read_body(request, LadderBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        if body.rerank is not msgspec.UNSET:
            asked = body.rerank
            model = service.loadable(asked.model, "rerank.model", index) if asked else None
            ladder.set_rerank(index, model, asked.depth if asked else 20)
        if body.rescore is not msgspec.UNSET:
            larger = body.rescore
            if larger:
                model = service.loadable(larger.model, "rescore.model", index)
                ladder.set_rescore(index, model, larger.depth, larger.keep_bytes)
            else:
                ladder.set_rescore(index, None)
        if body.funnel is not msgspec.UNSET:
            ladder.set_funnel(index, body.funnel)
        return index.status()

    return answered(await do(service, "write", work))


async def measure(service: Service, request: Request) -> Response:
    """Quality with intervals, and latency, of each rung on labelled queries."""
    body = await read_body(request, MeasureBody)

    def work() -> dict[str, Any]:
        from upsize.migration.compare import compare_ladder  # statistics and metrics, which take a second to import

        index = index_of(service, request)
        own, larger = index.state.rerank, index.state.rescore
        if body.rescore and not larger:
            raise InvalidInput("rescore: no larger model is set. Set one: upsize index ladder NAME --rescore MODEL.")
        asked = [Rerank(service.loadable(r.model, "rerank.model", index), r.depth) for r in body.rerank]
        reranks = asked or ([own] if own else [])
        rescores = [Rescore(larger.generation, d) for d in body.rescore or [larger.depth]] if larger else []
        return compare_ladder(index, body.queries, rerank=reranks, rescore=rescores)

    return answered(await do(service, "long", work))


async def rebuild(service: Service, request: Request) -> Response:
    """Make a generation's vectors again from the texts."""
    body = await read_body(request, RebuildBody)
    return answered(
        await do(service, "write", lambda: {"rebuilding": index_of(service, request).rebuild(body.generation).id})
    )


_DOCUMENTS = {"documents": [{"id": "a", "text": "Plants turn light into sugar.", "metadata": {"lang": "en"}}]}
LABELLED = {"queries": [{"query": "how do plants eat?", "relevant": [{"id": "a"}]}]}

OPERATIONS = (
    Operation("GET", ("/v1/indexes",), names, "Indexes"),
    Operation("POST", ("/v1/indexes",), create, "Create an index", CreateBody, {"name": "docs", "model": "demo-m"}),
    Operation("GET", (ONE,), status, "An index's status"),
    Operation("DELETE", (ONE,), drop, "Remove an index"),
    Operation("POST", (f"{ONE}/documents",), add, "Write documents", AddBody, _DOCUMENTS),
    Operation("POST", (f"{ONE}/delete",), delete, "Delete documents", DeleteBody, {"ids": ["a"]}),
    Operation("GET", (f"{ONE}/documents/{{id:path}}",), document, "One document"),
    Operation("POST", (f"{ONE}/search",), search, "Search", SearchBody, {"query": "how do plants eat?", "k": 10}),
    Operation(
        "POST",
        (f"{ONE}/ladder",),
        set_ladder,
        "Set rungs",
        LadderBody,
        {"rerank": {"model": "demo-rerank", "depth": 20}},
    ),
    Operation("POST", (f"{ONE}/ladder/measure",), measure, "Compare rungs", MeasureBody, LABELLED),
    Operation("POST", (f"{ONE}/rebuild",), rebuild, "Make vectors again", RebuildBody, {}),
)
