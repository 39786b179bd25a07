"""Status of an index, as plain values for people and programs."""

from __future__ import annotations

from typing import Any

from upsize.errors import UpsizeError
from upsize.index.documents import Documents
from upsize.index.state import Generation, State, describe
from upsize.store import Store


def generation_status(state: State, documents: Documents, store: Store, generation: Generation) -> dict[str, Any]:
    """What a generation is, its backlog, and its table; `error` in place of the table where the store fails."""
    refused, examples = documents.refused(generation.id)
    status = dict(describe(generation)) | {
        "filled": generation in state.kept_current,
        "missing": documents.backlog_size(generation.id),
        "refused": refused,
        "refused_examples": examples,
    }
    table = state.table(generation)
    try:
        status |= {"vectors": store.count(table), "bytes": store.bytes(table)}
        status["approximate"] = store.indexed(table)
    except UpsizeError as error:
        status["error"] = str(error)
    return status
