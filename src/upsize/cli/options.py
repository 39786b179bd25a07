"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from upsize.catalog import Kind
from upsize.io import TEXT, Format, ReadOptions, Source
from upsize.jobs.document_rows import TITLE

MODEL, ROWS = "Model", "Rows and output"


Dtype = Annotated[
    str,
    typer.Option(
        rich_help_panel=MODEL, help="auto (the checkpoint's), int8 (CPU), fp8 (GPU), bfloat16, float32, float16."
    ),
]
Device = Annotated[str, typer.Option(rich_help_panel=MODEL, help="auto, cpu, cuda.")]
MaxLength = Annotated[
    int | None,
    typer.Option(min=8, rich_help_panel=MODEL, help="Longest text in tokens. Default: the model's limit."),
]
HubOption = Annotated[
    Literal["huggingface", "modelscope"] | None,
    typer.Option("--hub", rich_help_panel=MODEL, help="Hub to download from; also UPSIZE_HUB."),
]
TaskOption = Annotated[
    Kind | None, typer.Option("--task", rich_help_panel=MODEL, help="Kind of model, if its files do not say it.")
]
Revision = Annotated[str | None, typer.Option(rich_help_panel=MODEL, help="Branch, tag or commit on the hub.")]

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", rich_help_panel=ROWS, help="Format of the input. Default: from its suffix; `-` is text."),
]
ENCODING_HELP = (
    "Encoding of a file that is not UTF-8, such as cp949 or big5. Default: detected where the bytes leave no doubt."
)
DELIMITER_HELP = "Delimiter of a CSV file. Default: detected."
EncodingOption = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", rich_help_panel=ROWS, help=ENCODING_HELP)
]
DelimiterOption = Annotated[
    str | None, typer.Option("--delimiter", metavar="CHARACTER", rich_help_panel=ROWS, help=DELIMITER_HELP)
]
TextField = Annotated[
    str | None,
    typer.Option(
        "--text-field",
        "--column",
        help="Field that holds the texts. Default: `text`, or the only field that holds text.",
        rich_help_panel=ROWS,
    ),
]
IdField = Annotated[
    str | None,
    typer.Option(rich_help_panel=ROWS, help="Field that identifies a row; copied to JSONL and Parquet output."),
]
Limit = Annotated[int | None, typer.Option(min=1, rich_help_panel=ROWS, help="Read only the first rows.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", rich_help_panel=ROWS, help="Skip rows that cannot be used, and list them.")
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", rich_help_panel=ROWS, help="Replace the output, and the partial output of another run."
    ),
]
Checkpoint = Annotated[
    float,
    typer.Option(
        "--checkpoint",
        min=0,
        metavar="SECONDS",
        rich_help_panel=ROWS,
        help="Seconds between two checkpoints: a kill loses at most this much work.",
    ),
]


@dataclass(frozen=True)
class RowOptions:
    """Options of `upsize embed` and `upsize rerank` that say how the input is read and the output is written."""

    text_field: TextField = None
    id_field: IdField = None
    format: FormatOption = None
    encoding: EncodingOption = None
    delimiter: DelimiterOption = None
    limit: Limit = None
    skip_bad: SkipBad = False
    overwrite: Overwrite = False
    checkpoint: Checkpoint = 5.0

    @property
    def reading(self) -> ReadOptions:
        """How the user says that the input is written."""
        return ReadOptions(self.encoding, self.delimiter)


@dataclass(frozen=True)
class LoadingOptions:
    """Options of `upsize embed` and `upsize rerank` that say how the model is loaded."""

    dtype: Dtype = "auto"
    device: Device = "auto"
    max_length: MaxLength = None
    hub: HubOption = None
    revision: Revision = None

    def arguments(self, model: str, *, truncate: bool) -> dict[str, Any]:
        """Return the arguments of Embedder and Reranker. The import takes a second: call it once a model is needed."""
        from upsize.model import HubOptions

        return {
            "model": model,
            "dtype": self.dtype,
            "device": self.device,
            "max_length": self.max_length,
            "truncate": truncate,
            "hub": HubOptions(hub=self.hub, revision=self.revision),
        }


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give typer each field of a dataclass parameter of `command` as an option of its own.

    Typer reads a function's signature and knows no groups of options. A parameter whose annotation is a dataclass is
    replaced by that class's fields, and filled from them when the command runs.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        if not (isinstance(hint, type) and is_dataclass(hint)):
            parameters.append(parameter.replace(annotation=hint))
            continue
        groups[name] = hint
        kinds = get_type_hints(hint, include_extras=True)
        parameters += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=kinds[f.name])
            for f in fields(hint)
        ]

    @wraps(command)
    def run(**values: Any) -> None:
        made = {name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
        command(**values, **made)

    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def chosen_model(model: str | None, default: str) -> str:
    """Return the model that the user names, or `default` with a line that says so."""
    if model is None:
        typer.echo(f"No --model: using {default}, a demo model that comes with upsize.", err=True)
    return model or default


def from_here(model: str | None, base_url: str | None) -> str | None:
    """Return `model` as a service on this machine finds it: the absolute path of a folder, any other name unchanged.

    With a `base_url` the service may run on another machine, and the name stays as it is.
    """
    return str(Path(model).resolve()) if model and base_url is None and Path(model).is_dir() else model


def print_notes(
    source: Source, text_field: str | None = None, asked: str | None = None, *, with_title: bool = False
) -> None:
    """Print what was detected about a file, and which field holds the texts.

    If the file has a title field and the command ignores it (`with_title` False), print that too.
    """
    for note in source.notes:
        typer.echo(note, err=True)
    if text_field not in (None, TEXT) and asked is None:
        typer.echo(f"{source.name}: the texts are in {text_field!r}, the only field of text.", err=True)
    if text_field == TEXT and not with_title and source.columns.get(TITLE):
        typer.echo(
            f"{source.name}: the texts are in {TEXT!r} alone, without the {TITLE!r}; `upsize index add` puts it before "
            "them.",
            err=True,
        )


def suffix_of(output: Path, known: tuple[str, ...]) -> str:
    """Return the output's suffix. Raises typer.BadParameter unless it is one of `known`."""
    suffix = output.suffix.lower()
    if suffix not in known:
        raise typer.BadParameter(
            f"{output}: the suffix chooses the format, one of {', '.join(known)}.", param_hint="-o"
        )
    return suffix


def require_unicode(text: str | None, option: str) -> None:
    """Raise typer.BadParameter if a text on the command line is not valid in the terminal's encoding."""
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        byte = ord((text or "")[error.start]) & 0xFF
        raise typer.BadParameter(
            f"the byte 0x{byte:02x} at character {error.start + 1} is not UTF-8.", param_hint=option
        ) from None


def require_other(input_name: str, output: Path) -> None:
    """Raise typer.BadParameter if the output is the input."""
    if input_name != "-" and output.absolute() == Path(input_name).absolute():
        raise typer.BadParameter("the output is the input itself.", param_hint="-o")
