import json
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle

import pytest

from upsize.catalog import FAMILY
from upsize.compute import Gpu, this_machine
from upsize.diagnostics import Rates, estimate_sizes, measure_rates, rates, read_environment
from upsize.diagnostics.environment import advice
from upsize.diagnostics.size_estimates import config_of, fits
from upsize.model.flops import pass_flops

RATES = Rates(
    "cpu",
    {"float32": {1024: 2e11}, "bfloat16": {1024: 4e11, 2560: 5e11}},
    {"float32": {1024: 1e11}, "bfloat16": {1024: 2e11, 2560: 3e11}},
    3e10,
)


def test_estimates_are_arithmetic_on_the_rates() -> None:
    found = {(e.size, e.precision): e for e in estimate_sizes(RATES, 32 * 10**9, 20 * 10**9)}
    assert len(found) == 6
    small = found["0.6B", "bfloat16"]
    assert small.weight_bytes == 2 * 595_776_512
    flops = pass_flops(config_of(FAMILY[0]), 1)
    assert flops == pytest.approx(2 * 440_467_456 * (27 / 28 + 1 / 28 * 2 / 15), rel=1e-3)
    assert small.tokens_per_second == pytest.approx(4e11 / flops)
    assert small.query_ms == pytest.approx(1e3 * 27 * flops / 2e11)
    large = found["8B", "bfloat16"]
    assert large.query_ms == pytest.approx(1e3 * pass_flops(config_of(FAMILY[2]), 27) / 3e11)
    assert found["0.6B", "float32"].weight_bytes == 2 * small.weight_bytes
    assert small.work_bytes[8192] < small.work_bytes[32768]


def test_between_two_shapes_a_rate_is_in_proportion_and_beyond_them_the_nearer_ones() -> None:
    assert [RATES.batch_rate("bfloat16", hidden) for hidden in (64, 1024, 1792, 2560, 4096)] == [
        4e11,
        4e11,
        4.5e11,
        5e11,
        5e11,
    ]
    assert RATES.query_rate("float32", 4096) == 1e11


def test_what_fits_is_weights_and_work_against_memory() -> None:
    found = {(e.size, e.precision): e for e in estimate_sizes(RATES, 32 * 10**9, 10 * 10**9)}
    assert found["4B", "bfloat16"].fits[8192] == "yes"
    assert found["4B", "float32"].fits[8192] == "if memory is freed"
    assert found["8B", "float32"].fits[32768] == "if memory is freed"
    exact = found["4B", "bfloat16"]
    need = exact.weight_bytes + exact.work_bytes[8192]
    assert [fits(need, need + 5, a) for a in (need, need - 1)] == ["yes", "if memory is freed"]
    assert fits(need, need - 1, need - 1) == "no"


def test_a_rate_is_the_flops_of_the_layers_between_two_depths_over_their_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Passes of the shallower and the deeper network take 0.1 and 0.3 s by the clock, and so on in turn."""
    seconds = cycle([0.1, 0.3])

    def fastest(_: rates.RateTimer, run: Callable[[], object], __: object = None) -> float:
        run()
        return next(seconds)

    monkeypatch.setattr(rates.RateTimer, "fastest", fastest)
    machine = replace(this_machine(), gpus=())
    found = measure_rates(machine)
    compiled = {"int8"} if machine.kernels not in (None, "plain") else set()
    assert set(found.batch) == set(found.query) == {"float32", "bfloat16"} | compiled
    for curves, tokens in ((found.batch, rates.FULL), (found.query, rates.QUERY)):
        assert {len(curve) for curve in curves.values()} == ({1, 2} if compiled else {1})
        for hidden, rate in (point for curve in curves.values() for point in curve.items()):
            shape, (few, more) = rates.SHAPES[hidden]
            shallow, deep = (pass_flops(replace(shape, layers=layers), tokens) for layers in (few, more))
            assert rate == pytest.approx((deep - shallow) / 0.2)
    assert found.read_bytes == pytest.approx(4 * rates.BLOCK / 0.1)
    assert estimate_sizes(found, 1, 1, FAMILY[:1])[0].fits[8192] == "no"


def test_the_environment_can_be_written_as_json() -> None:
    found = read_environment()
    assert found.cache_free > 0
    assert json.loads(json.dumps(found.to_json()))["machine"]["cores"] >= 1


def test_advice_is_given_where_something_is_wrong_and_only_there() -> None:
    machine = replace(this_machine(), gpus=(), bfloat16_products=True, cores=8, memory=64 << 30, available=60 << 30)
    good = replace(read_environment(), machine=machine, cuda=None, threads=8, load=7.5, cache_free=10**12)
    assert advice(good) == []
    for broken, said in (
        (replace(good, cuda="13.0"), "nvidia-smi"),
        (replace(good, load=8.5), "busy"),
        (replace(good, threads=16), "OMP_NUM_THREADS=8"),
        (replace(good, cache_free=10**9), "HF_HOME"),
        (replace(good, machine=replace(machine, bfloat16_products=False)), "avx512_bf16"),
        (replace(good, machine=replace(machine, available=1 << 30)), "of memory are free"),
    ):
        (line,) = advice(broken)
        assert said in line
    assert advice(replace(good, cuda="13.0", machine=replace(machine, gpus=(Gpu("x", 10**10),)))) == []
