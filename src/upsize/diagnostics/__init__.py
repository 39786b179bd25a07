"""Measuring: is a checkpoint computed rightly, what does this machine do, and what is wrong with a running service.

`verify` holds a checkpoint against references and against its own invariants, `rates` and `estimate_sizes` say what to
expect of this machine, `service` questions a server from outside. What a figure is worth is judged by the pure
functions of `check` and `replies`; the runs that give the figures are elsewhere.
"""

from upsize.diagnostics.check import Check, Figure, Status, check_figures
from upsize.diagnostics.diagnose_service import Diagnosis, diagnose
from upsize.diagnostics.environment import Environment, read_environment
from upsize.diagnostics.rates import Rates, measure_rates
from upsize.diagnostics.size_estimates import SizeEstimate, estimate_sizes
from upsize.diagnostics.verify import BATCHES, Verification, verify

__all__ = [
    "BATCHES",
    "Check",
    "Diagnosis",
    "Environment",
    "Figure",
    "Rates",
    "SizeEstimate",
    "Status",
    "Verification",
    "check_figures",
    "diagnose",
    "estimate_sizes",
    "measure_rates",
    "read_environment",
    "verify",
]
