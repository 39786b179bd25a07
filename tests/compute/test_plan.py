"""The plan of a checkpoint on a machine, and the options that it refuses, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import Layout, copy_of, edit_json
from upsize.compute import ExecutionPlan, Gpu, Machine, plan, work_bytes
from upsize.compute.plan import CPU_BUDGET, CUDA_BUDGET
from upsize.errors import InvalidInput, MissingExtra, UpsizeError
from upsize.model import Checkpoint, open_checkpoint

Folder = Callable[[Layout], Path]
CPU = Machine("a processor", 8, 16 << 30, 12 << 30, bfloat16_products=False, gpus=())
GPUS = dataclasses.replace(CPU, gpus=(Gpu("a", 80 << 30), Gpu("b", 24 << 30)))


@pytest.fixture(scope="module")
def tiny(checkpoint_folder: Folder) -> Checkpoint:
    return open_checkpoint(checkpoint_folder(Layout(dtype="bfloat16")))


def reshaped(checkpoint: Checkpoint, **config: Any) -> Checkpoint:
    """The checkpoint with other numbers in its config; the plan reads no tensors."""
    return dataclasses.replace(checkpoint, config=dataclasses.replace(checkpoint.config, **config))


def test_the_plan_on_a_cpu(tiny: Checkpoint) -> None:
    derived = plan(tiny, CPU)
    expected_work = work_bytes(tiny.config, 1024, "cpu")
    assert derived == ExecutionPlan("cpu", "bfloat16", 1024, CPU_BUDGET, tiny.weights.bytes, expected_work)


def test_the_plan_on_a_gpu(tiny: Checkpoint) -> None:
    derived = plan(tiny, GPUS)
    assert (derived.device, derived.precision, derived.budget) == ("cuda", "bfloat16", CUDA_BUDGET)
    assert plan(tiny, GPUS, device="cpu").device == "cpu"
    assert plan(tiny, GPUS, device="cuda:1").device == "cuda:1"


def test_options_override_the_plan(tiny: Checkpoint) -> None:
    derived = plan(tiny, CPU, dtype="float32", max_length=64, budget=99)
    assert (derived.precision, derived.max_length, derived.budget) == ("float32", 64, 99)
    assert derived.weight_bytes == 2 * tiny.weights.bytes


def test_the_context_is_32k_whatever_config_says(tiny: Checkpoint) -> None:
    large = reshaped(tiny, max_positions=40960)
    assert plan(large, CPU).max_length == 32768
    assert plan(large, CPU, max_length=40960).max_length == 40960


@pytest.mark.parametrize("dtype", ["float16", "half", "fp16"])
def test_float16_falls_back_on_the_8b_with_a_note(tiny: Checkpoint, dtype: str) -> None:
    derived = plan(reshaped(tiny, hidden_size=4096), CPU, dtype=dtype)
    assert derived.precision == "bfloat16"
    note = "float16 gives NaN on ordinary texts at this size (8B), so the model runs in bfloat16 instead"
    assert derived.notes == (note,)
    small = plan(tiny, CPU, dtype=dtype)
    assert (small.precision, small.notes) == ("float16", ())


@pytest.mark.parametrize("stored", ["float16", "float64", "auto"])
def test_a_precision_of_config_json_that_is_not_used_is_noted(tiny: Checkpoint, stored: str) -> None:
    derived = plan(reshaped(tiny, dtype=stored), CPU)
    assert derived.precision == "bfloat16"
    note = f"config.json says {stored}, in which this family was not trained; the model runs in bfloat16"
    assert derived.notes == (note,)


def test_the_stored_tensors_are_counted_not_what_config_says(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "own")
    edit_json(folder / "config.json", torch_dtype="bfloat16")
    checkpoint = open_checkpoint(folder)
    assert plan(checkpoint, CPU).weight_bytes == checkpoint.weights.bytes // 2


@pytest.mark.parametrize(("synonym", "name"), [("bf16", "bfloat16"), ("float", "float32"), ("fp32", "float32")])
def test_other_names_of_precisions(tiny: Checkpoint, synonym: str, name: str) -> None:
    assert plan(tiny, CPU, dtype=synonym).precision == name


@pytest.mark.parametrize("kernels", ["avx2", "avx512_vnni", "avx512_bf16"])
def test_int8_where_the_kernels_run(tiny: Checkpoint, kernels: str) -> None:
    machine = dataclasses.replace(CPU, kernels=kernels)
    derived = plan(tiny, machine, dtype="int8")
    assert (derived.precision, derived.compiled, derived.notes) == ("int8", True, ())
    vectors = tiny.config.vocab_size * tiny.config.hidden_size
    assert derived.weight_bytes == tiny.weights.parameters + vectors
    assert plan(tiny, machine).compiled == (kernels != "avx2")
    assert not plan(tiny, machine, dtype="float32").compiled


@pytest.mark.parametrize(("kernels", "reason"), [(None, "no compiler"), ("plain", "need AVX2")])
def test_int8_without_kernels_is_noted(tiny: Checkpoint, kernels: str | None, reason: str) -> None:
    derived = plan(tiny, dataclasses.replace(CPU, kernels=kernels), dtype="int8")
    assert (derived.precision, derived.compiled) == ("bfloat16", False)
    assert reason in derived.notes[0]


def test_a_shape_beyond_the_kernels_is_noted(tiny: Checkpoint) -> None:
    large = dataclasses.replace(tiny, config=dataclasses.replace(tiny.config, hidden_size=1 << 15))
    machine = dataclasses.replace(CPU, kernels="avx512_bf16")
    derived = plan(large, machine, dtype="int8")
    assert (derived.precision, derived.compiled) == ("bfloat16", False)
    assert "which do not support so large a shape" in derived.notes[0]
    with pytest.raises(
        MissingExtra, match=r"bfloat16 on a CPU \(the compiled kernels do not support so large a shape\)"
    ):
        plan(large, dataclasses.replace(machine, torch=False))


def test_int8_is_for_the_cpu(tiny: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match="int8 is for the CPU"):
        plan(tiny, dataclasses.replace(GPUS, kernels="avx512_bf16"), dtype="int8")


@pytest.mark.parametrize(
    ("options", "message", "param"),
    [
        ({"dtype": "int4"}, "--dtype 'int4': use auto, float32, bfloat16, float16, int8, fp8.", "dtype"),
        ({"device": "tpu"}, "--device 'tpu': use auto, cpu, cuda or cuda:N.", "device"),
        ({"device": "cuda:x"}, "--device 'cuda:x': use auto, cpu, cuda or cuda:N.", "device"),
        ({"device": "cpu:0"}, "--device 'cpu:0': use auto, cpu, cuda or cuda:N.", "device"),
        ({"device": "cuda"}, "--device cuda, but torch finds no CUDA device here. Use cpu.", "device"),
        ({"max_length": 7}, "--context-length 7: this checkpoint supports 8 to 1024 tokens.", "context_length"),
        ({"max_length": 1025}, "--context-length 1025: this checkpoint supports 8 to 1024 tokens.", "context_length"),
    ],
)
def test_an_impossible_option_is_an_error(tiny: Checkpoint, options: dict[str, Any], message: str, param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        plan(tiny, CPU, **options)
    assert (str(caught.value), caught.value.param) == (message, param)


def test_a_gpu_that_is_not_there_is_refused(tiny: Checkpoint) -> None:
    with pytest.raises(InvalidInput, match="--device cuda:2, but torch finds 2 CUDA devices here"):
        plan(tiny, GPUS, device="cuda:2")


def test_weights_that_do_not_fit_are_refused(tiny: Checkpoint) -> None:
    full = dataclasses.replace(CPU, available=1000, gpus=(Gpu("a", 80 << 30), Gpu("b", 1000)))
    with pytest.raises(UpsizeError, match=r"the weights take 0\.0 GB in bfloat16 and cpu has 0\.0 GB.*a smaller size"):
        plan(tiny, full, device="cpu")
    with pytest.raises(UpsizeError, match="and cuda:1 has"):
        plan(tiny, full, device="cuda:1")
    assert plan(tiny, full, device="cuda:0").device == "cuda:0"


def test_work_grows_with_tokens_and_is_small_beside_a_mask_of_all(tiny: Checkpoint) -> None:
    large = reshaped(
        tiny, hidden_size=1024, layers=28, heads=16, kv_heads=8, head_dim=128, intermediate_size=3072
    ).config
    amounts = [work_bytes(large, n, "cpu") for n in (128, 512, 2048, 8192, 32768)]
    assert amounts == sorted(amounts)
    assert amounts[-1] < 1e9


def test_fp8_is_for_gpus_that_multiply_it(tiny: Checkpoint) -> None:
    able = dataclasses.replace(CPU, gpus=(Gpu("a", 80 << 30, fp8=True),))
    derived = plan(tiny, able, dtype="fp8")
    assert (derived.precision, derived.notes) == ("fp8", ())
    assert derived.weight_bytes < plan(tiny, able, dtype="bfloat16").weight_bytes
    old = plan(tiny, GPUS, dtype="fp8")
    assert old.precision == tiny.config.dtype
    assert "a has no fp8 products" in old.notes[0]
    with pytest.raises(InvalidInput, match="fp8 is for GPUs; a CPU runs int8"):
        plan(tiny, CPU, dtype="fp8")


def test_a_gpu_batch_is_halved_until_it_fits(tiny: Checkpoint) -> None:
    weights = plan(tiny, GPUS).weight_bytes
    room = work_bytes(tiny.config, CUDA_BUDGET // 4, "cuda")
    small = dataclasses.replace(CPU, gpus=(Gpu("a", weights + room),))
    assert plan(tiny, small, max_length=512).budget == CUDA_BUDGET // 4
    tight = dataclasses.replace(CPU, gpus=(Gpu("a", weights),))
    assert plan(tiny, tight, max_length=512).budget == CPU_BUDGET
