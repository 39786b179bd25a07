"""What a widely read article says of the three sizes, and what is published instead (docs/sources.md §7)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """One line of its decision matrix, for the three sizes."""

    what: str
    claimed: str
    published: str
    measured: str | None
    """Which figure of the matrix answers it too: `memory`, `sentence`, or None."""


CLAIMS = (
    Claim("MTEB multilingual, mean over tasks", "65.2 / 68.9 / 70.58", "64.33 / 69.45 / 70.58", None),
    Claim(
        "memory, GB",
        "6 / 12 / 20",
        "bfloat16 weights 1.19 / 8.04 / 15.13; peaks that others report 1.15–3.3 / 7.6–11 / 14.2–18",
        "memory",
    ),
    Claim(
        "latency, ms",
        "under 50 / 120 / 200",
        "never published; it depends on length, batch and machine",
        "sentence",
    ),
    Claim(
        "clustering of Chinese news, F1",
        ".68 vs .79",
        "MTEB's metric is V-measure: ThuNews titles .746 / .843 / .866, bodies .815 / .879 / .888",
        None,
    ),
    Claim("default dimension", "384 or 1024", "1024 / 2560 / 4096; any from 32 up can be asked for", None),
)
