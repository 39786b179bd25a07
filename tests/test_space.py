"""A fingerprint names a space for good, and two that differ say in what."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from upsize import Fingerprint
from upsize.errors import FingerprintMismatch

SPACE = Fingerprint(
    weights="f31ade3af987203d",
    tokenizer="e0ea78379ba7350e",
    pooling="last-token",
    prompts="b2d7309b88adee19",
    max_length=32768,
    dimension=1024,
    normalized=True,
    dtype="bfloat16",
    quantization="none",
)


def test_the_id_of_a_space_never_changes() -> None:
    """Indexes on disk carry it: whoever changes this value makes every one of them unreadable."""
    assert SPACE.id == "23f3a84fada2"


def test_equal_spaces_have_one_id_and_every_field_matters() -> None:
    assert dataclasses.replace(SPACE).id == SPACE.id
    changed = {
        field.name: dataclasses.replace(
            SPACE, **{field.name: 7 if isinstance(getattr(SPACE, field.name), int) else "x"}
        )
        for field in dataclasses.fields(SPACE)
    }
    assert len({SPACE.id, *(space.id for space in changed.values())}) == 1 + len(changed)


def test_it_travels() -> None:
    _ = SPACE.id
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert Fingerprint(**dataclasses.asdict(SPACE)).id == SPACE.id
    assert len({SPACE, dataclasses.replace(SPACE)}) == 1


def test_a_cut_is_another_space_that_remembers_the_rest() -> None:
    cut = SPACE.at(256)
    assert cut.dimension == 256
    assert cut.id != SPACE.id
    assert cut.at(1024) == SPACE


def test_the_same_space_is_let_through() -> None:
    SPACE.require(dataclasses.replace(SPACE))


def test_a_mismatch_names_both_and_every_difference() -> None:
    other = dataclasses.replace(SPACE, dimension=256, tokenizer="0000000000000000")
    with pytest.raises(FingerprintMismatch) as caught:
        SPACE.require(other)
    assert str(caught.value) == (
        f"Vectors of {SPACE.id} and {other.id} cannot be compared: they differ in "
        "tokenizer 'e0ea78379ba7350e' against '0000000000000000', dimension 1024 against 256. "
        "Embed one side again with the other's model and settings."
    )
