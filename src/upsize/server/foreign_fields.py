"""Fields of other servers that change what a vector or a score means: honoured, or refused with what to do instead.

A dialect's body names its table as `foreign`. What is in no table and no body changes nothing (`user`, `metadata`,
`service_tier`, `drop_params`), and is let pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from upsize.errors import InvalidInput

Fields = Mapping[str, Any]
"""Fields of the body here that say the same; none where the value is what this server does anyway."""


@dataclass(frozen=True)
class Foreign:
    """One field of other servers."""

    advice: str
    """What to do instead, where it is refused."""
    values: Mapping[Any, Fields] = field(default_factory=dict)
    """Value, in lower case if it is text → fields here."""
    alias: str | None = None
    """The field here that takes any other value as it is."""

    def here(self, name: str, value: Any) -> Fields:
        """What it is here; InvalidInput where it is nothing."""
        key = value.strip().lower() if isinstance(value, str) else value
        if value is None:
            return {}
        if isinstance(key, bool | int | float | str) and key in self.values:
            return self.values[key]
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            listed = value[0].lower()
            if (listed,) in self.values:
                return self.values[listed,]
        if self.alias is not None:
            return {self.alias: value}
        shown = repr(value)
        raise InvalidInput(
            f"{name}: {shown if len(shown) <= 60 else shown[:60] + '…'} is not served here, and would change what the "
            f"answer means if it were ignored. {self.advice}",
            param=name,
        )


def _each(keys: Iterable[Any], fields: Any) -> dict[Any, Any]:
    """The same for each of several values, or names."""
    return dict.fromkeys(keys, fields)


_INSTRUCTION = "Leave it out, or send `instruction`, the task in English."
_QUERY, _DOCUMENT, _SAME = {"input_type": "query"}, {"input_type": "document"}, dict[str, Any]()

_SIDE = Foreign(
    f"Use query or document. For symmetric work (similarity, clustering, classification): {_INSTRUCTION}",
    {
        **_each(("query", "search_query", "retrieval.query", "retrieval_query", "query: "), _QUERY),
        **_each(("document", "search_document", "passage"), _DOCUMENT),
        **_each(("retrieval.passage", "retrieval_document", "retrieval.document"), _DOCUMENT),
    },
)
"""Cohere's, Jina's, Voyage's, Google's, NVIDIA's and DashScope's names of the two sides of a retrieval."""
_UNIT = Foreign("Vectors are always of length 1 here.", {True: _SAME})
_DIMENSION = Foreign("Send `dimensions`.", alias="dimensions")
_FLOAT = Foreign(
    "Vectors are float32: leave it out, or send `encoding_format`: float or base64.",
    {
        **_each(("float", "float32", ("float",)), _SAME),
        **_each(("base64", ("base64",)), {"encoding_format": "base64"}),
    },
)
_NEVER = {False: _SAME}
_SHORTEN = Foreign(
    "Send `truncate`: true to cut texts to what the model takes; the server's setting is --context-length.",
    {-1: {"truncate": True}},
)
_CUT = Foreign(
    "Use true, false, START, END or NONE.",
    {
        True: _SAME,
        False: _SAME,
        "none": {"truncate": False},
        **_each(("end", "right"), {"truncate": True, "truncation_side": "right"}),
        **_each(("start", "left"), {"truncate": True, "truncation_side": "left"}),
    },
)
_CUT_SIDE = Foreign(
    "Use left or right.",
    {side: {"truncation_side": side} for side in ("left", "right")},
)
_TEXT_ALONE = Foreign("Send texts as `input`; other kinds of input are not embedded here.")

_COMMON: dict[str, Foreign] = {
    "adapter_id": Foreign("Adapters are not served: merge it into its base model and serve that."),
    "lora_path": Foreign("Adapters are not served: merge it into its base model and serve that."),
    "add_special_tokens": Foreign("The end token and the template are always there.", {True: _SAME}),
    "chat_template": Foreign("The published template is always used; send bare texts."),
    "chat_template_kwargs": Foreign("The published template is always used; send bare texts."),
    "mm_processor_kwargs": _TEXT_ALONE,
    "prompt": Foreign(f"A prompt is put before texts as the model was trained with it. {_INSTRUCTION}"),
    "prompt_template": Foreign(f"Prompts are as the model was trained with them. {_INSTRUCTION}"),
    "truncate_prompt_tokens": _SHORTEN,
    "truncation": Foreign("Send `truncate`: true or false.", {v: {"truncate": v} for v in (True, False)}),
    "auto_truncate": Foreign("Send `truncate`: true or false.", {v: {"truncate": v} for v in (True, False)}),
}

EMBEDDING: Mapping[str, Foreign] = _COMMON | {
    "input_type": _SIDE,
    "task": _SIDE,
    "task_type": _SIDE,
    "text_type": _SIDE,
    "prompt_name": Foreign(f"Use query or document. {_INSTRUCTION}", _SIDE.values),
    "prompt_type": _SIDE,
    "output_dimension": _DIMENSION,
    **_each(("output_dimensionality", "output_dimensions", "dimensionality", "vector_size", "dim", "dims"), _DIMENSION),
    **_each(("truncate_dim", "matryoshka_dim", "embedding_dim", "embedding_dimension", "embedding_size"), _DIMENSION),
    "embedding_types": _FLOAT,
    "embedding_type": _FLOAT,
    "embed_dtype": _FLOAT,
    **_each(("output_dtype", "encoding_type", "precision", "quantization"), _FLOAT),
    "endianness": Foreign("Base64 is of little-endian float32.", {"little": _SAME, "native": _SAME}),
    "max_length": _SHORTEN,
    "max_tokens": _SHORTEN,
    "long_text_mode": Foreign("Send `truncate`: true to cut long texts.", {"truncate": {"truncate": True}}),
    **_each(("query_instruction", "query_prefix", "text_prefix", "prefix"), Foreign(_INSTRUCTION)),
    "is_query": Foreign("Send `input_type`: query or document.", {True: _QUERY, False: _DOCUMENT}),
    "role": _SIDE,
    **_each(("sparse", "return_sparse", "return_colbert_vecs"), Foreign("Dense vectors alone are served.", _NEVER)),
    **_each(("dense", "return_dense"), Foreign("Dense vectors alone are served.", {True: _SAME})),
    "normalize": _UNIT,
    "normalized": _UNIT,
    "normalize_embeddings": _UNIT,
    "late_chunking": Foreign("Each text is embedded by itself; leave it out.", _NEVER),
    "return_multivector": Foreign("One vector a text; leave it out.", _NEVER),
    "pooling": Foreign("The family's pooling is the last token.", _each(("last", "lasttoken"), _SAME)),
    "pooling_method": Foreign("The family's pooling is the last token.", _each(("last", "lasttoken"), _SAME)),
    "pooling_type": Foreign("The family's pooling is the last token.", _each(("last", "lasttoken"), _SAME)),
    "truncate": _CUT,
    "truncation_direction": _CUT_SIDE,
    **_each(("messages", "images", "image", "modality", "audio", "video"), _TEXT_ALONE),
}
"""Of `/v1/embeddings` and `/encode`."""

RERANK: Mapping[str, Foreign] = _COMMON | {
    "rank_fields": Foreign(
        "The text of a document alone is ranked: send each as one string, with the fields that count.",
        {("text",): _SAME},
    ),
    "max_chunks_per_doc": Foreign("Documents are not split. Send `max_tokens_per_doc` to cut them."),
    "max_length": Foreign("Send `max_tokens_per_doc` to cut documents."),
    "max_doc_length": Foreign("Send `max_tokens_per_doc` to cut documents."),
    "max_query_length": Foreign("A query is never cut; send a shorter one."),
    "top_k": Foreign("Send `top_n`."),
    **_each(
        ("score_threshold", "relevance_threshold", "min_score", "threshold"),
        Foreign("All documents are returned, or the first `top_n`; leave out those with a low score yourself."),
    ),
    "overlap_tokens": Foreign("Documents are not split. Send `max_tokens_per_doc` to cut them."),
    "raw_scores": Foreign("Scores are the probability of yes; its logit is what the network gave.", _NEVER),
    "activation": Foreign("Scores are the probability of yes; its logit is what the network gave.", {True: _SAME}),
    "use_activation": Foreign("Scores are the probability of yes; its logit is what the network gave.", {True: _SAME}),
    **_each(("return_logits", "score_type"), Foreign("Scores are the probability of yes.", _NEVER)),
    "softmax": Foreign("Each document is scored by itself.", _NEVER),
    "normalize": Foreign("Scores are the probability of yes.", {True: _SAME}),
    "truncate": Foreign(
        "Documents are cut at their end alone: use true, false, END or NONE.",
        {
            True: _SAME,
            False: _SAME,
            "none": {"truncate": False},
            **_each(("end", "right"), {"truncate": True}),
        },
    ),
    "truncation_direction": Foreign("Documents are cut at their end alone.", {"right": _SAME}),
    "truncation_side": Foreign("Documents are cut at their end alone.", {"right": _SAME}),
}
"""Of the rerank endpoints."""
