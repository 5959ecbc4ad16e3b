from collections.abc import AsyncGenerator

import pytest
from publishing_rig import rig, sites

from actors.system.asyncio_base import AsyncioSystemBase

__all__ = ["rig", "sites"]  # fixtures


@pytest.fixture
async def system() -> AsyncGenerator[AsyncioSystemBase, None]:
    """A system on the test's own loop, with room for ten messages in a mailbox."""
    system = AsyncioSystemBase(mailbox_size=10)
    yield system
    system.shutdown()
    await system.released()
