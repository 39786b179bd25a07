"""config_sentence_transformers.json: the prompts and the model type that a checkpoint declares."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from upsize.catalog import Kind
from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model.config import is_there, read_json
from upsize.model.prompts import EmbeddingPrompts, RerankPrompts

log = logging.getLogger(__name__)

FILE = "config_sentence_transformers.json"
MODEL_TYPES: dict[Kind, str] = {"embedding": "SentenceTransformer", "reranker": "CrossEncoder"}


class Declared:
    """The file's content; empty if there is no file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._raw: dict[str, Any] = read_json(self.path, "prompts") if is_there(self.path) else {}
        prompts = self._raw.get("prompts") or {}
        if not isinstance(prompts, dict) or not all(v is None or isinstance(v, str) for v in prompts.values()):
            raise CheckpointError(self.path, "prompts as an object of texts", repr(prompts)[:80])
        self._prompts: dict[str, str | None] = prompts

    def check(self, kind: Kind) -> None:
        """Raise UnsupportedModel for another type of model; log settings that do not apply by default."""
        named = self._raw.get("model_type")
        if named is not None and named != MODEL_TYPES[kind]:
            raise UnsupportedModel(
                self.path, f"model_type {MODEL_TYPES[kind]!r}, as the other files say", repr(named)[:80]
            )
        if self._raw.get("truncate_dim") is not None:
            log.warning(
                "%s has truncate_dim %r: vectors have all dimensions unless a request asks for fewer",
                self.path,
                self._raw["truncate_dim"],
            )

    @property
    def similarity(self) -> str | None:
        """The name of the similarity function, if the file has one."""
        value = self._raw.get("similarity_fn_name")
        return None if value is None else str(value)

    def embedding_prompts(self) -> EmbeddingPrompts:
        """Return the prompts of queries and documents: the file's, or the family's.

        The file's default prompt is the prefix of texts without an input type.
        """
        default, own = EmbeddingPrompts(), self._prompts
        query, document = own.get("query"), own.get("document", own.get("passage"))
        return EmbeddingPrompts(
            default.query if query is None else query,
            default.document if document is None else document,
            self._default() or "",
        )

    def rerank_prompts(self, of_template: str | None = None) -> RerankPrompts:
        """Return the default task: the file's, or the chat template's, or the family's."""
        own = self._default() or of_template
        return RerankPrompts(own) if own else RerankPrompts()

    def _default(self) -> str | None:
        name = self._raw.get("default_prompt_name")
        if name is None:
            return None
        if not isinstance(name, str) or name not in self._prompts:
            found = f"{name!r}, and prompts {', '.join(map(repr, self._prompts)) or 'that are none'}"
            raise CheckpointError(self.path, "a default_prompt_name that prompts has", found[:160])
        return self._prompts[name]
