"""TLS contexts of clients, from PEM texts. A private key touches no disk on the way.

Parsing takes a millisecond for a key and 17 ms for a bundle of 144 authorities, the system's as well.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from actors.system.failure import Refusal

DESCRIPTORS = "/proc/self/fd"


def server_context(
    *,
    ca: str | None,
    cert: str | None = None,
    key: str | None = None,
    verify: bool = True,
    path: str = "config_json",
) -> ssl.SSLContext:
    """As `client_context`; without a `ca` the system's authorities are trusted. Reading those takes tens of
    ms."""
    context = client_context(ca=ca, cert=cert, key=key, verify=verify, path=path)
    if verify and ca is None:
        context.load_default_certs()
    return context


def client_context(
    *,
    ca: str | None = None,
    cert: str | None = None,
    key: str | None = None,
    verify: bool = True,
    path: str = "config_json",
) -> ssl.SSLContext:
    """What verifies a server by `ca` and identifies this client by `cert` and `key`. Without a `ca` it
    trusts nobody yet (`load_default_certs`). Raises `Refusal` naming the text in the object at `path`
    that is unusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if ca is not None:
        try:
            context.load_verify_locations(cadata=_ascii(ca))
        except (ssl.SSLError, ValueError) as error:
            raise Refusal("ca is not a PEM certificate", f"{path}.ca") from error
    if cert is not None:
        _load_identity(context, f"{cert}\n{key}\n", f"{path}.key")
    return context


def _ascii(pem: str) -> str:
    """Bundles have the names of authorities between certificates, in any letters; ssl takes ASCII alone."""
    return pem.encode("ascii", "replace").decode()


def _load_identity(context: ssl.SSLContext, pem: str, field: str) -> None:
    try:
        # ssl reads a private key from files only. The empty password makes an encrypted one fail; without
        # one OpenSSL asks at the terminal.
        with _file_in_memory(pem) as name:
            context.load_cert_chain(name, password="")
    except (ssl.SSLError, ValueError) as error:
        message = "cert and key are not a PEM certificate and its unencrypted private key"
        raise Refusal(message, field) from error
    except OSError as error:
        message = f"A private key cannot be loaded on this system without a file on disk: {error}"
        raise Refusal(message, field, kind="unavailable") from error


@contextmanager
def _file_in_memory(text: str) -> Iterator[str]:
    """The path of a file without a place on any disk; programs that this one starts do not get it. Raises
    `OSError` where there is no such thing, or no /proc to open it through."""
    if not hasattr(os, "memfd_create"):
        raise OSError("it has no files in memory")
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "w", closefd=False) as file:
            file.write(text)
        yield f"{DESCRIPTORS}/{descriptor}"
    finally:
        os.close(descriptor)
