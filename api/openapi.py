"""The OpenAPI document of a set of declared routes."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args

import msgspec

from api import access
from api.context import Context
from api.decoding import JSON
from api.errors import Error
from api.routing import Route
from api.sessions import COOKIE, is_for_administrators, least_role
from api.version import version

KEY_SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "apiKey"},
}
SESSION_SCHEMES = {"session": {"type": "apiKey", "in": "cookie", "name": COOKIE}}

EVENTS = "text/event-stream"

_BINARY = {"type": "string", "format": "binary"}

_OF_FILES = (206, 304, 412, 416)
"""What a file is answered with besides 200, to a client that has it already, or a part of it."""

_PARAMETER = re.compile(r"\{(\w+)\}")


class Schemas:
    """The JSON schema of every type that routes mention; structs by reference to `components`."""

    def __init__(self, kinds: Iterable[Any]) -> None:
        self._kinds = list(kinds)
        schemas, self.components = msgspec.json.schema_components(
            self._kinds, ref_template="#/components/schemas/{name}"
        )
        self._schemas = schemas

    def of(self, kind: Any) -> dict[str, Any]:
        return self._schemas[self._kinds.index(kind)]


def document(routes: Sequence[Route], context: Context) -> dict[str, Any]:
    """OpenAPI 3.1; the key schemes are in it where a key does something."""
    shown = [route for route in routes if not route.hidden]
    schemas = Schemas(_kinds(shown))
    paths: dict[str, dict[str, Any]] = {}
    for route in shown:
        operation = _operation(route, schemas, context)
        if links := _links(route, shown):
            operation["responses"][str(route.status)]["links"] = links
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    schemes = KEY_SCHEMES if _key_does_something(context) else {}
    components = {"schemas": schemas.components, "securitySchemes": schemes | SESSION_SCHEMES}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Callboard", "version": version()},
        "paths": paths,
        "components": components,
    }


def _kinds(routes: Iterable[Route]) -> Iterable[Any]:
    yield Error
    for route in routes:
        if route.reply is not None:
            yield route.reply
        yield from route.also.values()
        yield from route.accepts.values()
        if route.body is not None:
            yield route.body


def _operation(route: Route, schemas: Schemas, context: Context) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "tags": [route.handler.__module__.rpartition(".")[2]],
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": _responses(route, schemas, context),
    }
    if route.body is not None:
        operation["requestBody"] = {
            "description": "The same fields are accepted as application/x-www-form-urlencoded, "
            "nested ones as JSON text.",
            "content": {JSON: {"schema": schemas.of(route.body), **_example(route.body)}},
            "required": any(field.required for field in msgspec.structs.fields(route.body)),
        }
    if route.accepts:
        content = {
            kind: {"schema": schemas.of(body), **_example(body)} for kind, body in route.accepts.items()
        }
        operation["requestBody"] = {"content": content, "required": True}
    if route.raw is not None:
        operation["requestBody"] = {"content": {route.raw: {"schema": _BINARY}}, "required": True}
    if (security := _security(route, context)) or _key_does_something(context):
        operation["security"] = security
    return operation


def _key_does_something(context: Context) -> bool:
    return access.key_needed(context) or (context.require_session and bool(context.key))


def _security(route: Route, context: Context) -> list[dict[str, list[str]]]:
    """What a request needs: one of these, and of that all."""
    least = least_role(route, route.path, context)
    key_does = not is_for_administrators(route, route.path)
    keys: list[dict[str, list[str]]] = [{name: []} for name in KEY_SCHEMES]
    if access.key_needed(context) and route.access in ("login", "key", "admin"):
        return [{"session": []} | key for key in keys] if least and not key_does else keys
    if least is None:
        return []
    alternatives = keys if key_does and _key_does_something(context) else []
    return [{"session": []}, *alternatives]


def _example(body: Any) -> dict[str, Any]:
    example = next((one.EXAMPLE for one in (body, *get_args(body)) if hasattr(one, "EXAMPLE")), None)
    return {} if example is None else {"example": example}


def _links(created: Route, routes: Iterable[Route]) -> dict[str, Any]:
    """Where the object that a POST has created is found: under its path, by one of its own fields."""
    if created.status != HTTPStatus.CREATED:
        return {}
    return {
        _operation_id(route): {
            "operationId": _operation_id(route),
            "parameters": {name: f"$response.body#/{name}" for name in names},
        }
        for route in routes
        if (names := _PARAMETER.findall(route.path.removeprefix(created.path)))
        and route.path == f"{created.path}/{{{names[0]}}}"
    }


def _operation_id(route: Route) -> str:
    return str(getattr(route.handler, "__name__", route.path))


def _path_parameters(route: Route) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(route.path):
        schema = {"type": "integer"} if name in route.numbers else {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(route: Route) -> Iterable[dict[str, Any]]:
    if route.query is None:
        return
    schema = msgspec.json.schema_components([route.query])[1][route.query.__name__]
    for name, property_schema in schema["properties"].items():
        yield {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": property_schema,
        }


def _responses(route: Route, schemas: Schemas, context: Context) -> dict[str, Any]:
    bodies: dict[int, Any] = dict.fromkeys(_error_statuses(route, context), Error)
    bodies.update(route.also)
    bodies[route.status] = route.reply
    responses = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            **({} if body is None else {"content": _content(route, status, body, schemas)}),
        }
        for status, body in sorted(bodies.items())
    }
    if route.kept is not None:
        responses |= {str(status): {"description": HTTPStatus(status).phrase} for status in _OF_FILES}
    return responses


def _content(route: Route, status: int, body: Any, schemas: Schemas) -> Mapping[str, Any]:
    plain = {"text/plain": {"schema": {"type": "string"}}}
    if body is str:
        return plain
    if route.kept is not None and status == route.status:
        return {route.kept: {"schema": _BINARY}}
    if route.events and status == route.status:
        return {EVENTS: {"schema": {"type": "string", "contentSchema": schemas.of(body)}}}
    found = {JSON: {"schema": schemas.of(body)}}
    if status == route.status:
        found |= plain if route.text else {}
        found |= {kind: {"schema": {"type": "string"}} for kind in route.files}
    return found


def _error_statuses(route: Route, context: Context) -> set[int]:
    """The statuses that come from the declaration itself, and those that the route adds."""
    security = _security(route, context)
    if route.access == "anyone":
        return {401, 403, 503, *route.errors} if security else set(route.errors)
    statuses = {403, 500, 503, *route.errors}
    has_body = route.body is not None or bool(route.accepts) or route.raw is not None
    if route.query is not None or has_body or "{" in route.path:
        statuses.add(400)
    if has_body:
        statuses |= {413, 415}
    if security:
        statuses.add(401)
    return statuses
