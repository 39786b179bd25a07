"""Finds the folder of a model by its name: a folder, a demo model, or a hub id, which it downloads."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from upsize import demo
from upsize.errors import CheckpointError, HubError, MissingExtra, UnusableProxy
from upsize.folders import expanded, provide_hub_home
from upsize.proxies import proxy_for, readable_by_libraries

Hub = Literal["huggingface", "modelscope"]
HUB_VARIABLE = "UPSIZE_HUB"
FILES = ["*.json", "*.jinja", "*.safetensors", "1_Pooling/*", "merges.txt", "vocab.json"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class HubOptions:
    """Where and how to download models. None keeps the hub library's default."""

    hub: Hub | None = None
    revision: str | None = None
    download_dir: str | None = None
    token: str | None = None

    @property
    def chosen(self) -> Hub:
        """The given hub, or that of the environment variable UPSIZE_HUB, or Hugging Face."""
        name = self.hub or os.environ.get(HUB_VARIABLE) or "huggingface"
        if name in get_args(Hub):
            return cast(Hub, name)
        raise HubError(f"{HUB_VARIABLE}={name!r} names no hub: use huggingface or modelscope.")


def locate(model: str | os.PathLike[str], options: HubOptions = HubOptions()) -> Path:
    """Return the folder of `model`: a demo model, a path, or a hub id (cached, or downloaded with a progress bar).

    Raises CheckpointError where it is none, HubError where the hub does not give it.
    """
    if not isinstance(model, str | os.PathLike):
        raise CheckpointError(repr(model)[:80], "a model's name or folder", f"a {type(model).__name__}")
    model = os.fspath(model)
    if model in demo.NAMES:
        return demo.folder(model)
    folder = expanded(model)
    if model and os.path.isdir(folder):  # noqa: PTH112 (Path's raise for a name that is too long, or may not be seen)
        return folder
    if model and os.path.exists(folder):  # noqa: PTH110
        raise CheckpointError(
            folder, "a model folder", "a file", "Give the folder that holds config.json; GGUF files are not read."
        )
    if not _HUB_ID.fullmatch(model):
        raise CheckpointError(
            model,
            f"a model folder, a hub id such as Qwen/Qwen3-Embedding-0.6B, or one of {', '.join(demo.NAMES)}",
            "none of these",
        )
    return _modelscope(model, options) if options.chosen == "modelscope" else _huggingface(model, options)


def _huggingface(model: str, options: HubOptions) -> Path:
    provide_hub_home()
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{constants.ENDPOINT}/{model}"

    def fetch(*, cached_only: bool) -> Path:
        return Path(
            snapshot_download(
                model,
                revision=options.revision,
                cache_dir=options.download_dir,
                token=options.token,
                allow_patterns=FILES,
                local_files_only=cached_only,
            )
        )

    problem = None
    try:
        try:
            with readable_by_libraries(constants.ENDPOINT):
                return fetch(cached_only=False)
        except UnusableProxy as error:
            problem = str(error)
            return fetch(cached_only=True)
    except RevisionNotFoundError:
        raise HubError(
            f"{where} has no revision {options.revision!r}. Look at its list of branches and tags."
        ) from None
    except GatedRepoError:
        raise HubError(f"{where} asks for an account that was let in. Pass --token, or set HF_TOKEN.") from None
    except RepositoryNotFoundError:
        raise HubError(f"{where}: no such repository, or a private one (pass --token, or set HF_TOKEN).") from None
    except LocalEntryNotFoundError:
        cache = options.download_dir or constants.HF_HUB_CACHE
        if problem is not None:
            raise HubError(f"{model} is not in the cache ({cache}), and the hub is not asked: {problem}") from None
        proxy = proxy_for(constants.ENDPOINT)
        through = f" through the proxy of {proxy.shown}" if proxy else ""
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"the hub cannot be reached from here{through}"
        raise HubError(
            f"{model} is not in the cache ({cache}) and {why}. "
            "Give a folder that holds it, set HF_ENDPOINT to a mirror, or try --hub modelscope."
        ) from None
    except HfHubHTTPError as error:
        # A server gives this message to its callers, who need not see what others answered: that is in the cause.
        status = error.response.status_code
        hint = " Pass --token, or set HF_TOKEN." if status in (401, 403) else ""
        raise HubError(f"{where} could not be downloaded: it answered with status {status}.{hint}") from error
    except (OSError, ValueError) as error:
        raise HubError(f"{where} could not be downloaded: {error}") from error


def _modelscope(model: str, options: HubOptions) -> Path:
    provide_hub_home("modelscope")
    try:
        from modelscope import snapshot_download
    except ImportError:
        raise MissingExtra("--hub modelscope", "modelscope", "modelscope") from None
    try:
        return Path(
            snapshot_download(model, revision=options.revision, cache_dir=options.download_dir, allow_patterns=FILES)
        )
    except Exception as error:  # modelscope raises its own, requests' and plain ones alike
        raise HubError(f"{model} could not be downloaded from ModelScope: {error}") from error
