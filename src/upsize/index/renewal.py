"""Renewal: the fingerprint of a generation that an earlier version made of samples of the weights only.

Once the model is loaded, and its samples agree, the generation gets the fingerprint of all bytes of the weights.
"""

from __future__ import annotations

import logging

import msgspec

from upsize.fingerprint import Fingerprint
from upsize.index.state import Generation, State

log = logging.getLogger("upsize.index")


def renewed_generations(state: State, generation: Generation, fingerprint: Fingerprint) -> tuple[Generation, ...]:
    """The generations of the state, with the new fingerprint in one of them."""
    renewed = msgspec.structs.replace(generation, fingerprint=fingerprint, former_fingerprint=generation.fingerprint.id)
    return tuple(renewed if g == generation else g for g in state.generations)


def log_renewal(index: str, generation: Generation, fingerprint: Fingerprint) -> None:
    """Say what was renewed, and when the vectors have to be made again."""
    log.warning(
        "%s, generation %s: an earlier version made its fingerprint %s of samples of the weights of %s, and the model "
        "at hand has the same samples. Its fingerprint is %s now, of all bytes. If the model's files have changed "
        "since the vectors were made, embed all texts again: upsize index rebuild %s",
        index,
        generation.id,
        generation.fingerprint.id,
        generation.model,
        fingerprint.id,
        index,
    )
