import pytest

from api.authority import Authority, is_same_origin, of_page, parse


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("localhost", "localhost", None),
        ("LOCALHOST:48484", "localhost", 48484),
        ("localhost:", "localhost", None),
        ("Edge-7.Plant.Example.", "edge-7.plant.example", None),
        ("edge-7.plant.example.:8443", "edge-7.plant.example", 8443),
        ("call_board", "call_board", None),
        ("127.0.0.1.evil.example", "127.0.0.1.evil.example", None),
        ("127.1", "127.1", None),
        ("0x7f000001", "0x7f000001", None),
    ],
)
def test_names_are_compared_in_lower_case_without_the_dot_at_the_end(text, host, port):
    assert parse(text) == Authority(host, port, is_address=False)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.168.1.5", "192.168.1.5", None),
        ("192.168.1.5.:80", "192.168.1.5", 80),
        ("[::1]:48484", "::1", 48484),
        ("[0:0:0:0:0:0:0:1]", "::1", None),
        ("[FE80::1%eth0]", "fe80::1", None),
        ("[fe80::1%25eth0]:80", "fe80::1", 80),
        ("[::ffff:10.0.0.1]", "::ffff:10.0.0.1", None),
    ],
)
def test_addresses_are_compared_in_their_shortest_form_without_zone(text, host, port):
    parsed = parse(text)
    assert parsed is not None
    assert (parsed.port, parsed.is_address) == (port, True)
    assert parsed == parse(f"[{host}]{'' if port is None else f':{port}'}" if ":" in host else text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        ".",
        "a..b",
        "localhost..",
        "user@localhost",
        "user:pw@localhost",
        "localhost@evil.example",
        "localhost:80:80",
        "localhost:http",
        "localhost:\u0663",
        "localhost:+80",
        "localhost, evil.example",
        "localhost evil.example",
        "localhost/evil.example",
        "localhost#evil.example",
        "localhost?evil",
        "localhost\\evil.example",
        "localhost%00.evil.example",
        "localho\u017ft",  # its upper case is that of `localhost`
        "\u212aeeper",  # its lower case is ASCII
        "evil\udcff",
        "*",
        "::1",
        "fe80::1%eth0",
        "[::1",
        "[::1]evil.example",
        "[::1%]",
        "[::1%evil@x]",
        "[localhost]",
        "[127.0.0.1]:80:80",
        "[1:2]",
        "[v1.a]",
        "http://localhost",
    ],
)
def test_what_no_client_means_is_no_host(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("http://edge-7:48484", "edge-7", 48484),
        ("http://edge-7", "edge-7", 80),
        ("HTTPS://Edge-7", "edge-7", 443),
        ("https://edge-7/ui/?a=b#c", "edge-7", 443),
        ("http://[::1]:3000/", "::1", 3000),
    ],
)
def test_a_page_has_the_port_of_its_scheme(address, host, port):
    page = of_page(address)
    assert page is not None
    assert (page.host, page.port) == (host, port)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "null",
        "localhost",
        "//localhost",
        "ftp://localhost",
        "file:///etc",
        "chrome-extension://abcdef",
        "tauri://localhost",
        "http://",
        "http:///evil",
        "http://user@localhost",
        "http://localhost\\@evil.example",
        "http://localhost, http://evil.example",
        " http://localhost",
        "http://evil.example\n",
    ],
)
def test_other_addresses_are_no_pages(address):
    assert of_page(address) is None


@pytest.mark.parametrize(
    ("address", "host", "same"),
    [
        ("http://edge-7:48484", "edge-7:48484", True),
        ("http://EDGE-7:48484", "edge-7.:48484", True),
        ("http://edge-7", "edge-7", True),
        ("https://edge-7", "edge-7", True),
        ("https://edge-7", "edge-7:443", True),
        ("http://[0::1]:80", "[::1]", True),
        ("http://edge-7:3000", "edge-7:48484", False),
        ("http://edge-7:48484", "edge-7", False),
        ("http://edge-7", "edge-7:48484", False),
        ("http://edge-7.evil.example:48484", "edge-7:48484", False),
        ("http://localhost:48484", "127.0.0.1:48484", False),
    ],
)
def test_the_same_origin_is_the_same_host_and_port(address, host, same):
    assert is_same_origin(of_page(address), parse(host)) is same
