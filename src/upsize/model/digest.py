"""Digest of a checkpoint's weights: SHA-256 of every byte of every tensor, the same for any sharding of them.

Blocks of a tensor are hashed in parallel. A tensor's hash covers the hashes of its blocks. The digest covers names,
shapes, types and hashes, in the order of names. The cache keeps it by path, inode, size and times of the files, so
each file is read once. Hashes from hubs cover files, which depend on the sharding, so they are not used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from upsize.errors import CheckpointError
from upsize.folders import cache_folder
from upsize.io.atomic import replacing
from upsize.model.config import parsed
from upsize.model.stored_tensor import StoredTensor
from upsize.model.weight_file import SourceFile
from upsize.model.zeros import Run, joined, runs_in, runs_in_vector
from upsize.progress import ProgressBar

log = logging.getLogger(__name__)

FORM = "sha256-"
"""Prefix of a digest of all bytes. Digests of sampled bytes, from older versions, are 16 hexadecimal digits."""
BLOCK = 16 << 20
KEPT_FROM = 64 << 20
"""Bytes from which a digest is cached: hashing fewer takes less than 0.1 s."""
LARGE = 1 << 30
"""Bytes from which a log line announces the work: SHA-256 takes about 1 s per GB and core."""
SETTLED = 2.0
"""Seconds after the last write from which the file times show the next write. File systems count time in steps."""
WINDOW, WINDOWS = 4096, 4


class Digests(NamedTuple):
    """The digests of a checkpoint's weights."""

    whole: str
    """`sha256-` and 32 hexadecimal digits, of all bytes."""
    sampled: str
    """16 hexadecimal digits of samples, to recognise fingerprints of older versions."""
    zeros: dict[str, list[Run]]
    """Tensor → its long runs of zero bytes; see `zeros.check_zeros`."""


def digests_of(tensors: Mapping[str, StoredTensor]) -> Digests:
    """Return the digests from the cache if the files are unchanged; otherwise compute and cache them.

    Raises CheckpointError if a file changed since the checkpoint was opened.
    """
    if sum(tensor.bytes for tensor in tensors.values()) < KEPT_FROM:
        return compute_digests(tensors)
    sources = sorted({tensor.source for tensor in tensors.values()}, key=lambda source: source.path)
    names = [str(source.path.resolve()) for source in sources]
    record = cache_folder() / "digests" / f"{hashlib.sha256(json.dumps(names).encode()).hexdigest()[:32]}.json"
    stamps = [list(_stamp(source)) for source in sources]
    if (kept := _load(record, names, stamps)) is not None:
        return kept
    now = time.time()
    digests = compute_digests(tensors)
    newest = max(stamp[-1] for stamp in stamps)  # a change right after the last one may not change the times
    if now - newest / 1e9 > SETTLED and [list(_stamp(source)) for source in sources] == stamps:
        _save(record, _payload(names, stamps, digests))
    return digests


def compute_digests(tensors: Mapping[str, StoredTensor]) -> Digests:
    """Compute the digests, without the cache. Errors as `digests_of`."""
    whole, zeros = _whole(tensors)
    return Digests(whole, _sampled(tensors), zeros)


def _sampled(tensors: Mapping[str, StoredTensor]) -> str:
    """Digest of names, shapes, types and up to 4 windows of 4 KiB of each tensor."""
    total = hashlib.sha256()
    for name, stored in sorted(tensors.items()):
        total.update(f"{name} {stored.shape} {stored.dtype}".encode())
        with stored.source.opened() as descriptor:
            for start in sorted({int(k * max(stored.bytes - WINDOW, 0) / (WINDOWS - 1)) for k in range(WINDOWS)}):
                window = bytearray(min(WINDOW, stored.bytes - start))
                stored.source.read_into(descriptor, memoryview(window), stored.offset + start)
                total.update(window)
    return total.hexdigest()[:16]


def _whole(tensors: Mapping[str, StoredTensor]) -> tuple[str, dict[str, list[Run]]]:
    """The digest of all bytes, and the runs of zeros among them."""
    blocks = [
        (name, start, min(BLOCK, stored.bytes - start))
        for name, stored in sorted(tensors.items())
        for start in range(0, stored.bytes, BLOCK)
    ]
    size = sum(count for _, _, count in blocks)
    where = next(iter(tensors.values())).source.path.parent
    if size >= LARGE:
        log.warning("hashing the weights in %s, once: %.1f GB", where, size / 1e9)

    def hashed(block: tuple[str, int, int]) -> tuple[str, int, bytes, list[Run]]:
        name, start, count = block
        stored = tensors[name]
        buffer = np.empty(count, np.uint8)
        with stored.source.opened() as descriptor:
            stored.source.read_into(descriptor, buffer.data, stored.offset + start)
        vector = len(stored.shape) == 1 and count == stored.bytes
        runs = runs_in_vector(buffer, stored) if vector else runs_in(buffer, start)
        return name, count, hashlib.sha256(buffer.data).digest(), runs

    parts = {name: hashlib.sha256() for name in tensors}
    found: dict[str, list[Run]] = {name: [] for name in tensors}
    done = 0
    with (
        ProgressBar(f"hashing {where}", total=size >> 20, unit="MiB", show=size >= LARGE) as bar,
        ThreadPoolExecutor(_threads(), "hash") as pool,
    ):
        for name, count, part, runs in pool.map(hashed, blocks):
            parts[name].update(part)
            found[name] += runs
            done += count
            bar.advance(done >> 20)
    total = hashlib.sha256()
    for name, stored in sorted(tensors.items()):
        total.update(f"{name} {stored.shape} {stored.dtype} {parts[name].hexdigest()}\n".encode())
    zeros = {name: kept for name, stored in tensors.items() if (kept := joined(found[name], stored))}
    return FORM + total.hexdigest()[:32], zeros


def _threads() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


def _stamp(source: SourceFile) -> tuple[int, ...]:
    """The file's signature and the time of its last change of any kind, which no program can set."""
    try:
        return (*source.signature, source.path.stat().st_ctime_ns)
    except OSError as error:
        raise CheckpointError(source.path, "a safetensors file", f"an error ({error.strerror or error})") from error


def _payload(names: list[str], stamps: list[list[int]], digests: Digests) -> dict[str, object]:
    """A record's fields except its checksum."""
    zeros = {name: [list(run) for run in runs] for name, runs in digests.zeros.items()}
    return {"files": names, "stamps": stamps, **digests._asdict(), "zeros": zeros}


def _load(record: Path, names: list[str], stamps: list[list[int]]) -> Digests | None:
    """The digests in the cache, if the record is whole and the files have not changed since."""
    try:
        found = parsed(record.read_bytes())
        zeros = {name: [(int(a), int(b)) for a, b in runs] for name, runs in found["zeros"].items()}
        digests = Digests(found["whole"], found["sampled"], zeros)
        payload = _payload(names, stamps, digests)
        return digests if found == payload | {"check": _checksum(payload)} else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _save(record: Path, payload: dict[str, object]) -> None:
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with replacing(record) as file:
            file.write(json.dumps(payload | {"check": _checksum(payload)}).encode() + b"\n")
    except OSError as error:
        log.warning("%s cannot be written, so the weights are hashed again at the next start: %s", record, error)


def _checksum(payload: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()[:16]
