"""Compute: what the machine can do, where and how a checkpoint runs on it, and the networks.

`plan` derives device, precision and token budget. `LoadedModel` runs packed batches of a checkpoint on that plan, and
`load_model` does both by name. `network` is the protocol of a network; `native` implements it for CPUs with compiled
kernels, `pytorch` for GPUs and for what the kernels do not support.
"""

from upsize.compute.loaded_model import LoadedModel, load_model
from upsize.compute.machine import Gpu, Machine, this_machine
from upsize.compute.network import run_to_end
from upsize.compute.plan import ExecutionPlan, plan, work_bytes

__all__ = [
    "ExecutionPlan",
    "Gpu",
    "LoadedModel",
    "Machine",
    "load_model",
    "plan",
    "run_to_end",
    "this_machine",
    "work_bytes",
]
