"""Endpoints as a table: a row for each data point, the endpoint's own columns in the first of them."""

import csv
from collections.abc import Iterator
from functools import lru_cache
from io import StringIO
from typing import Any, Final

import msgspec

from actors.endpoints import protocols
from actors.system.failure import Refusal
from api.files import cells
from api.files.faults import Fault, Faulty
from api.files.upload import Entry, Place
from api.routes.endpoints import EndpointView
from conf.annotations import members, types

FIXED: Final = ("name", "protocol", "poll_interval", "enabled", "fingerprint")
TEXTS: Final = frozenset({"name", "protocol", "fingerprint"})
SECTIONS: Final = ("connection", "metadata", "point")
READ_ONLY: Final = frozenset(EndpointView.__struct_encode_fields__) - {*FIXED, *SECTIONS, "data_points"}
"""What a listing shows beside them; without meaning here, as in JSON."""
LONGEST: Final = 1_000_000
"""Characters of a cell."""

Given = dict[str, Any]


class Column(msgspec.Struct, frozen=True):
    """`section` is empty for a column of the endpoint itself."""

    title: str
    section: str
    key: str


# Reading


class _Line(msgspec.Struct, frozen=True):
    """A row by its titles, empty cells left out; `number` is as a spreadsheet counts, the header being 1."""

    number: int
    cells: dict[str, str]


def entries(content: bytes) -> list[Entry]:
    """The endpoints of a file, in the order in which their names first occur. Raises `Refusal` for what is no
    such file, `Faulty` for rows."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeError as error:
        raise Refusal("The file is not valid UTF-8") from error
    delimiter = _delimiter(text)
    groups: dict[str, list[_Line]] = {}
    faults: list[Fault] = []
    columns, lines = _lines(text, delimiter)
    for line in lines:
        name = cells.read(line.cells.get("name", ""), text_only=True)
        if not name:
            faults.append(Fault(line.number, "name is required", "name"))
        else:
            groups.setdefault(name, []).append(line)
    found = [_entry(group, columns, delimiter == ";", faults) for group in groups.values()]
    if faults:
        raise Faulty(faults)
    return found


def _delimiter(text: str) -> str:
    """The one that the header has most of."""
    header = text.split("\n", 1)[0]
    return max(",;\t", key=header.count)


def _lines(text: str, delimiter: str) -> tuple[list[Column], list[_Line]]:
    rows = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    try:
        csv.field_size_limit(LONGEST)
        titles = [title.strip() for title in next(rows, [])]
        columns = _columns(titles)
        lines = [_line(number, titles, row) for number, row in enumerate(rows, 2) if any(map(str.strip, row))]
    except csv.Error as error:
        raise Refusal(f"The file is not valid CSV: {error}") from error
    return columns, lines


def _columns(titles: list[str]) -> list[Column]:
    if "name" not in titles:
        raise Refusal("The first row must name the columns, name among them", "name")
    columns = []
    for title in filter(None, titles):
        section, dot, key = title.partition(".")
        if titles.count(title) > 1:
            raise Refusal(f"There are two columns {title}", title)
        if section in SECTIONS and dot and key:
            columns.append(Column(title, section, key))
        elif title in FIXED:
            columns.append(Column(title, "", title))
        elif title not in READ_ONLY:
            raise Refusal(f"Unknown column: {title}", title)
    return columns


def _line(number: int, titles: list[str], row: list[str]) -> _Line:
    if any(map(str.strip, row[len(titles) :])):
        raise Faulty([Fault(number, "there are more cells than columns")])
    return _Line(number, {title: cell for title, cell in zip(titles, row, strict=False) if cell.strip()})


def _entry(group: list[_Line], columns: list[Column], comma: bool, faults: list[Fault]) -> Entry:
    """The endpoint of some rows; what contradicts itself is added to `faults`."""
    given: Given = {}
    points: list[tuple[int, Given]] = []
    first: dict[str, _Line] = {}
    texts = _texts(next((line.cells["protocol"] for line in group if "protocol" in line.cells), ""))
    for line in group:
        point: Given = {}
        for column in columns:
            cell = line.cells.get(column.title)
            if cell is None:
                continue
            value = cells.read(cell, column.title in texts, comma)
            if column.section == "point":
                point[column.key] = value
            elif (before := first.setdefault(column.title, line)) is line:
                _set(given, column, value)
            elif before.cells[column.title] != cell:
                error = f"{column.title} contradicts row {before.number}"
                faults.append(Fault(line.number, error, column.title))
        if point:
            points.append((line.number, point))
    if points:
        given["data_points"] = [point for _, point in points]
    given.setdefault("connection", {})
    return Entry(given, Place(group[0].number, tuple(number for number, _ in points)))


def _set(given: Given, column: Column, value: Any) -> None:
    target = given.setdefault(column.section, {}) if column.section else given
    if column.title == "poll_interval" and isinstance(value, str):
        value = cells.read(value, text_only=False)  # a number as text
    if column.title == "poll_interval" and isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is not None:
        target[column.key] = value


@lru_cache(maxsize=64)
def _texts(protocol: str) -> frozenset[str]:
    """The columns that hold texts whatever they look like."""
    try:
        found = protocols.find(protocol)
    except Refusal:
        return TEXTS
    schemas = {"connection": found.connection, "point": found.data_point}
    return TEXTS | {
        f"{section}.{key}"
        for section, schema in schemas.items()
        for key, kind in types(schema).items()
        if {one for one, _ in members(kind)} == {str}
    }


# Writing


class Header:
    """The columns that a file needs for the endpoints in it."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, None]] = {section: {} for section in SECTIONS}

    def add(self, endpoint: Given) -> None:
        for section in ("connection", "metadata"):
            self._keys[section].update(dict.fromkeys(endpoint[section] or ()))
        for point in endpoint["data_points"] or ():
            self._keys["point"].update(dict.fromkeys(point))

    @property
    def titles(self) -> list[str]:
        return [*FIXED, *(f"{section}.{key}" for section, keys in self._keys.items() for key in keys)]


def write(*lines: list[str]) -> str:
    """Lines of a file."""
    text = StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue()


def rows(endpoint: Given, titles: list[str]) -> str:
    """The lines of an endpoint."""
    texts = _texts(endpoint["protocol"])
    own = {key: endpoint[key] for key in FIXED}
    for section in ("connection", "metadata"):
        own |= {f"{section}.{key}": value for key, value in (endpoint[section] or {}).items()}
    lines = _values(own, endpoint["data_points"] or [{}])
    return write(*([cells.write(values.get(title), title in texts) for title in titles] for values in lines))


def _values(own: Given, points: list[Given]) -> Iterator[Given]:
    """What is in the lines, by title."""
    values = own
    for point in points:
        yield values | {f"point.{key}": value for key, value in point.items()}
        values = {"name": own["name"]}
