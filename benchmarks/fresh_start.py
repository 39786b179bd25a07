"""From `git clone` to the first vector, and to green tests: minutes and megabytes, each in a new environment.

usage: python -m benchmarks.fresh_start [--source URL-or-folder]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.common import write

PORT = 30918
ROOT = Path(__file__).resolve().parents[1]


def measure(source: str) -> None:
    """Clone twice; `make serve` in one and `make test` in the other."""
    with tempfile.TemporaryDirectory() as folder:
        write("fresh-start", {"n": 1, "serve": _serve(source, Path(folder)), "test": _test(source, Path(folder))})


def _clone(source: str, target: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", source, str(target)], check=True)
    return target


def _serve(source: str, folder: Path) -> dict[str, float]:
    started = time.perf_counter()
    clone = _clone(source, folder / "serve")
    make = subprocess.Popen(["make", "serve", f"PORT={PORT}"], cwd=clone, start_new_session=True)
    try:
        while True:
            if make.poll() is not None:
                raise SystemExit("make serve ended early")
            try:
                reply = httpx.post(f"http://127.0.0.1:{PORT}/v1/embeddings", json={"input": "How are you today"})
                if reply.status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        seconds = time.perf_counter() - started
    finally:
        os.killpg(make.pid, signal.SIGTERM)
        make.wait()
    return {
        "minutes_to_first_vector": round(seconds / 60, 2),
        "installed_mb": _megabytes(clone / ".venv"),
        "dimension": len(reply.json()["data"][0]["embedding"]),
    }


def _test(source: str, folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    clone = _clone(source, folder / "test")
    done = subprocess.run(["make", "test"], cwd=clone, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    return {
        "minutes": round((time.perf_counter() - started) / 60, 2),
        "installed_mb": _megabytes(clone / ".venv"),
        "exit_code": done.returncode,
        "failed": [line for line in lines if line.startswith(("FAILED", "ERROR"))],
        "last_line": lines[-1] if lines else "",
    }


def _megabytes(folder: Path) -> int:
    return round(sum(p.lstat().st_size for p in folder.rglob("*")) / 1e6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default=str(ROOT))
    measure(parser.parse_args().source)
