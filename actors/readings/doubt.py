"""Whether readings may have gone with an earlier life of who had them. Plain."""


class Doubt:
    """`reborn`: there was an earlier life, and what it had may be gone. Each endpoint is told so when it
    first asks, and whenever it asks that question again."""

    def __init__(self) -> None:
        self.reborn = False
        self._told: dict[str, int] = {}

    def certain(self, endpoint_uuid: str, asked: int) -> bool:
        """Whether nothing of the endpoint has gone since its question before; `asked` numbers this one."""
        return not self.reborn or self._told.setdefault(endpoint_uuid, asked) != asked

    def forget(self, endpoint_uuid: str) -> None:
        """The endpoint is no more."""
        self._told.pop(endpoint_uuid, None)
