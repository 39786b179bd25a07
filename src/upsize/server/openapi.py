"""The OpenAPI document (`/openapi.json`), made from the body structs, and its page (`/docs`), which works offline."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import swagger_ui

from upsize.server.endpoint import Operation
from upsize.version import __version__

_PARAMETER, _CONVERTER = re.compile(r"{(\w+)"), re.compile(r":\w+}")
ASSETS = Path(swagger_ui.__file__).parent / "static"

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>upsize</title>
<link rel="stylesheet" href="docs/static/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="page"></div>
<script src="docs/static/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null})</script>
</body>
</html>
"""


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the operations."""
    bodies = [o.body for o in operations if o.body is not None]
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, Any] = {}
    for operation in operations:
        for path in operation.paths:
            described: dict[str, Any] = {
                "summary": operation.summary,
                "description": operation.handler.__doc__,
                "responses": {
                    "200": {"description": "Success"},
                    "4XX": {"description": "An error message"},
                },
            }
            if operation.body is not None:
                content = {"schema": schema_of[operation.body], "example": operation.example}
                described["requestBody"] = {"required": True, "content": {"application/json": content}}
            if names := _PARAMETER.findall(path):
                described["parameters"] = [
                    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
                ]
            path = _CONVERTER.sub("}", path)
            paths.setdefault(path, {})[operation.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "upsize", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }
