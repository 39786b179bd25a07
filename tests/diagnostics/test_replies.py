import base64
import json
import math
from typing import Any

import numpy as np
import pytest

from upsize.diagnostics.embedding_replies import (
    BadReplyError,
    check_fingerprints,
    check_repeats,
    check_vectors,
    error_message,
    is_html,
    parse_vectors,
    refusal,
)
from upsize.diagnostics.findings import Finding
from upsize.diagnostics.rerank_replies import check_scores, parse_scores

UNIT = np.eye(3, 8)


def reply(*rows: Any) -> str:
    return json.dumps({"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})


def kinds(findings: list[Finding]) -> list[str]:
    return [f.kind for f in findings]


def test_vectors_come_in_the_order_of_their_index_in_numbers_or_base64() -> None:
    encoded = base64.b64encode(np.asarray([3, 4], "<f4").tobytes()).decode()
    body = json.dumps({"data": [{"index": 1, "embedding": [1, 2]}, {"index": 0, "embedding": encoded}]})
    assert parse_vectors(body, 2).tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "bad_reply"),
        ("<html>", "bad_reply"),
        ("[]", "bad_reply"),
        ('{"data": 3}', "bad_reply"),
        ('{"data": [{}]}', "bad_reply"),
        (reply([1.0], [1.0]), "bad_reply"),
        (reply(["a"]), "bad_reply"),
        (reply("not base64!"), "bad_reply"),
        (reply([]), "bad_reply"),
        ('{"data": [{"index": 0, "embedding": [1.0, NaN]}]}', "not_finite"),
        ('{"data": [{"index": 0, "embedding": [1.0, Infinity]}]}', "not_finite"),
        (reply([1.0, None]), "not_finite"),
    ],
)
def test_what_is_no_vector_is_said(body: str, kind: str) -> None:
    with pytest.raises(BadReplyError) as error:
        parse_vectors(body, 1)
    assert error.value.finding.kind == kind


def test_vectors_of_unequal_lengths_are_said() -> None:
    with pytest.raises(BadReplyError, match="unequal"):
        parse_vectors(reply([1.0], [1.0, 2.0]), 2)


def test_good_vectors_are_ok() -> None:
    assert kinds(check_vectors(UNIT, None)) == kinds(check_vectors(UNIT, 8)) == ["vectors"]


def test_wrong_dimension_length_and_sameness_are_each_found() -> None:
    assert kinds(check_vectors(UNIT, 4)) == ["wrong_dimension"]
    assert kinds(check_vectors(UNIT * 1.02, None)) == ["not_unit"]
    assert kinds(check_vectors(np.zeros((3, 8)), None)) == ["not_unit"]
    assert kinds(check_vectors(np.ones((3, 8)) / math.sqrt(8), None)) == ["all_alike"]


def test_repeats_that_differ_are_found() -> None:
    same = [UNIT[0]] * 3
    assert kinds(check_repeats(same, UNIT[0])) == ["deterministic"]
    assert kinds(check_repeats([*same, UNIT[1]], UNIT[0])) == ["not_deterministic"]
    assert kinds(check_repeats([UNIT[0], UNIT[0][:4]], UNIT[0])) == ["not_deterministic"]
    tilted = UNIT[0] * 0.99 + UNIT[1] * 0.1
    assert kinds(check_repeats(same, tilted)) == ["batch_dependent"]


def test_several_spaces_behind_one_address_are_found() -> None:
    assert check_fingerprints([]) == []
    assert kinds(check_fingerprints(["a", "a"])) == ["fingerprint"]
    assert kinds(check_fingerprints(["a", "b"])) == ["several_spaces"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, "", "wrong_key"),
        (403, '{"error": "no"}', "wrong_key"),
        (429, '{"error": {"message": "busy"}}', "overloaded"),
        (500, '{"error": {"message": "CUDA out of memory. Tried to allocate"}}', "out_of_memory"),
        (400, '{"detail": "can\'t allocate memory"}', "out_of_memory"),
        (500, "boom", "server_error"),
        (502, "<html>", "gateway"),
        (503, '{"status": "starting"}', "not_ready"),
        (400, '{"error": "no"}', "refused_request"),
    ],
)
def test_a_refusal_is_told_by_status_and_message(status: int, body: str, kind: str) -> None:
    found = refusal(status, body, model="m", key=False)
    assert found.kind == kind
    assert found.level == "wrong"
    assert found.advice


def test_a_refused_key_and_a_missing_one_are_told_apart() -> None:
    assert "asks for" in refusal(401, "", model=None, key=False).message
    assert "was refused" in refusal(401, "", model=None, key=True).message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"error": {"message": "openai"}}', "openai"),
        ('{"error": "tei", "error_type": "Validation"}', "tei"),
        ('{"object": "error", "message": "old vllm"}', "old vllm"),
        ('{"detail": "fastapi"}', "fastapi"),
        ("plain  \n text", "plain text"),
        ('{"status": "starting"}', '{"status": "starting"}'),
    ],
)
def test_messages_are_read_in_every_peers_shape(body: str, message: str) -> None:
    assert error_message(body) == message


def test_pages_for_people_are_known() -> None:
    assert is_html("", "text/html; charset=utf-8")
    assert is_html("\n<!DOCTYPE html>", "")
    assert not is_html('{"a": 1}', "application/json")


def ranking(*scores: Any, key: str = "relevance_score") -> list[dict[str, Any]]:
    return [{"index": i, key: s} for i, s in enumerate(scores)][::-1]


def test_scores_are_read_in_both_shapes_and_in_the_documents_order() -> None:
    assert parse_scores(json.dumps({"results": ranking(0.1, 0.9)}), 2) == [0.1, 0.9]
    assert parse_scores(json.dumps(ranking(0.1, 0.9, key="score")), 2) == [0.1, 0.9]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{}", "bad_reply"),
        ('{"results": []}', "bad_reply"),
        (json.dumps(ranking(0.1, None)), "not_finite"),
        ('[{"index": 0, "score": NaN}, {"index": 1, "score": 1}]', "not_finite"),
    ],
)
def test_what_is_no_ranking_is_said(body: str, kind: str) -> None:
    with pytest.raises(BadReplyError) as error:
        parse_scores(body, 2)
    assert error.value.finding.kind == kind


def test_scores_are_judged_by_what_is_evident() -> None:
    assert kinds(check_scores([[0.1, 0.9, 0.1]] * 2)) == ["ranking"]
    assert kinds(check_scores([[0.9, 0.1, 0.1]] * 2)) == ["wrong_ranking"]
    assert kinds(check_scores([[0.1, 0.9, 0.1], [0.1, 0.7, 0.1]])) == ["not_deterministic"]
