"""The conditions that a verdict was measured under."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upsize.compute import this_machine
from upsize.diagnostics.environment import installed


def conditions() -> dict[str, Any]:
    """Machine, versions, date and command, as fields of the verdict."""
    machine = asdict(this_machine())
    return {
        "machine": {k: v for k, v in machine.items() if k != "available"},
        "versions": {
            "python": platform.python_version(),
            **{name: installed(name) for name in ("upsize", "torch", "numpy", "scipy", "scikit-learn")},
        },
        "date": datetime.date.today().isoformat(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
