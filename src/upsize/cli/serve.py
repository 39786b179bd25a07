"""`upsize serve`."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from upsize import demo
from upsize.cli import options as shared
from upsize.cli.logs import log_to_stderr
from upsize.errors import InvalidInput

if TYPE_CHECKING:
    from upsize.server import ServedModel

console = Console(stderr=True, highlight=False, markup=False)
log = logging.getLogger("upsize.server")

SGLANG = "SGLang flags that do not apply here"
Foreign = partial(typer.Option, rich_help_panel=SGLANG)


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL",
            help="Hub id, model folder, or demo model; repeat for several. Default: the demo models.",
        ),
    ] = None,
    model_path: Annotated[
        list[str] | None, typer.Option("--model-path", "--model", help="The models as an option, as SGLang names it.")
    ] = None,
    served_model_name: Annotated[
        list[str] | None, typer.Option(help="Name of the model in requests and replies; repeat for each model.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0: a free one.")] = 30000,
    api_key: Annotated[
        list[str] | None, typer.Option(envvar="UPSIZE_API_KEY", help="Require this bearer key; repeat for several.")
    ] = None,
    protect_metrics: Annotated[
        bool, typer.Option("--protect-metrics", help="Require the key for /metrics too.")
    ] = False,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="Allow web pages of this origin (https://host, or * for all); repeat for several."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Without API keys, also answer requests to this host name (.NAME: a domain, *: any); "
            "repeat for several.",
        ),
    ] = None,
    max_connections: Annotated[int, typer.Option(min=1, help="Most open connections.")] = 4096,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="Seconds after SIGTERM to finish accepted requests.")
    ] = 30.0,
    max_queued_requests: Annotated[
        int, typer.Option(min=1, help="Requests in flight, after which others get 429.")
    ] = 4096,
    max_queue_seconds: Annotated[
        float,
        typer.Option(
            min=0.1, help="Expected wait in seconds above which a request gets 429; a third of it for short requests."
        ),
    ] = 30.0,
    max_client_batch_size: Annotated[int, typer.Option(min=1, help="Most texts or documents in one request.")] = 2048,
    max_request_tokens: Annotated[
        int,
        typer.Option(min=1, help="Most tokens in one request. Instruction, query and template count for each text."),
    ] = 1 << 20,
    allow_auto_truncate: Annotated[
        bool,
        typer.Option(
            "--allow-auto-truncate", help="Truncate long texts, and say so in the reply, instead of refusing them."
        ),
    ] = False,
    indexes: Annotated[
        Path | None,
        typer.Option(
            envvar="UPSIZE_INDEXES", metavar="FOLDER", help="Folder of the indexes. Default: in the user's data folder."
        ),
    ] = None,
    store: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=ADDRESS",
            help="A PostgreSQL or Qdrant server that requests may use for a new index; repeat for several.",
        ),
    ] = None,
    allow_model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]MODEL",
            help="A model, besides those served, that requests may use for an index; repeat for several.",
        ),
    ] = None,
    log_level: Annotated[str, typer.Option(help="Log level: debug, info, warning, error.")] = "info",
    dtype: shared.Dtype = "auto",
    device: shared.Device = "auto",
    context_length: Annotated[
        int | None,
        typer.Option(min=8, rich_help_panel=shared.MODEL, help="Longest text in tokens. Default: the model's limit."),
    ] = None,
    max_prefill_tokens: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=shared.MODEL, help="Most tokens in a batch. Default: by device."),
    ] = None,
    task: shared.TaskOption = None,
    hub: shared.HubOption = None,
    revision: shared.Revision = None,
    download_dir: Annotated[
        str | None, typer.Option(rich_help_panel=shared.MODEL, help="Cache folder of the hub.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(rich_help_panel=shared.MODEL, help="The hub's token; also HF_TOKEN.")
    ] = None,
    is_embedding: Annotated[bool, Foreign("--is-embedding", help="Not needed: the checkpoint says it.")] = False,
    enable_metrics: Annotated[bool, Foreign("--enable-metrics", help="Not needed: metrics are always on.")] = False,
    trust_remote_code: Annotated[
        bool, Foreign("--trust-remote-code", help="Ignored: upsize never runs code from a checkpoint.")
    ] = False,
    tokenizer_path: Annotated[str | None, Foreign(help="Only the model's own tokenizer is allowed.")] = None,
    quantization: Annotated[str | None, Foreign(help="Use --dtype.")] = None,
    mem_fraction_static: Annotated[float | None, Foreign(help="Ignored: upsize reserves no memory.")] = None,
    max_running_requests: Annotated[int | None, Foreign(help="Ignored: --max-prefill-tokens limits batches.")] = None,
    tp_size: Annotated[int, Foreign("--tp-size", "--tp", help="Ignored: a service uses one device.")] = 1,
    dp_size: Annotated[int, Foreign("--dp-size", "--dp", help="Ignored: a service uses one device.")] = 1,
    json_model_override_args: Annotated[str | None, Foreign(help="Ignored: every dimension is served.")] = None,
) -> None:
    """Serve embedders and rerankers behind the OpenAI, Cohere, Jina, vLLM and SGLang APIs.

    The server derives device, precision, token budget and memory, and prints them at start.

    ```
    upsize serve                                            # the demo models that come with upsize
    upsize serve Qwen/Qwen3-Embedding-0.6B                  # from the hub, or its cache
    upsize serve Qwen/Qwen3-Embedding-0.6B rank=./reranker  # several models, one with a name
    upsize serve --model-path Qwen/Qwen3-Embedding-0.6B --host 0.0.0.0 --port 30000 --is-embedding
    ```
    """
    log_to_stderr(log_level)
    # A flag that does not apply is logged. A flag that would change vectors if it were ignored is an error.
    for given, why in (
        (is_embedding, "--is-embedding is not needed: the checkpoint says what it is"),
        (enable_metrics, "--enable-metrics is not needed: /metrics is always on"),
        (trust_remote_code, "--trust-remote-code does nothing: code from checkpoints is never run"),
        (mem_fraction_static is not None, "--mem-fraction-static does nothing: no memory is reserved in advance"),
        (max_running_requests is not None, "--max-running-requests does nothing: see --max-prefill-tokens"),
        (tp_size > 1 or dp_size > 1, "--tp-size and --dp-size do nothing: a service runs on one device"),
        (json_model_override_args is not None, "--json-model-override-args does nothing: every dimension is served"),
    ):
        if given:
            log.info(why)
    given_models = [*(models or []), *(model_path or [])]
    if tokenizer_path is not None and tokenizer_path not in given_models:
        raise InvalidInput(
            "--tokenizer-path: upsize serves a checkpoint with its own tokenizer; another one would change the vectors."
        )
    if quantization not in (None, "none"):
        raise InvalidInput(
            f"--quantization {quantization}: the precision is --dtype here. For 8-bit weights on a CPU: --dtype int8."
        )
    if not given_models:
        log.info("No model given: serving the demo models that come with upsize (%s).", ", ".join(demo.NAMES))
        given_models = list(demo.NAMES)
    # Heavy imports wait until here, so that `--help` and a wrong flag answer at once.
    from upsize.engine import Limits
    from upsize.model import HubOptions
    from upsize.server import Address, ConnectionLimits, LoadOptions, Service, load_models, parse_allowed, parse_models
    from upsize.server import serve as serve_until_stopped

    chosen = parse_models(given_models, served_model_name or [])
    options = LoadOptions(
        device=device,
        dtype=dtype,
        kind=task,
        max_length=context_length,
        budget=max_prefill_tokens,
        hub=HubOptions(hub=hub, revision=revision, download_dir=download_dir, token=token),
    )
    limits = Limits(
        queue_seconds=max_queue_seconds,
        requests=max_queued_requests,
        request_inputs=max_client_batch_size,
        request_tokens=max_request_tokens,
    )
    service = Service(
        limits=limits, allow_truncation=allow_auto_truncate, allowed=parse_allowed(store or (), allow_model or ())
    )
    service.indexes_folder = indexes or service.indexes_folder
    if "" in (api_key or ()):
        raise InvalidInput("--api-key is empty, which would protect nothing. Give a key, or leave the option out.")
    address = Address(
        host,
        port,
        tuple(api_key or ()),
        protect_metrics,
        tuple(cors_origin or ()),
        hosts=tuple(allowed_host or ()),
        drain=drain_seconds,
        limits=ConnectionLimits(connections=max_connections),
    )
    serve_until_stopped(service, address, lambda: load_models(chosen, options, _announce))


def _announce(model: ServedModel) -> None:
    """Print the derived settings, then log the line that scripts wait for."""
    checkpoint, plan = model.loaded.checkpoint, model.loaded.plan
    table = Table(show_header=False, box=None, padding=(0, 1), title=f"{model.name}", title_justify="left")
    member = f", the shape of {checkpoint.member.name}" if checkpoint.member else ""
    rows = {
        "model": f"{checkpoint.kind}{member}, from {checkpoint.folder}",
        "device": plan.device,
        "precision": f"{plan.precision} weights, {model.loaded.compute_dtype} products",
        "memory": f"{plan.weight_bytes / 1e9:.2f} GB of weights, up to {plan.work_bytes / 1e9:.2f} GB of work",
        "longest text": f"{plan.max_length} tokens",
        "batch": f"{plan.budget} tokens",
        "threads": str(model.loaded.threads),
        "fingerprint": model.loaded.fingerprint.id,
    }
    if checkpoint.kind == "embedding":
        rows["dimension"] = f"{checkpoint.config.hidden_size}, or any from {min(32, checkpoint.config.hidden_size)} up"
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    log.info(
        "%s model loaded successfully: %s, %s, dimension %d, fingerprint %s",
        checkpoint.kind.capitalize(),
        model.name,
        plan.precision,
        model.loaded.fingerprint.dimension,
        model.loaded.fingerprint.id,
    )
