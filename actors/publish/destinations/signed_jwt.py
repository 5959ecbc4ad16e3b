"""JSON web tokens (RFC 7519), the passwords of GCP's and compatible brokers (spec 02 section 8.6).

The library costs 12 MB; it is imported when the first token is needed.
"""


class UnusableKey(ValueError):
    """No unencrypted private key for the algorithm, or one that is too weak. The text is for people."""


def sign(private_key: str, algorithm: str, audience: str, issued: int, expires: int) -> str:
    """A token for `audience`, good from the Unix second `issued` until `expires`; `private_key` is a PEM
    text. Raises `UnusableKey`."""
    import jwt
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    claims = {"aud": audience, "iat": issued, "exp": expires}
    encoder = jwt.PyJWT(options={"enforce_minimum_key_length": True})
    try:
        # Whoever configures a key with bad primes harms himself; testing them takes half a second.
        key = load_pem_private_key(private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
        return encoder.encode(claims, key, algorithm)  # type: ignore[arg-type]  # refused if not of a fitting type
    except jwt.InvalidKeyError as error:
        raise UnusableKey(str(error)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"It is not an unencrypted private key for {algorithm} as PEM text") from error


def expiry(token: str) -> float | None:
    """The Unix second at which somebody else's token ends; None when it does not say, or is no token."""
    import jwt

    try:
        expires = jwt.decode(token, options={"verify_signature": False}).get("exp")
    except jwt.PyJWTError:
        return None
    return expires if isinstance(expires, int | float) else None
