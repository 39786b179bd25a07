"""Embedder: embeds texts from Python, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from upsize.engine.local import REQUEST_TEXTS, LocalModel
from upsize.engine.python_inputs import each_text, instruction_of, texts_of
from upsize.engine.types import EmbedRequest, Priority, Result
from upsize.model import EmbeddingPrompts

InputType = Literal["query", "document"] | None


class Embedder(LocalModel):
    """Embeds texts.

    >>> from upsize import Embedder
    >>> with Embedder("demo-m") as embedder:
    ...     queries = embedder.encode_query(["how do plants eat light?"])
    ...     documents = embedder.encode_document(["Photosynthesis turns light into sugar.", "A recipe for soup."])
    ...     bool((queries @ documents.T).argmax() == 0)
    True
    """

    kind = "embedding"

    @property
    def dimension(self) -> int:
        """Values of a full-size vector."""
        return self._loaded.checkpoint.config.hidden_size

    def prefix(self, input_type: InputType, instruction: str | None = None) -> str:
        """The text that is put before each text: an instruction in the family's form, or an empty string."""
        prompts = self._loaded.checkpoint.prompts
        assert isinstance(prompts, EmbeddingPrompts)  # `kind` is checked at load
        return prompts.prefix(input_type, instruction)

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dim: int | None = None,
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """Embed queries, with the model's default instruction unless another one is given.

        `instruction` is the task in English, e.g. "Given a claim, find documents that refute it". Returns float32
        (n, dim), or (dim,) for one string: unit vectors, cut to `dim` (32 up to the model's dimension) if given.
        Raises InvalidInput (empty text, dimension), TextTooLong, NonFiniteVector.
        """
        return self._encode(texts, "query", instruction, dim, progress)

    def encode_document(
        self, texts: str | Sequence[str], *, dim: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Embed documents as they are, without an instruction. Shapes and errors as for `encode_query`."""
        return self._encode(texts, "document", None, dim, progress)

    def encode(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dim: int | None = None,
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """Embed texts for symmetric tasks (similarity, clustering, classification) with one `instruction` for all.

        Without an instruction, the texts are embedded as they are. Shapes and errors as for `encode_query`.
        """
        return self._encode(texts, None, instruction, dim, progress)

    def stream(
        self, texts: Iterable[str], input_type: InputType, *, instruction: str | None = None, dim: int | None = None
    ) -> Iterator[Result]:
        """Embed any number of texts; yields a Result for each 64 of them, in order, with vectors and token counts.

        `texts` is read a few hundred texts ahead. Arguments and errors as for `encode_query`; the `index` of an error
        counts all texts.
        """
        rest, instruction = each_text(texts, "texts", may_be_empty=True), instruction_of(instruction)
        chunks = iter(lambda: list(islice(rest, REQUEST_TEXTS)), [])
        return self._run(
            EmbedRequest(chunk, input_type, instruction, dim, self._truncation, Priority.BULK) for chunk in chunks
        )

    def count_tokens(
        self, texts: Sequence[str], input_type: InputType = None, *, instruction: str | None = None
    ) -> list[int]:
        """Tokens of each text without truncation, instruction and end token included."""
        return self._count(EmbedRequest(texts_of(texts, "texts"), input_type, instruction_of(instruction)))

    def _encode(
        self,
        texts: str | Sequence[str],
        input_type: InputType,
        instruction: str | None,
        dim: int | None,
        progress: bool,
    ) -> NDArray[np.float32]:
        if isinstance(texts, str):
            return self._encode([texts], input_type, instruction, dim, progress)[0]  # type: ignore[no-any-return]
        texts, instruction = texts_of(texts, "texts"), instruction_of(instruction)
        requests = (
            EmbedRequest(texts[i : i + REQUEST_TEXTS], input_type, instruction, dim, self._truncation, Priority.BULK)
            for i in range(0, max(len(texts), 1), REQUEST_TEXTS)
        )
        return self._values(requests, len(texts), progress)
