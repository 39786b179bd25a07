"""Fields of other servers that change what a vector or a score means: translated, or refused with advice.

A dialect's body names its table as `foreign`. A field that is in no table and in no body changes nothing (`user`,
`metadata`, `service_tier`, `drop_params`), and is ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from upsize.errors import InvalidInput

OwnFields = Mapping[str, Any]
"""Fields of this server's body with the same meaning. Empty where the value is what this server does anyway."""


@dataclass(frozen=True)
class ForeignField:
    """One field of other servers."""

    advice: str
    """What a client can do instead, for values that are refused."""
    values: Mapping[Any, OwnFields] = field(default_factory=dict)
    """Value (texts in lower case) → fields of this server."""
    alias: str | None = None
    """The field of this server that takes any other value unchanged."""

    def translate(self, name: str, value: Any) -> OwnFields:
        """The fields of this server with the same meaning. Raises InvalidInput where there are none."""
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
            f"{name}: this server does not support {shown if len(shown) <= 60 else shown[:60] + '…'}, and without it "
            f"the answer would mean something else. {self.advice}",
            param=name,
        )


def _each(keys: Iterable[Any], fields: Any) -> dict[Any, Any]:
    """A table that gives each key the same fields."""
    return dict.fromkeys(keys, fields)


_INSTRUCTION = "Leave it out, or send `instruction`, the task in English."
_QUERY, _DOCUMENT, _SAME = {"input_type": "query"}, {"input_type": "document"}, dict[str, Any]()

_SIDE = ForeignField(
    f"Use query or document. For symmetric work (similarity, clustering, classification): {_INSTRUCTION}",
    {
        **_each(("query", "search_query", "retrieval.query", "retrieval_query", "query: "), _QUERY),
        **_each(("document", "search_document", "passage"), _DOCUMENT),
        **_each(("retrieval.passage", "retrieval_document", "retrieval.document"), _DOCUMENT),
    },
)
"""The two sides of a retrieval as Cohere, Jina, Voyage, Google, NVIDIA and DashScope call them."""
_UNIT = ForeignField("This server returns unit vectors.", {True: _SAME})
_DIMENSION = ForeignField("Send `dimensions`.", alias="dimensions")
_FLOAT = ForeignField(
    "Vectors are float32. Leave it out, or send `encoding_format`: float or base64.",
    {
        **_each(("float", "float32", ("float",)), _SAME),
        **_each(("base64", ("base64",)), {"encoding_format": "base64"}),
    },
)
_NEVER = {False: _SAME}
_SHORTEN = ForeignField(
    "Send `truncate`: true to cut texts to the model's maximum length; --context-length sets it for the server.",
    {-1: {"truncate": True}},
)
_CUT = ForeignField(
    "Use true, false, START, END or NONE.",
    {
        True: _SAME,
        False: _SAME,
        "none": {"truncate": False},
        **_each(("end", "right"), {"truncate": True, "truncation_side": "right"}),
        **_each(("start", "left"), {"truncate": True, "truncation_side": "left"}),
    },
)
_CUT_SIDE = ForeignField(
    "Use left or right.",
    {side: {"truncation_side": side} for side in ("left", "right")},
)
_POOLING = ForeignField("The models of this family pool the last token.", _each(("last", "lasttoken"), _SAME))
_SCORES = "Scores are the probability of yes. Its logit is the log-odds of the network."
_TEXT_ONLY = ForeignField("Send texts as `input`. This server embeds nothing else.")

_COMMON: dict[str, ForeignField] = {
    "adapter_id": ForeignField("Merge the adapter into its base model, and serve the result."),
    "lora_path": ForeignField("Merge the adapter into its base model, and serve the result."),
    "add_special_tokens": ForeignField("The end token and the template are always added.", {True: _SAME}),
    "chat_template": ForeignField("The published template is always used. Send texts without a template."),
    "chat_template_kwargs": ForeignField("The published template is always used. Send texts without a template."),
    "mm_processor_kwargs": _TEXT_ONLY,
    "prompt": ForeignField(f"Texts get the prompt with which the model was trained. {_INSTRUCTION}"),
    "prompt_template": ForeignField(f"Texts get the prompt with which the model was trained. {_INSTRUCTION}"),
    "truncate_prompt_tokens": _SHORTEN,
    "truncation": ForeignField("Send `truncate`: true or false.", {v: {"truncate": v} for v in (True, False)}),
    "auto_truncate": ForeignField("Send `truncate`: true or false.", {v: {"truncate": v} for v in (True, False)}),
}

EMBEDDING: Mapping[str, ForeignField] = _COMMON | {
    "input_type": _SIDE,
    "task": _SIDE,
    "task_type": _SIDE,
    "text_type": _SIDE,
    "prompt_name": ForeignField(f"Use query or document. {_INSTRUCTION}", _SIDE.values),
    "prompt_type": _SIDE,
    "output_dimension": _DIMENSION,
    **_each(("output_dimensionality", "output_dimensions", "dimensionality", "vector_size", "dim", "dims"), _DIMENSION),
    **_each(("truncate_dim", "matryoshka_dim", "embedding_dim", "embedding_dimension", "embedding_size"), _DIMENSION),
    "embedding_types": _FLOAT,
    "embedding_type": _FLOAT,
    "embed_dtype": _FLOAT,
    **_each(("output_dtype", "encoding_type", "precision", "quantization"), _FLOAT),
    "endianness": ForeignField("Base64 holds little-endian float32.", {"little": _SAME, "native": _SAME}),
    "max_length": _SHORTEN,
    "max_tokens": _SHORTEN,
    "long_text_mode": ForeignField("Send `truncate`: true to cut long texts.", {"truncate": {"truncate": True}}),
    **_each(("query_instruction", "query_prefix", "text_prefix", "prefix"), ForeignField(_INSTRUCTION)),
    "is_query": ForeignField("Send `input_type`: query or document.", {True: _QUERY, False: _DOCUMENT}),
    "role": _SIDE,
    **_each(("sparse", "return_sparse", "return_colbert_vecs"), ForeignField("Only dense vectors are served.", _NEVER)),
    **_each(("dense", "return_dense"), ForeignField("Only dense vectors are served.", {True: _SAME})),
    "normalize": _UNIT,
    "normalized": _UNIT,
    "normalize_embeddings": _UNIT,
    "late_chunking": ForeignField("Each text is embedded alone. Leave it out.", _NEVER),
    "return_multivector": ForeignField("Each text gets one vector. Leave it out.", _NEVER),
    "pooling": _POOLING,
    "pooling_method": ForeignField(
        "The models of this family pool the last token.", _each(("last", "lasttoken"), _SAME)
    ),
    "pooling_type": _POOLING,
    "truncate": _CUT,
    "truncation_direction": _CUT_SIDE,
    **_each(("messages", "images", "image", "modality", "audio", "video"), _TEXT_ONLY),
}
"""For `/v1/embeddings` and `/encode`."""

RERANK: Mapping[str, ForeignField] = _COMMON | {
    "rank_fields": ForeignField(
        "Only the text of a document is ranked. Send each document as one string that holds all relevant fields.",
        {("text",): _SAME},
    ),
    "max_chunks_per_doc": ForeignField("Documents are not split. Send `max_tokens_per_doc` to cut them."),
    "max_length": ForeignField("Send `max_tokens_per_doc` to cut documents."),
    "max_doc_length": ForeignField("Send `max_tokens_per_doc` to cut documents."),
    "max_query_length": ForeignField("A query is never cut. Send a shorter one."),
    "top_k": ForeignField("Send `top_n`."),
    **_each(
        ("score_threshold", "relevance_threshold", "min_score", "threshold"),
        ForeignField("All documents are returned, or the first `top_n`. Drop those with a low score in the client."),
    ),
    "overlap_tokens": ForeignField("Documents are not split. Send `max_tokens_per_doc` to cut them."),
    "raw_scores": ForeignField(_SCORES, _NEVER),
    "activation": ForeignField(
        "Scores are the probability of yes. Its logit is the log-odds of the network.", {True: _SAME}
    ),
    "use_activation": ForeignField(
        "Scores are the probability of yes. Its logit is the log-odds of the network.", {True: _SAME}
    ),
    **_each(("return_logits", "score_type"), ForeignField("Scores are the probability of yes.", _NEVER)),
    "softmax": ForeignField("Each document is scored alone.", _NEVER),
    "normalize": ForeignField("Scores are the probability of yes.", {True: _SAME}),
    "truncate": ForeignField(
        "Documents are only cut at their end. Use true, false, END or NONE.",
        {
            True: _SAME,
            False: _SAME,
            "none": {"truncate": False},
            **_each(("end", "right"), {"truncate": True}),
        },
    ),
    "truncation_direction": ForeignField("Documents are only cut at their end.", {"right": _SAME}),
    "truncation_side": ForeignField("Documents are only cut at their end.", {"right": _SAME}),
}
"""For the rerank endpoints."""
