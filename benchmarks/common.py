"""What every result carries, and where results lie."""

from __future__ import annotations

import datetime
import json
import platform
import socket
from pathlib import Path
from typing import Any

from upsize.compute import this_machine
from upsize.diagnostics.environment import installed

RESULTS = Path(__file__).parent / "results"


STORES = ("lancedb", "pgvector", "qdrant-client")


def conditions() -> dict[str, Any]:
    """Machine, versions and date of a measurement."""
    machine = this_machine()
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "memory_gb": round(machine.memory / 1e9, 1),
            "bfloat16_products": machine.bfloat16_products,
            "gpus": [gpu.name for gpu in machine.gpus],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: installed(name) for name in ("upsize", "torch", "numpy", "tokenizers")},
            **{name: version for name in STORES if (version := installed(name))},
        },
    }


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write(name: str, result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write a result as `name`.json, with its conditions, and say so."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(conditions() | result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))
    return path


def between(text: str, mark: str, content: str) -> str:
    """A document with `content` between `<!-- mark -->` and `<!-- /mark -->`."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n{content}\n{end}{after}"


def kernels_name() -> str:
    """What computes on this machine's CPU: the level of the compiled kernels, or torch."""
    return this_machine().kernels or "torch"


def model_name(model: str) -> str:
    """The part of a model's path or id that names it."""
    return Path(model).name
