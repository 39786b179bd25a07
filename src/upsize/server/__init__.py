"""HTTP only: dialects in, the engine's requests out. No model code, no scheduling.

`parse_models` and `load_models` bring the models, `Service` is the state that handlers share, `create_app` the
application, `serve` the life of a process. Each dialect is a file under `wire`.
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
