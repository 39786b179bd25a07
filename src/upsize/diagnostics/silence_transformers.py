"""Keeps transformers' progress bars, advice and warnings off the user's terminal."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def silence_transformers() -> Iterator[None]:
    """Within the context transformers shows only errors. The former settings return afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Any: transformers 5 has types, 4 had none.
        logging: Any = importlib.import_module("transformers.utils.logging")

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
