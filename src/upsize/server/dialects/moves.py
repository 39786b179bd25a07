"""`/v1/indexes/{name}/move`: an index moves to another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from upsize.errors import Refused
from upsize.index import Index, VectorSpec
from upsize.migration import move, plan_move
from upsize.server.dialects.index_bodies import CompareBody, ForceBody, PlanBody, StartBody, TuneBody
from upsize.server.dialects.indexes import LABELLED, ONE, answered, do, index_of
from upsize.server.endpoint import Operation, read_body
from upsize.server.service import Service


def _plan(service: Service, index: Index, body: PlanBody) -> Any:
    wanted = VectorSpec(
        service.loadable(body.to, "to", index), body.dtype, body.dimension, body.coarse, body.max_length
    )
    return plan_move(index, wanted, price=body.price)


async def plan(service: Service, request: Request) -> Response:
    """What a move would take: hours, bytes, money, and what will not fit."""
    body = await read_body(request, PlanBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        try:
            value: dict[str, Any] = _plan(service, index, body).to_json()
        finally:
            index.release_models()
        return value

    return answered(await do(service, "long", work))


async def start(service: Service, request: Request) -> Response:
    """Begin a move, or go on after a pause."""
    body = await read_body(request, StartBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        to = service.loadable(body.to, "to", index) if body.to is not None else None
        if move.resume(index, to, body.dimension, body.shadow, body.canary):
            return move.status(index)
        if body.to is None:
            raise Refused(f"{index.name!r} has no backfill to go on with. Say to which model it is to move (to, --to).")
        shares = {"shadow": body.shadow, "canary": body.canary}
        given = {name: share for name, share in shares.items() if share is not None}
        try:
            move.start(index, _plan(service, index, body), **given, force=body.force)
        finally:
            index.release_models()  # where it was refused
        return move.status(index)

    return answered(await do(service, "long", work))


async def move_status(service: Service, request: Request) -> Response:
    """How far the move is, and how alike the generations answer."""
    return answered(await do(service, "search", lambda: move.status(index_of(service, request))))


async def tune(service: Service, request: Request) -> Response:
    """Change the shares of searches for comparison and canary."""
    body = await read_body(request, TuneBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        move.tune(index, shadow=body.shadow, canary=body.canary)
        return move.status(index)

    return answered(await do(service, "move", work))


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
    body = await read_body(request, ForceBody, default=ForceBody())

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        done = step(index, body.force)
        return move.status(index) | ({"dropped": done} if isinstance(done, str) else {})

    return answered(await do(service, "move", work))


async def compare(service: Service, request: Request) -> Response:
    """The verdict on a move: both generations on labelled queries."""
    body = await read_body(request, CompareBody)

    def work() -> dict[str, Any]:
        from upsize.selection import require_extra

        require_extra()
        from upsize.migration.compare import compare_move

        return compare_move(index_of(service, request), body.queries, delta=body.delta)

    return answered(await do(service, "long", work))


MOVE = f"{ONE}/move"

OPERATIONS = (
    Operation("GET", (MOVE,), move_status, "A move's status"),
    Operation("POST", (f"{MOVE}/plan",), plan, "Plan a move", PlanBody, {"to": "demo-m"}),
    Operation("POST", (f"{MOVE}/start",), start, "Start a move", StartBody, {"to": "demo-m"}),
    Operation("POST", (f"{MOVE}/tune",), tune, "Shadow and canary", TuneBody, {"canary": 0.1}),
    Operation("POST", (f"{MOVE}/pause",), pause, "Pause the backfill"),
    Operation("POST", (f"{MOVE}/compare",), compare, "Judge a move", CompareBody, LABELLED),
    Operation("POST", (f"{MOVE}/switch",), switch, "Switch", ForceBody, {"force": False}),
    Operation("POST", (f"{MOVE}/rollback",), rollback, "Roll back", ForceBody, {"force": False}),
    Operation("POST", (f"{MOVE}/finish",), finish, "Finish", ForceBody, {"force": False}),
)
