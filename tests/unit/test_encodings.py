import encodings
import pkgutil

import pytest

from conf.encodings import text_encoding


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ascii", "ascii"),
        ("ASCII", "ascii"),
        ("us-ascii", "ascii"),
        ("utf8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("utf16le", "utf-16-le"),
        ("ucs2", "utf-16-le"),
        ("binary", "iso8859-1"),
        ("latin1", "iso8859-1"),
        ("windows-1252", "cp1252"),
        ("shift_jis", "shift_jis"),
        ("gb18030", "gb18030"),
        ("cp037", "cp037"),
    ],
)
def test_encodings_of_text_are_known_by_all_their_names(name: str, expected: str) -> None:
    assert text_encoding(name) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("hex", "base64", "zip", "zlib", "bz2", "rot13", "quopri", "uu"),
        *("idna", "punycode", "unicode_escape", "unicode-escape", "raw_unicode_escape", "undefined", "utf-7"),
        *(
            "",
            " ",
            "klingon",
            "a\0b",
            "../ascii",
            "encodings.ascii",
            "os",
            "aliases",
            "ascii\n",
            "é",
            "x" * 10_000,
        ),
    ],
)
def test_all_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be the name of a text encoding"):
        text_encoding(name)


def test_whatever_python_has_is_refused_or_makes_characters_of_any_bytes() -> None:
    accepted = 0
    for module in pkgutil.iter_modules(encodings.__path__):
        try:
            name = text_encoding(module.name)
        except ValueError:
            continue
        accepted += 1
        assert isinstance(bytes(range(256)).decode(name, "replace"), str)
        assert isinstance("".encode(name), bytes)
    assert accepted > 80
