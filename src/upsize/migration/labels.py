"""Labels: queries with relevance judgements, as requests carry them."""

from __future__ import annotations

from typing import Annotated

import msgspec

Grade = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
"""A relevance grade. TREC's grades go from −2 to 4."""


class Relevant(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A judged document, named by its id in the index, its text, or both."""

    id: str | None = None
    text: str | None = None
    grade: Grade = 1


class LabelledQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A query with its judgements."""

    query: str
    relevant: tuple[Relevant, ...]
    own: Relevant | None = None
    """The document that the query is a copy of, if any. Results leave it out unless it is judged relevant; its grade is
    ignored."""
