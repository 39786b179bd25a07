"""`/v1/indexes`: texts in, documents found, and the move of an index to another model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upsize.errors import InvalidInput, Refused, UnknownDocument
from upsize.evolve import (
    Answer,
    Incoming,
    Index,
    LabelledQuery,
    Question,
    Rerank,
    Rescore,
    Setup,
    ladder,
    move,
    plan_move,
)
from upsize.server.codec import dumps
from upsize.server.handling import Operation, read
from upsize.server.service import Lane, Service
from upsize.store import parse_filter

T = TypeVar("T")

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

MOST_DOCUMENTS = 2048
"""Of one call."""


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """What is not known is an error: a filter that is spelt wrong would find everything."""


class CreateBody(Body):
    """A new index."""

    name: str
    model: str
    dtype: str = "auto"
    dimension: Positive | None = None
    """Of the vectors. Default: the model's."""
    coarse: Positive | None = None
    """Keep vectors cut to so many values too, for a funnel."""
    max_length: Positive | None = None
    store: str = "lancedb"
    truncate: bool = False
    """Cut documents that are too long instead of refusing them."""
    instruction: str | None = None
    """Of queries, in English. Default: the model's."""


class AddBody(Body):
    """Documents to write."""

    documents: list[Incoming]


class DeleteBody(Body):
    """Documents to delete."""

    ids: list[str]


class RerankAsked(Body):
    """L1."""

    model: str
    depth: Positive = 20


class RescoreAsked(Body):
    """L2."""

    model: str
    depth: Positive = 50
    keep_bytes: int = 1 << 30
    """Of vectors that are kept."""


class SearchBody(Body):
    """A search."""

    query: str | None = None
    vector: list[float] | None = None
    """In place of the text; with `fingerprint`, the space that it is of."""
    fingerprint: str | None = None
    k: Positive = 10
    filter: dict[str, Any] | None = None
    """{"lang": "en", "year": {"gte": 2020}}; operators: eq ne in gt gte lt lte."""
    instruction: str | None = None
    dimension: Positive | None = None
    rerank: RerankAsked | bool | None = None
    """Default: the index's setting. false: without."""
    rescore: bool | None = None
    """Default: the index's setting. false: without."""
    funnel: int | None = None
    exact: bool = False
    """Look at every vector, also where there is an approximate index."""
    explain: bool = False


class LadderBody(Body):
    """The rungs; null takes one away, what is left out stays."""

    rerank: RerankAsked | msgspec.UnsetType | None = msgspec.UNSET
    rescore: RescoreAsked | msgspec.UnsetType | None = msgspec.UNSET
    funnel: Positive | msgspec.UnsetType | None = msgspec.UNSET


class MeasureBody(Body):
    """Rungs to compare on labelled queries; without any, those that are set."""

    queries: list[LabelledQuery]
    rerank: list[RerankAsked] = []
    rescore: list[Positive] = []
    """Depths, of the larger model that is set."""


class PlanBody(Body):
    """A move to look at."""

    to: str
    dtype: str = "auto"
    dimension: Positive | None = None
    coarse: Positive | None = None
    max_length: Positive | None = None
    price: float | None = None
    """Of an hour of this machine."""


class StartBody(PlanBody):
    """A move to begin, or to go on with."""

    to: str | None = None  # type: ignore[assignment]  # which is known of a move that is under way
    shadow: Share | None = None
    """Default: 0.05, or what it was."""
    canary: Share | None = None
    """Default: 0, or what it was."""
    force: bool = False


class TuneBody(Body):
    """Shares of the searches."""

    shadow: Share | None = None
    canary: Share | None = None


class ForceBody(Body):
    """Whether what would be refused is done all the same."""

    force: bool = False


class CompareBody(Body):
    """Labelled queries."""

    queries: list[LabelledQuery]
    delta: float = 0.01


class RebuildBody(Body):
    """Which generation; the one that answers, if none is named."""

    generation: str | None = None


async def _do(service: Service, lane: Lane, work: Callable[[], T]) -> T:
    return await service.beside(lane, work)


def _index(service: Service, request: Request) -> Index:
    return service.indexes().get(request.path_params["name"])


def _reply(value: Any, headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(value), headers=headers, media_type="application/json")


async def names(service: Service, _: Request) -> Response:
    """The indexes that are here."""
    return _reply({"indexes": await _do(service, "search", service.indexes().names)})


async def create(service: Service, request: Request) -> Response:
    """A new index, on a model that is loaded for it if need be."""
    body = await read(request, CreateBody)
    setup = Setup(**msgspec.structs.asdict(body))
    return _reply(await _do(service, "long", lambda: service.indexes().create(setup).status()))


async def status(service: Service, request: Request) -> Response:
    """What an index holds and does."""
    return _reply(await _do(service, "search", lambda: _index(service, request).status()))


async def drop(service: Service, request: Request) -> Response:
    """Remove an index, its texts included."""
    name = request.path_params["name"]
    await _do(service, "write", lambda: service.indexes().drop(name))
    return _reply({"dropped": name})


async def add(service: Service, request: Request) -> Response:
    """Write documents: all of them or none. When this answers they are on disk, and searches find them."""
    body = await read(request, AddBody)
    if len(body.documents) > MOST_DOCUMENTS:
        raise InvalidInput(f"{len(body.documents)} documents; send {MOST_DOCUMENTS} a call at most.", param="documents")
    written = await _do(service, "write", lambda: _index(service, request).add(body.documents))
    return _reply(dataclasses.asdict(written))


async def delete(service: Service, request: Request) -> Response:
    """Delete documents. When this answers it is on disk, and no search finds them."""
    body = await read(request, DeleteBody)
    deleted = await _do(service, "write", lambda: _index(service, request).delete(body.ids))
    return _reply({"deleted": deleted, "not_found": sorted(set(body.ids) - set(deleted))})


async def document(service: Service, request: Request) -> Response:
    """One document as it stands."""
    wanted = request.path_params["id"]
    found = await _do(service, "search", lambda: _index(service, request).get([wanted]).get(wanted))
    if found is None:
        raise UnknownDocument(wanted, request.path_params["name"])
    return _reply({"id": found.id, "text": found.text, "metadata": found.metadata})


async def search(service: Service, request: Request) -> Response:
    """The documents nearest to a query, best first."""
    body = await read(request, SearchBody)
    rerank = body.rerank if isinstance(body.rerank, bool | None) else Rerank(body.rerank.model, body.rerank.depth)
    question = Question(
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

    def work() -> Answer:
        index = _index(service, request)
        if isinstance(rerank, Rerank) and not _at_hand(index, rerank.model):
            raise InvalidInput(
                f"rerank.model: {rerank.model!r} is not served here, and a search does not load one. Set it for the "
                f"index: upsize index ladder {index.name} --rerank {rerank.model}",
                param="rerank",
            )
        return index.search(question)

    answer = await _do(service, "search", work)
    return _reply(_answer(answer, body.explain), {"x-upsize-fingerprint": answer.generation.fingerprint.id})


def _at_hand(index: Index, model: str) -> bool:
    own = index.state.rerank
    return index.models.at_hand(model) or (own is not None and index.models.path(model) == own.model)


def _answer(answer: Answer, explain: bool) -> dict[str, Any]:
    results: list[dict[str, Any]] = [
        {"id": f.document.id, "score": f.score, "text": f.document.text, "metadata": f.document.metadata}
        for f in answer.found
    ]
    value: dict[str, Any] = {"results": results}
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
    body = await read(request, LadderBody)

    def work() -> dict[str, Any]:
        index = _index(service, request)
        if body.rerank is not msgspec.UNSET:
            asked = body.rerank
            ladder.set_rerank(index, asked.model if asked else None, asked.depth if asked else 20)
        if body.rescore is not msgspec.UNSET:
            larger = body.rescore
            if larger:
                ladder.set_rescore(index, larger.model, larger.depth, larger.keep_bytes)
            else:
                ladder.set_rescore(index, None)
        if body.funnel is not msgspec.UNSET:
            ladder.set_funnel(index, body.funnel)
        return index.status()

    return _reply(await _do(service, "write", work))


async def measure(service: Service, request: Request) -> Response:
    """Quality with intervals, and latency, of each rung on labelled queries."""
    body = await read(request, MeasureBody)

    def work() -> dict[str, Any]:
        from upsize.evolve.compare import compare_ladder  # statistics and metrics, which take a second to import

        index = _index(service, request)
        own, larger = index.state.rerank, index.state.rescore
        if body.rescore and not larger:
            raise InvalidInput("rescore: no larger model is set. Set one: upsize index ladder NAME --rescore MODEL.")
        reranks = [Rerank(r.model, r.depth) for r in body.rerank] or ([own] if own else [])
        rescores = [Rescore(larger.generation, d) for d in body.rescore or [larger.depth]] if larger else []
        return compare_ladder(index, body.queries, rerank=reranks, rescore=rescores)

    return _reply(await _do(service, "long", work))


async def rebuild(service: Service, request: Request) -> Response:
    """Make a generation's vectors again from the texts."""
    body = await read(request, RebuildBody)
    return _reply(
        await _do(service, "write", lambda: {"rebuilding": _index(service, request).rebuild(body.generation).id})
    )


def _plan(index: Index, body: PlanBody) -> Any:
    return plan_move(
        index,
        body.to,
        dtype=body.dtype,
        dimension=body.dimension,
        coarse=body.coarse,
        max_length=body.max_length,
        price=body.price,
    )


async def plan(service: Service, request: Request) -> Response:
    """What a move would take: hours, bytes, money, and what will not fit."""
    body = await read(request, PlanBody)

    def work() -> dict[str, Any]:
        index = _index(service, request)
        try:
            value: dict[str, Any] = _plan(index, body).to_json()
        finally:
            index.release_models()
        return value

    return _reply(await _do(service, "long", work))


async def start(service: Service, request: Request) -> Response:
    """Begin a move, or go on after a pause."""
    body = await read(request, StartBody)

    def work() -> dict[str, Any]:
        index = _index(service, request)
        if move.resume(index, body.to, body.dimension, body.shadow, body.canary):
            return move.status(index)
        if body.to is None:
            raise Refused(f"{index.name!r} has no backfill to go on with. Say to which model it is to move (to, --to).")
        shares = {"shadow": body.shadow, "canary": body.canary}
        given = {name: share for name, share in shares.items() if share is not None}
        try:
            move.start(index, _plan(index, body), **given, force=body.force)
        finally:
            index.release_models()  # where it was refused
        return move.status(index)

    return _reply(await _do(service, "long", work))


async def move_status(service: Service, request: Request) -> Response:
    """How far the move is, and how alike the generations answer."""
    return _reply(await _do(service, "search", lambda: move.status(_index(service, request))))


async def tune(service: Service, request: Request) -> Response:
    """Change the shares of searches for comparison and canary."""
    body = await read(request, TuneBody)

    def work() -> dict[str, Any]:
        index = _index(service, request)
        move.tune(index, shadow=body.shadow, canary=body.canary)
        return move.status(index)

    return _reply(await _do(service, "write", work))


async def pause(service: Service, request: Request) -> Response:
    """Fill no further until it is started again."""
    return await _moved(service, request, lambda index, _: move.pause(index))


async def switch(service: Service, request: Request) -> Response:
    """Let the new generation answer."""
    return await _moved(service, request, lambda index, force: move.switch(index, force=force))


async def rollback(service: Service, request: Request) -> Response:
    """Let the old generation answer again."""
    return await _moved(service, request, lambda index, force: move.rollback(index, force=force))


async def finish(service: Service, request: Request) -> Response:
    """Drop the generation that does not answer."""
    return await _moved(service, request, lambda index, force: move.finish(index, force=force))


async def _moved(service: Service, request: Request, step: Callable[[Index, bool], Any]) -> Response:
    body = await read(request, ForceBody, default=ForceBody())

    def work() -> dict[str, Any]:
        index = _index(service, request)
        done = step(index, body.force)
        return move.status(index) | ({"dropped": done} if isinstance(done, str) else {})

    return _reply(await _do(service, "write", work))


async def compare(service: Service, request: Request) -> Response:
    """The verdict on a move: both generations on labelled queries."""
    body = await read(request, CompareBody)

    def work() -> dict[str, Any]:
        from upsize.evolve.compare import compare_move

        return compare_move(_index(service, request), body.queries, delta=body.delta)

    return _reply(await _do(service, "long", work))


_ONE = "/v1/indexes/{name}"
_MOVE = f"{_ONE}/move"
_DOCUMENTS = {"documents": [{"id": "a", "text": "Plants turn light into sugar.", "metadata": {"lang": "en"}}]}
_LABELLED = {"queries": [{"query": "how do plants eat?", "relevant": [{"id": "a"}]}]}

OPERATIONS = (
    Operation("GET", ("/v1/indexes",), names, "Indexes"),
    Operation("POST", ("/v1/indexes",), create, "Create an index", CreateBody, {"name": "docs", "model": "demo-m"}),
    Operation("GET", (_ONE,), status, "An index's status"),
    Operation("DELETE", (_ONE,), drop, "Remove an index"),
    Operation("POST", (f"{_ONE}/documents",), add, "Write documents", AddBody, _DOCUMENTS),
    Operation("POST", (f"{_ONE}/delete",), delete, "Delete documents", DeleteBody, {"ids": ["a"]}),
    Operation("GET", (f"{_ONE}/documents/{{id:path}}",), document, "One document"),
    Operation("POST", (f"{_ONE}/search",), search, "Search", SearchBody, {"query": "how do plants eat?", "k": 10}),
    Operation(
        "POST",
        (f"{_ONE}/ladder",),
        set_ladder,
        "Set rungs",
        LadderBody,
        {"rerank": {"model": "demo-rerank", "depth": 20}},
    ),
    Operation("POST", (f"{_ONE}/ladder/measure",), measure, "Compare rungs", MeasureBody, _LABELLED),
    Operation("POST", (f"{_ONE}/rebuild",), rebuild, "Make vectors again", RebuildBody, {}),
    Operation("GET", (_MOVE,), move_status, "A move's status"),
    Operation("POST", (f"{_MOVE}/plan",), plan, "Plan a move", PlanBody, {"to": "demo-m"}),
    Operation("POST", (f"{_MOVE}/start",), start, "Start a move", StartBody, {"to": "demo-m"}),
    Operation("POST", (f"{_MOVE}/tune",), tune, "Shadow and canary", TuneBody, {"canary": 0.1}),
    Operation("POST", (f"{_MOVE}/pause",), pause, "Pause the backfill"),
    Operation("POST", (f"{_MOVE}/compare",), compare, "Judge a move", CompareBody, _LABELLED),
    Operation("POST", (f"{_MOVE}/switch",), switch, "Switch", ForceBody, {"force": False}),
    Operation("POST", (f"{_MOVE}/rollback",), rollback, "Roll back", ForceBody, {"force": False}),
    Operation("POST", (f"{_MOVE}/finish",), finish, "Finish", ForceBody, {"force": False}),
)
