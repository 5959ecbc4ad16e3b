import json
from typing import Any

import pytest

from actors.publish.destinations import influxdb_answers as answers
from actors.publish.destinations.influxdb_answers import Conflict
from actors.publish.destinations.posting import Answer

TWO = (
    'partial write: field type conflict: input field "a "b"" on measurement "m "n"" is type string, '
    "already exists as"
)


def test_only_204_is_written() -> None:
    for status in range(100, 600):
        assert answers.written(Answer(status, "")) == (status == 204)
    assert not answers.written(Answer(204, "", "text/html"))
    assert not answers.written(Answer(204, "<html>"))


def test_names_with_quotes_are_found() -> None:
    answer = Answer(422, json.dumps({"code": "x", "message": f"{TWO} type float dropped=7"}))
    assert answers.conflicts(answer) == [Conflict('a "b"', "string", measurement='m "n"')]
    assert (answers.dropped(answer), answers.refuses_content(answer)) == (7, True)


@pytest.mark.parametrize("status", [400, 422, 500])
def test_a_text_that_is_no_json_is_understood(status: int) -> None:
    answer = Answer(status, f"{TWO} type float dropped=1\n", "text/plain")
    assert answers.refuses_content(answer)
    assert len(answers.conflicts(answer)) == 1
    assert answers.reason(answer).startswith(f"HTTP {status}: partial write: field type conflict")


def test_of_a_long_reason_both_ends_are_shown() -> None:
    body = json.dumps({"error": f"unable to parse 'm,d={'x' * 500} f= 1': missing field value"})
    reason = answers.reason(Answer(400, body))
    assert reason.startswith("HTTP 400: unable to parse 'm,d=xxx")
    assert reason.endswith(" f= 1': missing field value")
    assert len(reason) == len("HTTP 400: ") + 120


@pytest.mark.parametrize(
    "body",
    [
        "",
        "null",
        "[]",
        "5",
        '{"message":5}',
        '{"error":{"a":1}}',
        '{"error":"e","data":5}',
        '{"error":"e","data":{"error_message":"x"}}',
        '{"error":"e","data":[5]}',
        '{"error":"e","data":[{"line_number":"x"}]}',
        '{"message":"Unable to insert type a::b type into column c with type d","line":-1}',
        '{"error":"e","data":[{"error_message":"invalid column type for column \'a\', expected x, got y"}]}',
    ],
)
def test_what_is_not_understood_names_nothing(body: str) -> None:
    answer = Answer(400, body)
    assert answers.conflicts(answer) == []
    assert answers.reason(answer).startswith("HTTP 400: ")
    assert answers.refuses_content(answer)


@pytest.mark.parametrize(
    ("status", "body", "about"),
    [
        (400, {"error": "unable to parse"}, True),
        (413, "<html>413 Request Entity Too Large</html>", True),
        (400, "<html>400</html>", False),
        (422, "<!-- a proxy --> <!DOCTYPE html><p>", False),
        (201, {"code": "invalid", "message": "failed to parse line protocol", "line": 1}, True),
        (201, "created", False),
        (201, "", False),
        (200, {"login": "/here"}, False),
        (302, "", False),
        (403, {"message": "data falls outside of the bucket's retention period"}, True),
        (403, {"message": "insufficient permissions for write"}, False),
        (500, {"error": "partial write"}, False),
        (500, {"error": "unexpected error writing points to database: timeout"}, False),
        (401, {"error": "unable to parse authentication credentials"}, False),
        (429, {"message": "limit exceeded"}, False),
        (415, "no gzip here", False),
    ],
)
def test_what_an_answer_is_about(status: int, body: Any, about: bool) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert answers.refuses_content(Answer(status, text)) is about
