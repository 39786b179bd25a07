"""The pages' templates (Jinja2). Text is escaped unless it is already Markup."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from upsize.selection.report.figures import duration, gigabytes, mapping, number


def render(template: str, **values: Any) -> Markup:
    """A template of this folder with its values."""
    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration, "gigabytes": gigabytes, "mapping": mapping}
    return environment
