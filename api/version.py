"""The installed version of callboard."""


def version() -> str:
    """The distribution's version; `0+unknown` when it runs from a tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("callboard")
    except PackageNotFoundError:
        return "0+unknown"
