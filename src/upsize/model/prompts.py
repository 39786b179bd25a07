"""The text around an input: instruction, end token, rerank template.

Source: docs/sources.md §3, §4.

`encoding` applies it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal

from upsize.catalog.instructions import QUERY_FORM, RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH

Side = Literal["left", "right"]
_FORM = re.compile(r"Instruct: (?P<instruction>.*)\nQuery:(?P<space>\s*)", re.DOTALL)


_LEAD = re.compile(r"(?:Instruct|<Instruct>): ?")
_TAIL = re.compile(r"\n(?:Query|<Query>):[ \t]*\Z")


def bare_instruction(instruction: str) -> str:
    """Return the task of an instruction that a client sent within the family's template: "Instruct: …\\nQuery:".

    Prompt strings of other servers and libraries have this form; this project adds the template itself.
    """
    lead = _LEAD.match(instruction)
    if lead is None:
        return _TAIL.sub("", instruction)
    task, _, rest = instruction[lead.end() :].partition("\nQuery:" if lead[0].startswith("I") else "\n<Query>:")
    return instruction if rest.strip() else task


@dataclass(frozen=True)
class Truncation:
    """Whether a text that is too long is truncated instead of refused, and at which end."""

    allowed: bool = False
    side: Side = "right"


@dataclass(frozen=True)
class EmbeddingPrompts:
    """Prefixes of queries and documents. A checkpoint's own files win over the catalog's."""

    query: str = QUERY_FORM.format(instruction=WEB_SEARCH)
    document: str = ""
    other: str = ""
    """Prefix of texts without an input type."""

    def prefix(self, input_type: Literal["query", "document"] | None, instruction: str | None) -> str:
        """Return the prefix of a text. An instruction makes any text a query."""
        if instruction:
            own = _FORM.fullmatch(self.query)
            return QUERY_FORM.format(instruction=bare_instruction(instruction)) + (own["space"] if own else "")
        return {"query": self.query, "document": self.document, None: self.other}[input_type]

    def digest(self) -> str:
        """16 hexadecimal digits of the prompt bytes."""
        other = f"\0{self.other}" if self.other else ""
        return hashlib.sha256(f"{self.query}\0{self.document}{other}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RerankPrompts:
    """The default task of a reranker. The family's template goes around it."""

    instruction: str = WEB_SEARCH

    def digest(self) -> str:
        """16 hexadecimal digits of the template and the default task."""
        form = "\0".join((RERANK_PREFIX, RERANK_BODY, RERANK_SUFFIX, self.instruction))
        return hashlib.sha256(form.encode()).hexdigest()[:16]
