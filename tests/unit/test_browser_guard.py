"""The rules of the browser guard; `test_browser_reports.py` has what happened to others."""

import socket

import pytest
from multidict import CIMultiDict

from api.authority import parse
from api.browser_guard import check_browser, check_page, own_names
from api.errors import ApiError

LISTED = [parse("edge-7.plant.example"), parse("ui.plant.example:8443")]
FORM = "application/x-www-form-urlencoded"
OLD_FIREFOX = {
    "User-Agent": "Mozilla/5.0 (X11; rv:52.0) Gecko/20100101 Firefox/52.0",
    "Accept": "text/html,*/*",
}


@pytest.fixture(autouse=True)
def _named_press_4(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Press-4.lan")


def refusal(method="GET", target="/v1/device", allowed=(), **headers):
    """The body of the refusal of a request with `headers` (`_` for `-`), or None when it may pass."""
    given = CIMultiDict({name.replace("_", "-"): text for name, text in headers.items() if text is not None})
    try:
        check_browser(method, target, given, allowed)
    except ApiError as error:
        return error.body if (error.status, error.body.error) == (403, "Forbidden") else error
    return None


def test_the_machine_is_known_by_its_name_and_by_multicast_dns():
    assert own_names() == {"press-4.lan", "press-4", "press-4.local"}


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LocalHost.:48484",
        "app.localhost",
        "127.0.0.1",
        "127.8.8.8:1",
        "0.0.0.0:48484",
        "192.168.1.5:48484",
        "203.0.113.5",
        "[::1]:48484",
        "[fe80::1%25eth0]",
        "press-4",
        "PRESS-4.local:48484",
        "press-4.lan",
        "edge-7.plant.example",
        "EDGE-7.plant.example.:9",
        "ui.plant.example",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_names_that_no_foreign_name_server_can_give_are_good(method, host):
    assert refusal(method, Host=host, allowed=LISTED) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:48484",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.1.5.nip.io",
        "evillocalhost",
        "evil.local",
        "press-4.evil.example",
        "press-4.local.evil.example",
        "edge-7",
        "a.edge-7.plant.example",
        "plant.example",
        "127.1",
        "2130706433",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
def test_other_names_are_refused_for_every_method(method, host):
    body = refusal(method, Host=host, allowed=LISTED)
    assert body is not None
    assert body.message == f"{parse(host).host} is not known as a name of this machine"
    assert "allowed_hosts" in body.hint
    assert "API_ALLOWED_HOSTS" in body.hint


@pytest.mark.parametrize("host", ["", "a@localhost", "localhost, evil.example", "::1", "evil\udcff"])
def test_what_is_no_host_is_refused_without_being_repeated(host):
    body = refusal(Host=host)
    assert body is not None
    assert body.message == "The Host header is not a host"


def test_of_a_target_with_a_host_both_must_be_good():
    assert refusal(target="http://localhost:48484/v1/device", Host="localhost:48484") is None
    assert refusal(target="http://evil.example/v1/device", Host="localhost") is not None
    assert refusal(target="HTTP://evil.example", Host="localhost") is not None
    assert refusal(target="http://user@localhost/", Host="localhost") is not None
    assert refusal(target="http://localhost/v1/device", Host="evil.example") is not None
    assert refusal(target="/v1/x?to=http://evil.example/", Host="localhost") is None


def test_the_origin_is_compared_with_the_host_that_counts():
    target = "http://localhost:1/v1/device"
    assert refusal(target=target, Host="localhost:2", Origin="http://localhost:1") is None
    assert refusal(target=target, Host="localhost:2", Origin="http://localhost:2") is not None


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site"])
def test_a_header_that_comes_twice_is_good_for_nothing(name):
    good = {
        "Host": "localhost",
        "Origin": "http://localhost",
        "Sec-Fetch-Site": "same-origin",
    }
    headers = CIMultiDict(Host="localhost")
    headers[name] = good[name]
    check_browser("POST", "/v1/endpoints", headers, ())
    headers.add(name, good[name])
    with pytest.raises(ApiError):
        check_browser("POST", "/v1/endpoints", headers, ())


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("host", "origin", "good"),
    [
        ("localhost:48484", "http://localhost:48484", True),
        ("192.168.1.5:48484", "http://192.168.1.5:48484", True),
        ("edge-7.plant.example", "https://edge-7.plant.example", True),
        ("127.0.0.1:48484", "https://edge-7.plant.example:9443", True),
        ("127.0.0.1:48484", "https://ui.plant.example:8443", True),
        ("127.0.0.1:48484", "https://ui.plant.example", False),
        ("localhost:48484", "http://localhost:3000", False),
        ("localhost:48484", "http://127.0.0.1:48484", False),
        ("localhost:48484", "https://evil.example", False),
        ("localhost", "http://localhost.evil.example", False),
        ("localhost", "chrome-extension://abcdef", False),
        ("localhost", "", False),
        ("localhost", "null", False),
        (None, "http://localhost", False),
        (None, "https://edge-7.plant.example", True),
    ],
)
def test_an_origin_must_be_the_hosts_or_listed(method, host, origin, good):
    assert (refusal(method, Host=host, Origin=origin, allowed=LISTED) is None) is good


def test_the_refusal_of_a_page_names_the_setting():
    body = refusal("POST", Host="localhost", Origin="https://evil.example")
    assert body.message == "Requests from other web sites are refused"
    assert "API_ALLOWED_HOSTS" in body.hint


@pytest.mark.parametrize(
    ("site", "origin", "good"),
    [
        ("same-origin", None, True),
        ("same-origin", "null", True),
        ("none", None, True),
        ("none", "null", False),
        ("same-site", None, False),
        ("cross-site", None, False),
        ("cross-site", "null", False),
        ("cross-origin", None, False),
        ("Same-Origin", None, False),
        ("", None, False),
        ("same-origin", "https://evil.example", False),
        ("cross-site", "http://localhost", True),
    ],
)
def test_the_fetch_site_counts_where_the_origin_says_nothing(site, origin, good):
    for method in ("GET", "POST"):
        assert (refusal(method, Host="localhost", Origin=origin, Sec_Fetch_Site=site) is None) is good


@pytest.mark.parametrize(
    ("method", "mode", "destination", "good"),
    [
        ("GET", "navigate", "document", True),
        ("HEAD", "navigate", "document", True),
        ("POST", "navigate", "document", False),
        ("GET", "navigate", "iframe", False),
        ("GET", "navigate", "object", False),
        ("GET", "no-cors", "image", False),
        ("GET", "cors", "empty", False),
        ("GET", None, None, False),
    ],
)
@pytest.mark.parametrize("site", ["same-site", "cross-site"])
def test_a_link_on_another_site_may_be_followed(site, method, mode, destination, good):
    body = refusal(
        method, Host="localhost", Sec_Fetch_Site=site, Sec_Fetch_Mode=mode, Sec_Fetch_Dest=destination
    )
    assert (body is None) is good


@pytest.mark.parametrize(
    ("referer", "good"),
    [
        ("http://localhost:48484/admin/", True),
        ("https://edge-7.plant.example/ui?x", True),
        ("https://evil.example/", False),
        ("http://localhost:3000/", False),
        ("about:blank", False),
        ("", False),
    ],
)
def test_the_referer_counts_for_writes_where_nothing_else_says_anything(referer, good):
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (refusal(method, Host="localhost:48484", Referer=referer, allowed=LISTED) is None) is good
    assert refusal("GET", Host="localhost:48484", Referer=referer) is None


@pytest.mark.parametrize(
    "media_type", [FORM, f"{FORM}; charset=utf-8", "Text/Plain", "multipart/form-data; boundary=x"]
)
def test_a_form_of_an_old_browser_that_hides_its_page_is_refused(media_type):
    assert refusal("POST", Host="localhost", Content_Type=media_type, **_spelt(OLD_FIREFOX)) is not None
    assert refusal("GET", Host="localhost", Content_Type=media_type, **_spelt(OLD_FIREFOX)) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "curl/8.5.0", "Accept": "*/*"},
        {"User-Agent": "python-requests/2.32", "Accept": "*/*"},
        {"User-Agent": "Mozilla/5.0 (Windows NT; en-US) WindowsPowerShell/5.1.19041"},
        {"User-Agent": "Java/1.8.0_392", "Accept": "text/html, image/gif, image/jpeg, *; q=.2"},
        {"User-Agent": "node", "Accept": "*/*", "Sec-Fetch-Mode": "cors"},
        {"User-Agent": "iotctl"},
        {},
    ],
)
@pytest.mark.parametrize("media_type", [None, "application/json", FORM, "text/plain"])
@pytest.mark.parametrize("host", [None, "localhost", "192.168.1.5:48484", "press-4.local"])
def test_programs_are_not_affected(headers, media_type, host):
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert refusal(method, Host=host, Content_Type=media_type, **_spelt(headers)) is None


def _spelt(headers):
    return {name.replace("-", "_"): text for name, text in headers.items()}


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({}, True),
        ({"Host": "any.name.example"}, True),
        ({"Host": "ui.example", "Origin": "https://ui.example"}, True),
        ({"Host": "ui.example", "Origin": "https://evil.example"}, False),
        ({"Host": "ui.example", "Origin": "https://ui.plant.example:8443"}, True),
        ({"Host": "", "Origin": "https://evil.example"}, False),
        ({"Host": "a b", "Origin": "https://a"}, False),
        ({"Host": "ui.example", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Host": "ui.example", "Sec-Fetch-Site": "none"}, True),
        ({"Host": "ui.example", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "ui.example", "Origin": "null"}, False),
    ],
)
def test_what_a_session_is_looked_at_for_comes_from_no_page_of_another_origin(headers, passes):
    """Whatever name this machine is called by: a browser keeps a cookie for that alone."""
    given = CIMultiDict(headers)
    if passes:
        check_page("DELETE", "/v1/admin/users/eve", given, LISTED)
    else:
        with pytest.raises(ApiError, match="403"):
            check_page("DELETE", "/v1/admin/users/eve", given, LISTED)
