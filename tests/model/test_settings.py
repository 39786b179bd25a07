"""Settings beside config.json: length and lower case are honoured, a chat template must be the family's, and what would
change vectors otherwise is refused. So are an adapter beside the weights and, with a word, stale shards."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import Layout, copy_of, edit_json, write_json
from upsize.catalog.instructions import RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH
from upsize.compute.machine import this_machine
from upsize.compute.plan import plan
from upsize.errors import CheckpointError
from upsize.model import RerankPrompts, open_checkpoint

Folder = Callable[[Layout], Path]
SETTINGS, TOKENIZER = "sentence_bert_config.json", "tokenizer_config.json"


@pytest.fixture
def embedder(embedder_folder: Path, tmp_path: Path) -> Path:
    return copy_of(embedder_folder, tmp_path / "own")


@pytest.fixture
def reranker(reranker_folder: Path, tmp_path: Path) -> Path:
    return copy_of(reranker_folder, tmp_path / "own")


def refused(folder: Path, file: str, finding: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert caught.value.path == folder / file
    assert finding in caught.value.found


@pytest.mark.parametrize(
    ("file", "settings", "longest"),
    [
        (SETTINGS, {"max_seq_length": 100, "do_lower_case": False}, 100),
        (SETTINGS, {"max_seq_length": None}, 1024),
        (SETTINGS, {"max_seq_length": 10**30}, 1024),
        (SETTINGS, {"tokenizer_args": {"model_max_length": 60}, "max_seq_length": 100}, 60),
        ("sentence_roberta_config.json", {"max_seq_length": 100}, 100),
        (TOKENIZER, {"model_max_length": 100}, 100),
        (TOKENIZER, {"model_max_length": 1e30}, 1024),
    ],
)
def test_the_longest_text_is_what_the_files_say(
    embedder: Path, file: str, settings: dict[str, Any], longest: int
) -> None:
    write_json(embedder / file, settings)
    found = open_checkpoint(embedder)
    assert found.context == longest
    assert plan(found, this_machine(), device="cpu").max_length == longest
    # Whoever asks for more gets it.
    assert plan(found, this_machine(), device="cpu", max_length=1024).max_length == 1024


def test_sentence_transformers_length_outweighs_the_tokenizers(embedder: Path) -> None:
    write_json(embedder / TOKENIZER, {"model_max_length": 50})
    write_json(embedder / SETTINGS, {"max_seq_length": 100})
    assert open_checkpoint(embedder).context == 100


@pytest.mark.parametrize("wrong", [0, 7, -1, "512", True, [512]])
def test_a_length_that_is_none_is_refused(embedder: Path, wrong: object) -> None:
    write_json(embedder / SETTINGS, {"max_seq_length": wrong})
    refused(embedder, SETTINGS, repr(wrong))


def test_lower_case_is_honoured(embedder: Path) -> None:
    plain = open_checkpoint(embedder)
    write_json(embedder / SETTINGS, {"do_lower_case": True})
    lower = open_checkpoint(embedder)
    text = "The Capital of ÉTAT is <|endoftext|> Paris"
    assert lower.tokenizer.encode(text).tolist() == plain.tokenizer.encode(text.lower()).tolist()
    assert lower.tokenizer.encode(text).tolist() != plain.tokenizer.encode(text).tolist()
    assert lower.fingerprint("float32", 64).id != plain.fingerprint("float32", 64).id
    write_json(embedder / SETTINGS, {"do_lower_case": "yes"})
    refused(embedder, SETTINGS, "'yes'")


@pytest.mark.parametrize(
    ("settings", "finding"),
    [
        ({"transformer_task": "text-generation"}, "text-generation"),
        ({"transformer_task": "fill-mask"}, "fill-mask"),
        ({"module_output_name": "sentence_embedding"}, "sentence_embedding"),
        ({"modality_config": {"message": {"method": "forward", "method_output_name": "last_hidden_state"}}}, "message"),
        ({"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}, "pooler_output"),
        ({"modality_config": ["text"]}, "text"),
        ({"config_args": {"rope_theta": 5}}, "rope_theta"),
        ({"config_kwargs": {"is_causal": False}}, "is_causal"),
        ({"model_args": {"subfolder": "other"}}, "subfolder"),
        ({"model_kwargs": 5}, "5"),
        ({"tokenizer_args": {"add_prefix_space": True}}, "add_prefix_space"),
        ({"processing_kwargs": {"text": {"max_length": 5}}}, "max_length"),
        ({"processing_kwargs": 5}, "5"),
        ({"query_expansion": {"strategy": "fixed"}}, "query_expansion"),
        ({"anything_new": 1}, "anything_new"),
    ],
)
def test_settings_that_would_change_a_vector_are_refused(
    embedder: Path, settings: dict[str, Any], finding: str
) -> None:
    write_json(embedder / SETTINGS, settings)
    refused(embedder, SETTINGS, finding)


def test_settings_that_say_what_is_done_are_taken(embedder: Path, reranker_folder: Path, tmp_path: Path) -> None:
    before = open_checkpoint(embedder).fingerprint("float32", 64)
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    write_json(
        embedder / SETTINGS,
        {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": text},
            "module_output_name": "token_embeddings",
            "processing_kwargs": {},
            "unpad_inputs": None,
            "model_args": {"dtype": "bfloat16"},
            "config_args": {},
            "anything_new": None,
        },
    )
    assert open_checkpoint(embedder).fingerprint("float32", 64) == before
    reranker = copy_of(reranker_folder, tmp_path / "reranker")
    logits = {"method": "forward", "method_output_name": "logits"}
    write_json(
        reranker / SETTINGS,
        {
            "transformer_task": "text-generation",
            "modality_config": {"text": logits, "message": {**logits, "format": "flat"}},
            "module_output_name": "causal_logits",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
    )
    assert open_checkpoint(reranker).kind == "reranker"
    edit_json(reranker / SETTINGS, modality_config={"text": logits})  # pairs without a template
    refused(reranker, SETTINGS, "text")


@pytest.mark.parametrize("name", ["add_prefix_space", "split_special_tokens"])
def test_a_tokenizer_that_adds_or_splits_is_refused(embedder: Path, name: str) -> None:
    edit_json(embedder / TOKENIZER, **{name: True})
    refused(embedder, TOKENIZER, "True")


# chat templates

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% endif %}{% endif %}\n"
)
"""As chats are written; what comes last is one line end more, for templates lose one."""
PLAIN_CHAT = CHAT.replace("{% if enable_thinking is false %}", "{% if false %}")
ROLE = '{{{{ messages | selectattr("role", "eq", "{}") | map(attribute="content") | first{} }}}}'
PAIR = (
    RERANK_PREFIX
    + RERANK_BODY.format(instruction=ROLE.format("system", ' | default("Find it")'), query=ROLE.format("query", ""))
    + ROLE.format("document", "")
    + RERANK_SUFFIX
    + "\n"
)
"""As sentence-transformers renders pairs."""


def write_template(folder: Path, template: object, place: str) -> None:
    if place == "chat_template.jinja":
        (folder / place).write_text(str(template))
    else:
        edit_json(folder / TOKENIZER, chat_template=template)


PLACES = pytest.mark.parametrize("place", ["chat_template.jinja", TOKENIZER])


@PLACES
@pytest.mark.parametrize("template", [CHAT, PLAIN_CHAT])
def test_a_template_of_chats_as_the_card_describes_is_taken(reranker: Path, template: str, place: str) -> None:
    before = open_checkpoint(reranker).fingerprint("float32", 64)
    write_template(reranker, template, place)
    assert open_checkpoint(reranker).fingerprint("float32", 64) == before


@PLACES
def test_a_template_of_pairs_may_bring_its_instruction(reranker: Path, place: str) -> None:
    before = open_checkpoint(reranker)
    write_template(reranker, PAIR, place)
    after = open_checkpoint(reranker)
    assert after.prompts == RerankPrompts("Find it")
    assert after.fingerprint("float32", 64).prompts != before.fingerprint("float32", 64).prompts
    # What the files of prompts say comes first.
    write_json(
        reranker / "config_sentence_transformers.json",
        {"prompts": {"query": WEB_SEARCH}, "default_prompt_name": "query", "model_type": "CrossEncoder"},
    )
    assert open_checkpoint(reranker).prompts == before.prompts


@PLACES
@pytest.mark.parametrize(
    ("template", "finding"),
    [
        (PAIR.replace("Judge whether", "Tell whether"), "Tell whether"),
        (PAIR.replace("<Query>", "<Question>"), "estion>"),
        (PAIR.replace("<think>\n\n</think>\n\n", ""), "differs at"),
        (PAIR + "more", "more"),
        (CHAT.replace("<|im_end|>", "<|end|>"), "end|>"),
        ("{{ messages[0].content }} vs {{ messages[1].content }}", "differs at"),
        ("", "differs at ''"),
        ("{% for", "an error"),
        ("{{ raise_exception('only chats') }}", "only chats"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "differs at"),
        ("x" * (1 << 18), "xxx"),
    ],
)
def test_another_template_is_refused(reranker: Path, template: str, finding: str, place: str) -> None:
    write_template(reranker, template, place)
    refused(reranker, place, finding)


def test_a_template_is_found_where_transformers_finds_it(reranker: Path, embedder_folder: Path, tmp_path: Path) -> None:
    named = [{"name": "tool", "template": "x"}, {"name": "default", "template": CHAT}]
    edit_json(reranker / TOKENIZER, chat_template=named)
    assert open_checkpoint(reranker).kind == "reranker"
    edit_json(reranker / TOKENIZER, chat_template=[{"name": "tool", "template": CHAT}])
    refused(reranker, TOKENIZER, "tool")
    edit_json(reranker / TOKENIZER, chat_template=5)
    refused(reranker, TOKENIZER, "5")
    (reranker / "chat_template.jinja").write_text(CHAT)  # outweighs the other
    assert open_checkpoint(reranker).kind == "reranker"
    # An embedder's texts are put into none.
    embedder = copy_of(embedder_folder, tmp_path / "embedder")
    (embedder / "chat_template.jinja").write_text("another")
    assert open_checkpoint(embedder).kind == "embedding"


def test_what_comes_before_an_answer_is_there_where_the_settings_say_so(reranker: Path) -> None:
    start = "<|im_start|>assistant\n"
    (reranker / "chat_template.jinja").write_text(
        PAIR.replace(start, "{% if add_generation_prompt %}" + start).rstrip("\n") + "\n\n{% endif %}\n"
    )
    refused(reranker, "chat_template.jinja", "differs at 'document")
    write_json(reranker / SETTINGS, {"processing_kwargs": {"chat_template": {"add_generation_prompt": True}}})
    assert open_checkpoint(reranker).prompts == RerankPrompts("Find it")


# adapters and shards


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("layout", [Layout(), Layout(kind="reranker", sharded=True)])
def test_an_adapter_beside_the_weights_is_refused(
    checkpoint_folder: Folder, tmp_path: Path, layout: Layout, name: str
) -> None:
    folder = copy_of(checkpoint_folder(layout), tmp_path / "own")
    (folder / name).write_text("{}")
    with pytest.raises(CheckpointError, match=r"a LoRA adapter, which would not be used.*merge_and_unload") as caught:
        open_checkpoint(folder)
    assert caught.value.path == folder / name


def test_one_file_outweighs_an_index_of_shards_and_that_is_said(
    checkpoint_folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stale, fresh = checkpoint_folder(Layout(sharded=True)), checkpoint_folder(Layout(seed=1))
    folder = copy_of(stale, tmp_path / "own")
    shutil.copy(fresh / "model.safetensors", folder)
    with caplog.at_level(logging.WARNING):
        found = open_checkpoint(folder)
    assert found.weights.digest == open_checkpoint(fresh).weights.digest
    assert f"{folder / 'model.safetensors'} is read, and the shards of" in caplog.text
    caplog.clear()
    # An index that names the one file is in order, and shards alone are read.
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"norm.weight": "model.safetensors"}})
    open_checkpoint(folder)
    assert not caplog.records
    assert open_checkpoint(stale).weights.digest != found.weights.digest


@pytest.mark.parametrize("name", ["../other/model.safetensors", "/etc/passwd", "sub/model.safetensors"])
def test_an_index_names_files_beside_it(checkpoint_folder: Folder, tmp_path: Path, name: str) -> None:
    folder = copy_of(checkpoint_folder(Layout(sharded=True)), tmp_path / "own")
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"norm.weight": name}})
    refused(folder, "model.safetensors.index.json", name)
