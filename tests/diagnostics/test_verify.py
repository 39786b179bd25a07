import json
import sys

import pytest

from upsize.compute import LoadedModel
from upsize.diagnostics import Check, Status, verify
from upsize.diagnostics.verify import guarded, steps
from upsize.errors import NonFiniteVector


@pytest.mark.usefixtures("fewer_texts")
@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_every_check_of_a_good_model_is_told_and_passed_or_skipped(kind: str, request: pytest.FixtureRequest) -> None:
    model: LoadedModel = request.getfixturevalue(kind)
    begun: list[str] = []
    done = verify(model, batches=2, on_check=begun.append)
    assert begun == [name for name, _ in steps(model)]
    assert done.ok
    assert {c.status for c in done.checks} == {"passed", "skipped"}
    assert done.count("passed") + done.count("skipped") == len(done.checks)
    assert done.fingerprint == model.fingerprint.id
    assert json.loads(json.dumps(done.to_json(), allow_nan=False))["ok"] is True


@pytest.mark.parametrize(("status", "good"), [("failed", False), ("differs", True), ("skipped", True)])
def test_one_failure_is_enough_and_nothing_else_is_one(
    status: Status, good: bool, embedder: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [Check("a", "passed"), Check("b", status)]
    module = sys.modules["upsize.diagnostics.verify"]  # the package's attribute of that name is the function
    monkeypatch.setattr(module, "steps", lambda model, **options: [("both", lambda: checks)])
    assert verify(embedder).ok is good


def test_what_upsize_refuses_is_a_failed_check_with_its_message() -> None:
    def broken() -> list[Check]:
        raise NonFiniteVector(3, "float16")

    (check,) = guarded("dimensions", broken)
    assert (check.name, check.status) == ("dimensions", "failed")
    assert "Text 3" in check.note


def test_a_mistake_of_the_check_itself_is_not_hidden() -> None:
    def broken() -> list[Check]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded("x", broken)
