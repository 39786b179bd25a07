"""What a run of `choose` is going to do, and for about how long, said before it begins. Pure."""

from __future__ import annotations

from upsize.progress import duration


def announcement(texts: int, pairs: int, loads: int, seconds: float | None) -> str:
    """A sentence: texts to embed (each model's counted), pairs to score, candidates to put under load, and about how
    long that takes; None where it is not known."""
    todo = [f"{texts:,} texts to embed"] if texts else []
    todo += [f"up to {pairs:,} pairs to score"] if pairs else []
    todo += [f"{loads:,} candidate{'s' * (loads > 1)} to put under load"] if loads else []
    if not todo:
        return "All is measured already."
    about = "" if seconds is None else f", about {duration(seconds)} on this machine"
    return f"{', '.join(todo)}{about}."
