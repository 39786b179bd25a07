"""The quickstart notebook runs from its first cell to its last."""

from __future__ import annotations

import socket
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


def output(cell: nbformat.NotebookNode) -> str:
    return "".join(o.get("text", "") for o in cell.outputs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_quickstart_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("UPSIZE_PORT", str(free.getsockname()[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=100).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    said = "\n".join(output(cell) for cell in code)
    assert "192 values" in said
    assert "how do plants make food?     → " in said
    assert any("image/png" in o.get("data", {}) for cell in code for o in cell.outputs)
    assert code[-1].outputs[0]["data"]["text/plain"] == "0"  # the server's exit code
