"""Labels: queries, and what was judged for them, as they travel."""

from __future__ import annotations

from typing import Annotated

import msgspec

Grade = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
"""TREC's go from −2 to 4."""


class Relevant(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A judged document: by its id in the index, by its text, or both."""

    id: str | None = None
    text: str | None = None
    grade: Grade = 1


class LabelledQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """A query and what was judged for it."""

    query: str
    relevant: tuple[Relevant, ...]
    own: Relevant | None = None
    """The document that is the query itself, where it is one: no answer to it, unless it is judged relevant. Its grade
    is not looked at."""
