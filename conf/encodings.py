"""Names of text encodings. A codec is looked up by its name among all that Python has, and many of those are
no encodings of text: compression, quoting, what interprets escapes."""

import codecs
import re

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,31}")
_ALIASES = {"utf16le": "utf-16-le", "ucs2": "utf-16-le", "binary": "latin-1"}
"""As the original's clients know them."""

_NO_ENCODINGS = {
    "idna",
    "punycode",
    "unicode_escape",
    "raw_unicode_escape",
    "undefined",
    "utf_7",
    "mbcs",
    "oem",
}
"""Codecs that read more into bytes than characters, or that not every system has."""


def text_encoding(name: str) -> str:
    """The encoding as Python calls it. Raises `ValueError` with the rest of a sentence that begins with the
    field."""
    known = _ALIASES.get(name.lower(), name)
    if _NAME.fullmatch(known):
        try:
            found = codecs.lookup(known)
        except LookupError:
            pass
        else:
            # Private, and what `bytes.decode` goes by since Python 3.4.
            if found._is_text_encoding and found.name.replace("-", "_") not in _NO_ENCODINGS:
                return found.name
    raise ValueError("must be the name of a text encoding such as ascii")
