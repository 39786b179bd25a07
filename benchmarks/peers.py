"""Peers on the same token ids: each in a process of its own, which stands still while others are timed."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from upsize.compute import this_machine
from upsize.model.tokenizer import Ids


class PeerFailed(Exception):
    """It ended, or took too long; the message says what it said last."""


class Peer:
    """A script's embedder. Used as a context: its process lives as long, and so does what it writes for itself.

    Raises PeerFailed from every use, once it failed.
    """

    def __init__(
        self, python: Path, script: Path, weights: str | None, model: str, longest: int, prefixes: bool = False
    ) -> None:
        """`prefixes`: within one `run` it keeps beginnings that texts share."""
        self.prefixes = prefixes
        self.label = {"peer": script.stem, "precision": weights}
        """Before it has said who it is."""
        self.batch_sizes: Sequence[int] = ()
        self._script, self._weights = script, weights
        self._command: list[str | Path] = [
            python,
            Path(__file__).with_name("peer_process.py"),
            script,
            model,
            str(longest),
        ]

    def __enter__(self) -> Self:
        """Start it, and wait until it is loaded."""
        self._errors = tempfile.TemporaryFile()
        self._folder = tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self._script.parent,
            env=os.environ | self._settings(),
            start_new_session=True,
        )
        try:
            told = self._read(None)
        except PeerFailed:
            self.__exit__(None, None, None)
            raise
        self.label = {"peer": told["peer"], "precision": told["precision"]}
        if self.prefixes:
            self.label["prefixes"] = "kept"
        self.batch_sizes = told["batch_sizes"]
        self._signal(signal.SIGSTOP)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._errors):
            if file is not None:
                file.close()
        self._folder.cleanup()

    def run(self, texts: Sequence[Ids], size: int, limit: float | None = None) -> dict[str, Any]:
        """Embed the texts, longest first, in batches of `size`: `seconds`, and `peak_gb` of the process up to now."""
        ordered = [ids.tolist() for ids in sorted(texts, key=len, reverse=True)]
        line = json.dumps([ordered[k : k + size] for k in range(0, len(ordered), size)]) + "\n"
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerFailed(self._last_words()) from None
        told = self._read(limit)
        self._signal(signal.SIGSTOP)
        return told

    def _settings(self) -> dict[str, str]:
        """Half precision only where the processor multiplies it: elsewhere torch's peers take thrice as long in it."""
        settings = {
            "TMPDIR": self._folder.name,
            "KEEP_PREFIXES": "1" if self.prefixes else "",
            "PRECISION": "bfloat16" if this_machine().bfloat16_products else "float32",
        }
        return settings | ({"WEIGHTS": self._weights} if self._weights else {})

    def _read(self, limit: float | None) -> dict[str, Any]:
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], limit)[0]:
            self._signal(signal.SIGKILL)
            raise PeerFailed(f"not done after {limit:.0f} s")
        line = output.readline()
        if not line:
            raise PeerFailed(self._last_words())
        told: dict[str, Any] = json.loads(line)
        return told

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with code {self._process.returncode}"

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, number)


def peers_of(peers: Path, scripts: Path, model: str, longest: int, *, prefixes: bool = False) -> Iterator[Peer]:
    """One for each script NAME_….py in `scripts` for whose NAME there is an environment in `peers`. With `prefixes`
    those that can keep them, which then do."""
    for script in sorted(scripts.glob("*_*.py")):
        name = script.stem.split("_")[0]
        python = peers / name / "bin" / "python"
        if not python.exists() or (prefixes and name != "vllm"):
            continue
        for weights in ("int8", "bf16") if name == "openvino" else (None,):
            yield Peer(python, script, weights, model, longest, prefixes)
