"""From a name to a folder: what is on disk is found without a network, and what is not is said plainly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.checkpoints import copy_of
from tests.little_server import Answer, serving
from upsize import demo
from upsize.errors import CheckpointError, HubError, MissingExtra
from upsize.model import HubOptions, locate

NAME = "Qwen/Qwen3-Embedding-0.6B"
REVISION = "c54f2e6e80b2d7b7de06f51cec4959f6b3e03418"


@pytest.fixture
def hub_cache(embedder_folder: Path, tmp_path: Path) -> Path:
    """A Hugging Face cache that holds one model under the published name."""
    model = tmp_path / "hub" / "models--Qwen--Qwen3-Embedding-0.6B"
    copy_of(embedder_folder, model / "snapshots" / REVISION)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(REVISION)
    return tmp_path / "hub"


def test_a_folder_is_itself(embedder_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(str(embedder_folder)) == embedder_folder
    monkeypatch.chdir(embedder_folder.parent)
    assert locate(embedder_folder.name) == Path(embedder_folder.name)


def test_a_demo_name_is_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "NAMES", ("demo-x",))
    monkeypatch.setattr(demo, "_MODELS", tmp_path)
    assert locate("demo-x") == tmp_path / "demo-x"


def test_a_path_is_as_good_as_its_text_and_a_file_is_no_model(embedder_folder: Path) -> None:
    assert locate(embedder_folder) == embedder_folder
    with pytest.raises(CheckpointError, match="expected a model folder; found a file"):
        locate(embedder_folder / "model.safetensors")


@pytest.mark.parametrize(
    "name",
    [
        "no-such-model",
        "./no/such/folder",
        "a/b/c",
        "/no/such/folder",
        "https://x.y/z",
        "",
        "~nobody-here/x",
        "a" * 5000,
        "a\0b",
    ],
)
def test_what_is_neither_folder_nor_hub_id(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"expected a model folder, a hub id such as .*; found none of these"):
        locate(name)


def test_a_name_that_the_hub_would_refuse() -> None:
    with pytest.raises(HubError, match=r"Qwen/bad\.\.name"):
        locate("Qwen/bad..name")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("no_network")
def test_the_hubs_own_cache_is_read_without_a_network(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub_cache))
    assert locate(NAME) == hub_cache / "models--Qwen--Qwen3-Embedding-0.6B" / "snapshots" / REVISION


@pytest.mark.usefixtures("no_network")
def test_a_download_dir_is_a_cache_of_its_own(hub_cache: Path) -> None:
    assert (locate(NAME, HubOptions(download_dir=str(hub_cache))) / "config.json").exists()


@pytest.mark.usefixtures("no_network")
def test_offline_and_not_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(HubError) as caught:
        locate(NAME, HubOptions(download_dir=str(tmp_path)))
    message = str(caught.value)
    assert message.startswith(f"{NAME} is not in the cache ({tmp_path}) and HF_HUB_OFFLINE is set. ")
    assert "Give a folder that holds it" in message


@pytest.mark.usefixtures("no_network")
def test_offline_and_another_revision(hub_cache: Path) -> None:
    with pytest.raises(HubError, match=r"not in the cache.*HF_HUB_OFFLINE is set"):
        locate(NAME, HubOptions(download_dir=str(hub_cache), revision="v9"))


def test_a_hub_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(HubError, match=r"is not in the cache .* and the hub cannot be reached from here"):
        locate(NAME, HubOptions(download_dir=str(tmp_path)))


def test_what_a_hub_answers_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Answer(401, "private words", {"x-error-message": "private header"})
    with serving(lambda _: refusal) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
        with pytest.raises(HubError, match=r"status 401.*HF_TOKEN") as failed:
            locate(NAME, HubOptions(download_dir=str(tmp_path)))
    assert "private" not in str(failed.value)


def test_modelscope_says_which_extra_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MissingExtra, match=r"--hub modelscope needs .*pip install 'upsize\[modelscope\]'"):
        locate(NAME, HubOptions(hub="modelscope"))


def test_the_environment_chooses_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HubOptions().chosen == "huggingface"
    monkeypatch.setenv("UPSIZE_HUB", "modelscope")
    assert HubOptions().chosen == "modelscope"
    assert HubOptions(hub="huggingface").chosen == "huggingface"
    monkeypatch.setenv("UPSIZE_HUB", "elsewhere")
    with pytest.raises(HubError, match="UPSIZE_HUB='elsewhere' names no hub"):
        locate(NAME)
