"""The aiohttp application."""

import logging
from collections.abc import Sequence

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from api import access
from api.context import Context
from api.middleware import guard, key_check, log_access, map_errors, network_check, state_check
from api.routing import Route, body_is_awaited, collect, serve
from api.sessions import session_check

logger = logging.getLogger(__name__)

MAX_BODY = 10 * 1024 * 1024


def build_app(context: Context) -> web.Application:
    """The whole HTTP API over `context.ask`; run it with `aiohttp.web.AppRunner`."""
    _warn_of_mode(context.security_mode)
    routes = list(collect())
    anyone = {(declared.method, declared.path) for declared in routes if declared.access == "anyone"}
    keyless = ("anyone", "peers")
    peers = {(declared.method, declared.path) for declared in routes if declared.access in keyless}
    declared_as = {(declared.method, declared.path): declared for declared in routes}
    always = {(declared.method, declared.path) for declared in routes if declared.always}
    app = web.Application(
        middlewares=[
            log_access(context),
            map_errors,
            guard(anyone, network_check(context)),
            guard(peers, key_check(context)),
            session_check(declared_as, context),
            guard(always, state_check(context)),
        ],
        client_max_size=MAX_BODY,
        handler_args={"access_log": None, "auto_decompress": False, "logger": _protocol_logger()},
    )
    for path in dict.fromkeys(declared.path for declared in routes):
        _add(app, context, [declared for declared in routes if declared.path == path])

    async def end_streams(app: web.Application) -> None:
        context.readings.close()
        context.logs.close()

    app.on_shutdown.append(end_streams)
    return app


def _add(app: web.Application, context: Context, routes: Sequence[Route]) -> None:
    """Serve one path; a method that none of its routes has is refused here, and not tried on a later
    path that has a parameter where this one has a word."""
    handlers = {declared.method: serve(declared, context) for declared in routes}
    if "GET" in handlers:
        handlers["HEAD"] = handlers["GET"]

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, handlers)

    for method, handler in handlers.items():
        app.router.add_route(method, routes[0].path, handler, expect_handler=body_is_awaited)
    app.router.add_route("*", routes[0].path, refuse)


class _OneLine(logging.Filter):
    """What a client sent that is not HTTP is not the agent's error: one line, no traceback, and nothing of
    what was sent, which may hold a key."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.args = "%s: %s", (record.getMessage(), type(error).__name__)
            record.exc_info = None
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        return True


def _protocol_logger() -> logging.Logger:
    """For what happens below the middlewares."""
    found = logging.getLogger("api.http")
    if not found.filters:
        found.addFilter(_OneLine())
    return found


def _warn_of_mode(mode: str) -> None:
    if mode == access.OPEN:
        logger.warning("API_SECURITY_MODE=OPEN: everyone who can reach this machine may use the API")
    elif mode not in access.MODES:
        logger.error(
            "API_SECURITY_MODE=%s is unknown: every request but the probes is refused; use one of %s",
            mode,
            ", ".join(sorted(access.MODES)),
        )
