"""The middlewares, outermost first: access log, errors, network and browser, key, session (`sessions.py`),
the agent's state."""

import logging
from collections.abc import Callable, Collection
from time import perf_counter
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_protocol import RequestPayloadError

from actors.system.failure import Refusal
from api import access, authority, request_counts
from api.browser_guard import READS, check_browser
from api.context import Context
from api.errors import TITLE, ApiError, Error, api_error

logger = logging.getLogger(__name__)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        headers=headers,
        content_type="application/json",
        charset="utf-8",
    )


def log_access(context: Context) -> Middleware:
    """One line a request: polls at debug, writes and refusals at info, failures as warnings, but for the 503
    of an agent that is not RUNNING, to poll which is no failure.

    The path is logged as it came, percent-encoded and without its query, which may hold a key.
    """

    @web.middleware
    async def logged(request: web.Request, handler: Handler) -> web.StreamResponse:
        started, waited = perf_counter(), context.lifecycle.state != "RUNNING"
        response = await handler(request)
        request_counts.count(response.status)
        status, waited = response.status, waited or context.lifecycle.state != "RUNNING"
        if status >= 500 and not (status == 503 and waited):
            level = logging.WARNING
        else:
            polled = request.method in READS and (status < 400 or waited)
            level = logging.DEBUG if polled else logging.INFO
        logger.log(
            level,
            "%s %s %s %d %.1f ms",
            request.remote,
            request.method,
            request.rel_url.raw_path,
            status,
            (perf_counter() - started) * 1000,
        )
        return response

    return logged


@web.middleware
async def map_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The only place that turns exceptions into replies."""
    try:
        return await handler(request)
    except ApiError as error:
        refused = error
    except Refusal as refusal:
        refused = api_error(refusal.failed())
    except (RequestPayloadError, ConnectionError):
        refused = ApiError(400, Error(TITLE[400], "The body could not be read"))
    except web.HTTPException as error:
        if error.status < 400:
            raise
        refused = _http_error(request, error)
    except Exception:  # the edge of every request: a defect must not leave a client without an answer
        logger.exception("%s %s failed", request.method, request.rel_url.raw_path)
        refused = ApiError(500, Error(TITLE[500], "The agent's log has the details"))
    return json_response(refused.body, refused.status, refused.headers)


def _http_error(request: web.Request, error: web.HTTPException) -> ApiError:
    path = request.rel_url.raw_path
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        body = Error("Method not allowed", f"{request.method} is not supported for {path}; use {allowed}")
        return ApiError(405, body, {"Allow": allowed})
    if isinstance(error, web.HTTPNotFound):
        return ApiError(404, Error(TITLE[404], f"Cannot {request.method} {path}"))
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return ApiError(413, Error("Payload too large", "A body may have at most 10 MB"))
    return ApiError(error.status, Error(error.reason or "HTTP error"))


def guard(exempt: Collection[tuple[str, str]], check: Callable[[web.Request], None]) -> Middleware:
    """A middleware that runs `check` before every request but those of the exempt routes: pairs of
    method and path as they were declared. HEAD goes with GET."""

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        method = "GET" if request.method == "HEAD" else request.method
        if resource is None or (method, resource.canonical) not in exempt:
            check(request)
        return await handler(request)

    return guarded


def given_key(request: web.Request) -> str | None:
    return request.headers.get("X-Api-Key") or request.query.get("apiKey")


def allowed_hosts(context: Context) -> list[authority.Authority]:
    return [host for text in context.allowed_hosts if (host := authority.parse(text)) is not None]


def network_check(context: Context) -> Callable[[web.Request], None]:
    """The peer's address, and, where no key is asked for, whether a browser was led here."""
    allowed = allowed_hosts(context)

    def check(request: web.Request) -> None:
        access.check_peer(context.security_mode, request.remote)
        if not access.key_needed(context):
            check_browser(request.method, request.raw_path, request.headers, allowed)

    return check


def key_check(context: Context) -> Callable[[web.Request], None]:
    def check(request: web.Request) -> None:
        if access.key_needed(context):
            access.check_key(context.key, given_key(request))

    return check


def state_check(context: Context) -> Callable[[web.Request], None]:
    """Before the agent is RUNNING, and while it stops, most of what it is asked has nobody to answer."""

    def check(request: web.Request) -> None:
        state = context.lifecycle.state
        if state != "RUNNING":
            hint = "Wait until GET /v1/readiness says that it is ready"
            raise ApiError(503, Error("The agent is not running", hint=hint, state=state))

    return check
