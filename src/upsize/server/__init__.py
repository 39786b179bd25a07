"""HTTP only: dialects translate requests to the engine's types and results to replies. No model code, no scheduling.

`parse_models` and `load_models` bring the models. `Service` is the state that all handlers share. `create_app` makes
the ASGI application, and `serve` runs a process. Each dialect is one file under `dialects`.
"""

from upsize.server.allow_list import Allowed
from upsize.server.app import create_app
from upsize.server.http.limits import ConnectionLimits
from upsize.server.model_loading import LoadOptions, load_models, parse_allowed, parse_models
from upsize.server.run import Address, serve
from upsize.server.service import ServedModel, Service

__all__ = [
    "Address",
    "Allowed",
    "ConnectionLimits",
    "LoadOptions",
    "ServedModel",
    "Service",
    "create_app",
    "load_models",
    "parse_allowed",
    "parse_models",
    "serve",
]
