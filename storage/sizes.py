"""What the database is made of, for operators: cheap enough to be asked each second."""

from pathlib import Path

import msgspec

from storage.database import Database


class Sizes(msgspec.Struct, frozen=True):
    """`size` and `wal_size` are bytes of the files, 0 where there is none; `free_pages` of the `pages` hold
    nothing. `tables` are sorted."""

    path: str
    exists: bool
    size: int
    wal_size: int
    page_size: int
    pages: int
    free_pages: int
    tables: list[str]


def sizes(database: Database) -> Sizes:
    """Of the file as it lies there, which may have been deleted under the running agent; what is read from
    the database takes a tenth of a millisecond, however large that is."""
    path = database.path
    size = _size(path)
    read = database.db.execute
    (page_size,), (pages,), (free,) = (
        read(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count")
    )
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        " ORDER BY name"
    )
    return Sizes(
        path=str(path.absolute()),
        exists=size is not None,
        size=size or 0,
        wal_size=_size(path.with_name(f"{path.name}-wal")) or 0,
        page_size=page_size,
        pages=pages,
        free_pages=free,
        tables=[name for (name,) in read(query)] if size is not None else [],
    )


def _size(file: Path) -> int | None:
    try:
        return file.stat().st_size
    except OSError:
        return None
