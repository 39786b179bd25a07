"""Keep transformers' progress bars, advice and warnings off the user's terminal."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def quiet() -> Iterator[None]:
    """Within, transformers shows errors alone; what was set before is set again afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Typed as Any: transformers 5 ships types, 4 did not.
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
