"""The published figures agree with each other: parameters follow from shapes, and shapes from names."""

from __future__ import annotations

import pytest

from upsize.catalog import FAMILY, FamilyMember, recognise
from upsize.catalog.references import COSINES, DOCUMENTS, LOG_ODDS, QUERIES

HEAD_DIM, KV_HEADS = 128, 8


@pytest.mark.parametrize("member", FAMILY, ids=lambda m: m.name)
def test_parameters_follow_from_the_shape(member: FamilyMember) -> None:
    q, kv, hidden = member.heads * HEAD_DIM, KV_HEADS * HEAD_DIM, member.hidden_size
    layer = 2 * q * hidden + 2 * kv * hidden + 3 * member.intermediate_size * hidden + 2 * hidden + 2 * HEAD_DIM
    assert member.layers * layer + hidden == member.non_embedding_parameters
    vocabulary = (member.parameters - member.non_embedding_parameters) / hidden
    stored_heads = 2 if member.name == "Qwen3-Reranker-8B" else 1
    assert vocabulary / stored_heads in (151665, 151669)


def test_names_say_size_and_kind() -> None:
    assert [(m.kind, m.size) for m in FAMILY] == [
        (kind, size) for kind in ("embedding", "reranker") for size in ("0.6B", "4B", "8B")
    ]
    assert all(m.kind == m.name.split("-")[1].lower() for m in FAMILY)


def test_cost_ratios_are_the_published_ones() -> None:
    small, middle, large = (m.flops_per_token for m in FAMILY[:3])
    assert small == 880_934_912
    assert (round(middle / small, 2), round(large / small, 1)) == (8.25, 15.8)


def test_a_shape_is_recognised_with_its_kind() -> None:
    for member in FAMILY:
        shape = (member.hidden_size, member.layers, member.heads, member.intermediate_size)
        assert recognise(member.kind, *shape) is member
    assert recognise("embedding", 64, 3, 4, 96) is None


def test_published_outputs_are_of_members() -> None:
    assert {*COSINES, *LOG_ODDS} <= {m.name for m in FAMILY}
    assert len(QUERIES) == len(DOCUMENTS) == 2
