"""Options that `upsize embed` and `upsize rerank` share, and the model that they choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from upsize.catalog import Kind
from upsize.io import TEXT, Format, Source
from upsize.jobs.document_rows import TITLE

if TYPE_CHECKING:
    from upsize.model import HubOptions
    from upsize.model.hub import Hub

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
    typer.Option(min=8, rich_help_panel=MODEL, help="Longest text in tokens. Default: what the model takes."),
]
HubOption = Annotated[
    Literal["huggingface", "modelscope"] | None,
    typer.Option("--hub", rich_help_panel=MODEL, help="Where to download from; also UPSIZE_HUB."),
]
TaskOption = Annotated[Kind | None, typer.Option("--task", rich_help_panel=MODEL, help="Where the files do not tell.")]
Revision = Annotated[str | None, typer.Option(rich_help_panel=MODEL, help="Branch, tag or commit at the hub.")]

FormatOption = Annotated[
    Format | None,
    typer.Option("--format", rich_help_panel=ROWS, help="How to read INPUT. Default: by its suffix; `-` is text."),
]
ENCODING_HELP = "Of files that are not UTF-8, such as cp949, big5. Default: found out, where it can be."
DELIMITER_HELP = "Between the fields of CSV. Default: found out."
EncodingOption = Annotated[
    str | None, typer.Option("--encoding", metavar="NAME", rich_help_panel=ROWS, help=ENCODING_HELP)
]
DelimiterOption = Annotated[
    str | None, typer.Option("--delimiter", metavar="CHARACTER", rich_help_panel=ROWS, help=DELIMITER_HELP)
]
IdField = Annotated[
    str | None, typer.Option(rich_help_panel=ROWS, help="Field that names a row; kept in JSONL and Parquet output.")
]
Limit = Annotated[int | None, typer.Option(min=1, rich_help_panel=ROWS, help="Read only the first rows.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", rich_help_panel=ROWS, help="Leave out rows that cannot be used, and list them.")
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", rich_help_panel=ROWS, help="Replace the output, and what is left of a different run."),
]
Checkpoint = Annotated[
    float,
    typer.Option(
        "--checkpoint", min=0, metavar="SECONDS", rich_help_panel=ROWS, help="At most this much work is lost by a kill."
    ),
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it runs."""

    model: str
    dtype: str
    device: str
    max_length: int | None
    truncate: bool
    hub: Hub | None
    revision: str | None

    def arguments(self) -> dict[str, Any]:
        """Those of Embedder and Reranker. Takes a while to import, so only once a model is wanted."""
        return {
            "model": self.model,
            "dtype": self.dtype,
            "device": self.device,
            "max_length": self.max_length,
            "truncate": self.truncate,
            "hub": self._hub(),
        }

    def _hub(self) -> HubOptions:
        from upsize.model import HubOptions

        return HubOptions(hub=self.hub, revision=self.revision)


def chosen_model(model: str | None, default: str) -> str:
    """The model asked for; without one the demo model, which is said."""
    if model is None:
        typer.echo(f"No --model: using {default}, a demo model that comes with upsize.", err=True)
    return model or default


def from_here(model: str | None, base_url: str | None) -> str | None:
    """A model as a service finds it: a folder that is named from here by its whole path, unless the service may be on
    another machine."""
    return str(Path(model).resolve()) if model and base_url is None and Path(model).is_dir() else model


def print_notes(
    source: Source, text_field: str | None = None, asked: str | None = None, *, with_title: bool = False
) -> None:
    """Say what was found out about how a file is written, and which field is taken for the texts; also that a title
    beside them is left out, unless the command puts it before them."""
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
    """The output's suffix, which chooses its format; wrong usage unless it is one of `known`."""
    suffix = output.suffix.lower()
    if suffix not in known:
        raise typer.BadParameter(
            f"{output}: the suffix chooses the format, one of {', '.join(known)}.", param_hint="-o"
        )
    return suffix


def require_unicode(text: str | None, option: str) -> None:
    """Wrong usage if a text on the command line is not in the terminal's encoding."""
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        byte = ord((text or "")[error.start]) & 0xFF
        raise typer.BadParameter(
            f"the byte 0x{byte:02x} at character {error.start + 1} is not UTF-8.", param_hint=option
        ) from None


def require_other(input_name: str, output: Path) -> None:
    """Wrong usage if the output is the input."""
    if input_name != "-" and output.absolute() == Path(input_name).absolute():
        raise typer.BadParameter("the output is the input itself.", param_hint="-o")
