"""For how long a server asks to be left alone."""

import pytest

from actors.connections import retry_after

SERVER_NOW = "Tue, 04 Mar 1997 10:15:25 GMT"


@pytest.mark.parametrize(
    ("header", "date", "seconds"),
    [
        (None, SERVER_NOW, 0),
        ("7", None, 7),
        ("Tue, 04 Mar 1997 10:15:55 GMT", SERVER_NOW, 30),
        ("Tue, 04 Mar 1997 10:15:55 GMT", None, 0),
        ("Tue, 04 Mar 1997 10:15:55 GMT", "soon", 0),
        ("Tue, 04 Mar 1997 10:15:00 GMT", SERVER_NOW, 0),
        ("Tue, 04 Mar 2070 10:15:00 GMT", SERVER_NOW, 3600),
    ],
)
def test_a_date_is_compared_with_that_of_the_server(
    header: str | None, date: str | None, seconds: float
) -> None:
    sent = {"Retry-After": header, "Date": date}
    headers = {name: value for name, value in sent.items() if value is not None}
    assert retry_after.seconds(headers) == seconds
