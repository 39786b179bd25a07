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


def encode(model: LoadedModel, request: Request) -> list[Encoded]:
    """The ids of every sequence of a request, as `model` takes them."""
    return finish(encode_in_steps(model, request))


def encode_in_steps(
    model: LoadedModel, request: Request, budget: TokenBudget | None = None, *, whole: bool = False
) -> Steps[list[Encoded]]:
    """As `encode`, in steps. `budget`: tokens that the request may have. `whole`: texts are counted to their end
    where they are cut."""
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
    """Of all its texts, the instruction's included for each; an id counts as one."""
    if isinstance(request, EmbedRequest):
        texts, each = request.inputs, 0
    else:
        texts, each = request.documents, len(request.query)
    return sum(map(len, texts)) + len(texts) * (each + len(request.instruction or ""))


def lint_findings(model: LoadedModel, request: Request) -> Iterator[str]:
    """What looks wrong with a request that will succeed all the same (kinds of `model.suspicion`)."""
    if request.instruction:  # what is left of it once the template around the task is taken off
        yield from lint_text(bare_instruction(request.instruction), instructed=True)
    if isinstance(request, EmbedRequest):
        all_ids = request.inputs and not isinstance(request.inputs[0], str)
        for item in request.inputs[:LINTED_ID_INPUTS] if all_ids else request.inputs:
            if isinstance(item, str):
                yield from lint_text(item, instructed=bool(request.instruction) or request.input_type == "query")
            else:
                yield from lint_token_ids(model.checkpoint.tokenizer, item)
    else:
        for text in (request.query, *request.documents):
            yield from lint_text(text, instructed=True)
