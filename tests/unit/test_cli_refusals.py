import pytest

from api.cli.refusals import error_text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error": "Unauthorized"}', "Unauthorized"),
        (b'{"error": "Bad request", "message": "Invalid quality"}', "Invalid quality"),
        (b'{"error": "Forbidden", "message": "No", "hint": "Call from here"}', "No. Call from here"),
        (b'{"error": "a\\nb\\u001b[2J"}', "a b [2J"),
        (b'{"error": 5}', "5"),
    ],
)
def test_the_detail_of_an_error_is_one_line_with_its_hint(body, text):
    assert error_text(body) == text


@pytest.mark.parametrize(
    "body", [b"", b"<h1>502</h1>", b"\xff", b"[]", b'"no"', b"{}", b'{"error": ""}', b"[" * 9999]
)
def test_what_is_no_error_of_ours_has_no_text(body):
    assert error_text(body) is None
