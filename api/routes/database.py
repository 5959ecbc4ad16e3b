"""The database file (spec 01 section 18)."""

import msgspec

from actors.state.messages import Transact, Transacted
from actors.system.failure import Failed
from api.errors import api_error
from api.routing import Call, route
from storage.sizes import Sizes, sizes

MB = 1024 * 1024


class DatabaseStats(msgspec.Struct, frozen=True, rename="camel"):
    """Of a file that is not there, zeros. `free_pages` of the `page_count` hold nothing."""

    path: str
    exists: bool
    size_bytes: int
    size_mb: float
    table_count: int
    tables: list[str]
    wal_size_bytes: int
    page_size: int
    page_count: int
    free_pages: int


@route("GET", "/v1/db/stats", reply=DatabaseStats, summary="Size and tables of the database")
async def database_stats(call: Call) -> DatabaseStats:
    done = await call.context.request("store", Transact(None, sizes), Transacted)
    if done.error is not None:
        raise api_error(Failed("unavailable", f"The database cannot be read: {done.error}"))
    found: Sizes = done.result
    return DatabaseStats(
        path=found.path,
        exists=found.exists,
        size_bytes=found.size,
        size_mb=round(found.size / MB, 2),
        table_count=len(found.tables),
        tables=found.tables,
        wal_size_bytes=found.wal_size,
        page_size=found.page_size if found.exists else 0,
        page_count=found.pages if found.exists else 0,
        free_pages=found.free_pages if found.exists else 0,
    )
