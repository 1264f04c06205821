"""The ASGI application of a service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lem_models.desk.service.gate import Gate
from lem_models.desk.service.problems import Problem, handle_errors
from lem_models.desk.service.routes import routes_of
from lem_models.desk.service.service import Service
from lem_models.desk.service.stream import add_stream

__all__ = ["app_of"]


def app_of(service: Service) -> FastAPI:
    """The application of a service whose desk is open."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.attach()
        yield
        await service.detach()

    # The pages of FastAPI for the schema load scripts from elsewhere: there are none, and /openapi.json is enough.
    app = FastAPI(
        title="lem desk", version=metadata.version("lem_models"), docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.include_router(routes_of(service))
    add_stream(app, service)
    handle_errors(app)
    app.add_middleware(Gate, settings=service.settings, refused=service.metrics.refused)
    app.openapi = lambda: _schema(app, has_token=service.settings.token is not None)  # type: ignore[method-assign]
    return app


def _schema(app: FastAPI, *, has_token: bool) -> dict[str, Any]:
    """The OpenAPI schema, with problems and the token."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes, description=str(__doc__))
        parts = schema.setdefault("components", {})
        parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        for name in ("HTTPValidationError", "ValidationError"):  # of FastAPI; ours are problems
            parts["schemas"].pop(name, None)
        if has_token:
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}]
        app.openapi_schema = schema
    return app.openapi_schema
