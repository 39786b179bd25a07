"""Where numbers are crunched: what the machine can do, what to run where, and the operations of each device.

`plan` derives device, precision and token budget, `LoadedModel` puts a checkpoint's network there and runs packed
batches, `load_model` does all of it by name. The network is in `native` for CPUs, and in `pytorch` for GPUs and where
the compiled kernels do not carry a precision; `network` is what the two have in common.
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
