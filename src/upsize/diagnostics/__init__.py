"""Diagnostics: is a checkpoint computed correctly, how fast is this machine, and what is wrong with a running service.

`verify` compares a checkpoint with references and checks its invariants. `measure_rates` and `estimate_sizes` say what
to expect of this machine. `diagnose` tests a server from outside. The pure functions of `check`, `embedding_replies`
and `rerank_replies` evaluate the figures; other modules run what gives them.
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
