"""From a request to the token ids of its sequences, in steps that a tokenizer thread runs one at a time."""

from __future__ import annotations

from collections.abc import Iterator

from upsize.compute import LoadedModel
from upsize.engine.types import EmbedRequest, Request
from upsize.errors import InvalidInput
from upsize.model import Encoded, check_dimension
from upsize.model.encoding import ids_in_steps, pairs_in_steps, texts_in_steps
from upsize.model.incremental_encoding import Steps, TokenBudget, finish
from upsize.model.input_lint import lint_text, lint_token_ids
from upsize.model.prompts import EmbeddingPrompts, RerankPrompts, bare_instruction

LINTED_ID_INPUTS = 16
"""Token-id inputs of one request that are linted. One tokenizer made all of them, and each check encodes a text."""
CHARACTERS_PER_TOKEN = 4
"""Characters of an average token of English text, where tokens are not counted yet. A Chinese token has fewer, so the
estimate is too low there; the exact count follows."""


def encode(model: LoadedModel, request: Request) -> list[Encoded]:
    """The token ids of every sequence of a request, as `model` takes them."""
    return finish(encode_in_steps(model, request))


def encode_in_steps(
    model: LoadedModel, request: Request, budget: TokenBudget | None = None, *, whole: bool = False
) -> Steps[list[Encoded]]:
    """As `encode`, in steps.

    `budget`: tokens that the request may have in all. `whole`: truncated texts are tokenised to their end, so that
    their cut tokens are counted exactly. Raises InvalidInput and TextTooLong.
    """
    checkpoint, limit = model.checkpoint, model.plan.max_length
    tokenizer, prompts = checkpoint.tokenizer, checkpoint.prompts
    if isinstance(request, EmbedRequest):
        if not isinstance(prompts, EmbeddingPrompts):
            raise InvalidInput("This model is a reranker: it gives scores, not vectors.", param="model")
        check_dimension(request.dimensions, checkpoint.config.hidden_size)
        inputs, truncation = request.inputs, request.truncation
        if inputs and not isinstance(inputs[0], str):
            return (yield from ids_in_steps(tokenizer, inputs, limit, truncation, budget))  # type: ignore[arg-type]
        prefix = prompts.prefix(request.input_type, request.instruction)
        steps = texts_in_steps(tokenizer, inputs, prefix, limit, truncation, budget, whole=whole)  # type: ignore[arg-type]
        return (yield from steps)
    if not isinstance(prompts, RerankPrompts):
        raise InvalidInput("This model is an embedder: it gives vectors, not scores of pairs.", param="model")
    return (
        yield from pairs_in_steps(
            tokenizer,
            bare_instruction(request.instruction or prompts.instruction),
            request.query,
            request.documents,
            limit,
            request.truncation,
            request.max_document_tokens,
            budget,
            whole=whole,
        )
    )


def characters(request: Request) -> int:
    """Characters of all texts, with the instruction once for each. A token id counts as one character."""
    if isinstance(request, EmbedRequest):
        texts, each = request.inputs, 0
    else:
        texts, each = request.documents, len(request.query)
    return sum(map(len, texts)) + len(texts) * (each + len(request.instruction or ""))


def estimated_tokens(request: Request) -> float:
    """Tokens of a request that is not tokenised yet. Exact for token ids."""
    return characters(request) if _has_token_ids(request) else characters(request) / CHARACTERS_PER_TOKEN


def lint_findings(model: LoadedModel, request: Request) -> Iterator[str]:
    """Kinds of lint findings (keys of `input_lint.ADVICE`) in a request. The request succeeds all the same."""
    if request.instruction:  # the task alone, without a template that the client put around it
        yield from lint_text(bare_instruction(request.instruction), instructed=True)
    if isinstance(request, EmbedRequest):
        for item in request.inputs[:LINTED_ID_INPUTS] if _has_token_ids(request) else request.inputs:
            if isinstance(item, str):
                yield from lint_text(item, instructed=bool(request.instruction) or request.input_type == "query")
            else:
                yield from lint_token_ids(model.checkpoint.tokenizer, item)
    else:
        for text in (request.query, *request.documents):
            yield from lint_text(text, instructed=True)


def _has_token_ids(request: Request) -> bool:
    return isinstance(request, EmbedRequest) and bool(request.inputs) and not isinstance(request.inputs[0], str)
