"""Replies that requests share."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from api import sharing
from api.sharing import FOR_GOOD, KEPT, SharedReplies


class Kitchen:
    """Makes replies that tell how many there were before."""

    def __init__(self) -> None:
        self.made = 0
        self.go = asyncio.Event()
        self.go.set()
        self.fails: Exception | None = None

    async def make(self) -> web.Response:
        number, self.made = self.made, self.made + 1
        await self.go.wait()
        if self.fails is not None:
            raise self.fails
        return web.json_response({"number": number}, status=200)


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


async def body(replies: SharedReplies, kitchen: Kitchen, seconds: float = 60.0, key: Any = "key") -> str:
    reply = await replies.reply(key, seconds, kitchen.make)
    assert (reply.status, reply.content_type, reply.charset) == (200, "application/json", "utf-8")
    assert reply.text is not None
    return reply.text


async def test_one_reply_serves_all_who_ask_while_it_is_fresh(kitchen):
    replies = SharedReplies()
    together = await asyncio.gather(*(body(replies, kitchen) for _ in range(10)))
    assert {*together, await body(replies, kitchen)} == {'{"number": 0}'}
    assert kitchen.made == 1


async def test_another_question_is_another_reply(kitchen):
    replies = SharedReplies()
    assert await body(replies, kitchen, key="one") != await body(replies, kitchen, key="other")


async def test_it_is_made_anew_when_it_is_old_and_forgotten(kitchen):
    replies = SharedReplies()
    await body(replies, kitchen, seconds=0.01)
    forgotten = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, forgotten.set)  # behind the timer of the reply
    await forgotten.wait()
    assert replies._kept == {}
    assert await body(replies, kitchen, seconds=0.01) == '{"number": 1}'


async def test_who_has_changed_something_sees_it(kitchen):
    replies = SharedReplies()
    await body(replies, kitchen)
    replies.changed()
    assert await body(replies, kitchen) == '{"number": 1}'


async def test_a_reply_that_was_begun_before_a_change_is_not_for_those_who_ask_after_it(kitchen):
    replies = SharedReplies()
    kitchen.go.clear()
    early = asyncio.ensure_future(body(replies, kitchen))
    await asyncio.sleep(0)
    replies.changed()
    late = asyncio.ensure_future(body(replies, kitchen))
    await asyncio.sleep(0)
    kitchen.go.set()
    assert (await early, await late) == ('{"number": 0}', '{"number": 1}')


async def test_what_is_shared_for_good_outlives_changes(kitchen):
    replies = SharedReplies()
    await body(replies, kitchen, FOR_GOOD)
    replies.changed()
    assert await body(replies, kitchen, FOR_GOOD) == '{"number": 0}'


async def test_a_failure_reaches_all_who_wait_and_nobody_after_them(kitchen):
    replies = SharedReplies()
    kitchen.go.clear()
    kitchen.fails = ValueError("no gas")
    waiting = [asyncio.ensure_future(body(replies, kitchen)) for _ in range(3)]
    await asyncio.sleep(0)
    kitchen.go.set()
    assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["no gas"] * 3
    kitchen.fails = None
    assert await body(replies, kitchen) == '{"number": 1}'


async def test_who_leaves_first_does_not_take_the_reply_along(kitchen):
    replies = SharedReplies()
    kitchen.go.clear()
    first = asyncio.ensure_future(body(replies, kitchen))
    second = asyncio.ensure_future(body(replies, kitchen))
    await asyncio.sleep(0)
    first.cancel()
    kitchen.go.set()
    assert await second == '{"number": 0}'


async def test_few_are_kept(kitchen):
    replies = SharedReplies()
    for number in range(KEPT + 10):
        await body(replies, kitchen, key=number)
    assert len(replies._kept) == sharing.KEPT
