"""A reranker's chat template, held against the one that this project puts around a pair (docs/sources.md §4).

A template is taken where it makes the same text: of messages with the roles system, query and document, as
sentence-transformers gives them to it, or of the chat that the model card describes, as Qwen3's own template does. Any
other would give other scores in other software, so it is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upsize.catalog.instructions import RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX
from upsize.errors import UnsupportedModel
from upsize.model.config import is_there, read_file
from upsize.model.transformer_settings import TransformerSettings

FILE = "chat_template.jinja"
LONGEST = 1 << 17
"""Characters of a template; Qwen3's has 4,000."""
INSTRUCTION, QUERY, DOCUMENT = "the 1st instruction?", "a 2nd text, the query", "and a 3rd, the document."
START, END = "<|im_start|>", "<|im_end|>\n"
THOUGHT = "<think>\n\n</think>\n\n"
"""What the card puts behind the template of a chat, for templates that do not know enable_thinking."""
Messages = list[dict[str, str]]


def check_template(folder: Path, settings: TransformerSettings) -> str | None:
    """Refuse a template that is not the family's; the default instruction that it has, or None where it has none.

    A file chat_template.jinja in `folder` outweighs the one that tokenizer_config.json has, as in transformers.
    """
    path = folder / FILE
    if is_there(path):
        template: object = read_file(path, "the chat template").decode(errors="replace")
    else:
        path, template = folder / "tokenizer_config.json", _default(settings.chat_template)
    if template is None:
        return None
    if not isinstance(template, str) or len(template) > LONGEST:
        raise UnsupportedModel(path, f"a chat template of at most {LONGEST:,} characters", f"{str(template)[:60]!r} …")
    chat = _rendered(template, _chat(), add_generation_prompt=True, enable_thinking=False)
    if chat in (standard(), standard().removesuffix(THOUGHT)):
        return None
    pair = _rendered(template, _pair(), add_generation_prompt=settings.generation_prompt)
    if pair == standard():
        return _instruction(_rendered(template, _pair()[1:], add_generation_prompt=settings.generation_prompt))
    raise UnsupportedModel(
        path,
        "a chat template that puts a pair as Qwen3-Reranker does",
        f"one that differs at {_difference(pair, chat)!r}",
        "Here pairs are put into Qwen3-Reranker's template alone. If the model was trained with that, remove this one; "
        "otherwise serve it with sentence-transformers.",
    )


def standard(instruction: str = INSTRUCTION) -> str:
    """The family's text of the sample pair."""
    return RERANK_PREFIX + RERANK_BODY.format(instruction=instruction, query=QUERY) + DOCUMENT + RERANK_SUFFIX


def _instruction(bare: str) -> str | None:
    """The instruction in a text that was made without one."""
    before, after = standard("\0").split("\0")
    found = bare.removeprefix(before).removesuffix(after)
    return found if found and standard(found) == bare else None


def _pair() -> Messages:
    """The sample pair as sentence-transformers' messages."""
    texts = {"system": INSTRUCTION, "query": QUERY, "document": DOCUMENT}
    return [{"role": role, "content": text} for role, text in texts.items()]


def _chat() -> Messages:
    """The sample pair as the chat of the model card: a system message, and the user's with the whole pair."""
    system, user = (part.split("\n", 1)[1] for part in RERANK_PREFIX.split(START)[1:])
    body = user + RERANK_BODY.format(instruction=INSTRUCTION, query=QUERY) + DOCUMENT
    return [{"role": "system", "content": system.removesuffix(END)}, {"role": "user", "content": body}]


def _default(declared: object) -> object:
    """The template of that name in a list of named ones; anything else as it is."""
    if not isinstance(declared, list):
        return declared
    named = {entry.get("name"): entry.get("template") for entry in declared if isinstance(entry, dict)}
    return named.get("default", declared)


def _rendered(template: str, messages: Messages, **arguments: Any) -> str:
    """What the template makes of messages, rendered as transformers does; the error's text where it makes nothing."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # not needed where there is no template

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals.update(raise_exception=_refuse, strftime_now=lambda form: form)
    try:
        return environment.from_string(template).render(messages=messages, **arguments)
    except Exception as error:  # a template is a program, and may fail as it likes
        return f"an error: {error}"


def _refuse(message: str) -> None:
    raise ValueError(message)


def _difference(*texts: str) -> str:
    """About the first difference, of the text that has most in common with the family's."""
    start, text = max((_common(text), text) for text in texts)
    return text[max(start - 20, 0) : start + 60]


def _common(text: str) -> int:
    """Characters that a text has in common with the family's, from its beginning on."""
    pairs = zip(text, standard(), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(text), len(standard())))
