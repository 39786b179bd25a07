"""`/v1/indexes/{name}/move`: move an index to another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from upsize.errors import Refused
from upsize.index import Index, VectorSpec
from upsize.migration import move, plan_move
from upsize.server.dialects.index_bodies import CompareBody, ForceBody, PlanBody, StartBody, TuneBody
from upsize.server.dialects.indexes import LABELLED, ONE, index_of, json_reply, run_in_thread
from upsize.server.endpoint import Operation, read_body
from upsize.server.service import Service


def _plan(service: Service, index: Index, body: PlanBody) -> Any:
    wanted = VectorSpec(
        service.loadable(body.to, "to", index), body.dtype, body.dimension, body.coarse, body.max_length
    )
    return plan_move(index, wanted, price=body.price)


async def plan(service: Service, request: Request) -> Response:
    """Estimate a move: hours, bytes, cost, and problems that prevent it."""
    body = await read_body(request, PlanBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        try:
            value: dict[str, Any] = _plan(service, index, body).to_json()
        finally:
            index.release_models()
        return value

    return json_reply(await run_in_thread(service, "long", work))


async def start(service: Service, request: Request) -> Response:
    """Start a move, or resume its backfill."""
    body = await read_body(request, StartBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        to = service.loadable(body.to, "to", index) if body.to is not None else None
        if move.resume(index, to, body.dimension, body.shadow, body.canary):
            return move.status(index)
        if body.to is None:
            raise Refused(f"{index.name!r} has no backfill to resume. Name the model to move to (to, --to).")
        shares = {"shadow": body.shadow, "canary": body.canary}
        shares_given = {name: share for name, share in shares.items() if share is not None}
        try:
            move.start(index, _plan(service, index, body), **shares_given, force=body.force)
        finally:
            index.release_models()  # the move may have been refused
        return move.status(index)

    return json_reply(await run_in_thread(service, "long", work))


async def move_status(service: Service, request: Request) -> Response:
    """Status of the move."""
    return json_reply(await run_in_thread(service, "search", lambda: move.status(index_of(service, request))))


async def tune(service: Service, request: Request) -> Response:
    """Change the shares of shadow reads and of canary searches."""
    body = await read_body(request, TuneBody)

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        move.tune(index, shadow=body.shadow, canary=body.canary)
        return move.status(index)

    return json_reply(await run_in_thread(service, "move", work))


async def pause(service: Service, request: Request) -> Response:
    """Pause the backfill until the next start."""
    return await _take_step(service, request, lambda index, _: move.pause(index))


async def switch(service: Service, request: Request) -> Response:
    """Let the new generation answer."""
    return await _take_step(service, request, lambda index, force: move.switch(index, force=force))


async def rollback(service: Service, request: Request) -> Response:
    """Let the old generation answer again."""
    return await _take_step(service, request, lambda index, force: move.rollback(index, force=force))


async def finish(service: Service, request: Request) -> Response:
    """Drop the generation that does not answer."""
    return await _take_step(service, request, lambda index, force: move.finish(index, force=force))


async def _take_step(service: Service, request: Request, step: Callable[[Index, bool], Any]) -> Response:
    body = await read_body(request, ForceBody, default=ForceBody())

    def work() -> dict[str, Any]:
        index = index_of(service, request)
        done = step(index, body.force)
        return move.status(index) | ({"dropped": done} if isinstance(done, str) else {})

    return json_reply(await run_in_thread(service, "move", work))


async def compare(service: Service, request: Request) -> Response:
    """Compare both generations on labelled queries; the verdict is kept with the move."""
    body = await read_body(request, CompareBody)

    def work() -> dict[str, Any]:
        from upsize.selection import require_extra

        require_extra()
        from upsize.migration.compare import compare_move

        return compare_move(index_of(service, request), body.queries, delta=body.delta)

    return json_reply(await run_in_thread(service, "long", work))


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
