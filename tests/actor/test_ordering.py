"""In what order messages are handled, and who has a turn."""

import asyncio
import socket
import time
from itertools import pairwise

from puppets import SECONDS, Do, Puppet, Tell, spawn, until
from thespian.actors import ActorAddress

from actors.system import tree
from actors.system.asyncio_base import AsyncioSystemBase

MANY = 2000


def unbounded() -> AsyncioSystemBase:
    return AsyncioSystemBase(mailbox_size=10 * MANY)


async def test_messages_of_one_sender_to_one_receiver_arrive_in_the_order_of_sending(system):
    receiver, instances = spawn(system, "receiver")

    def send_all(self: Puppet, sender: ActorAddress) -> int:
        for n in range(MANY):
            self.send(receiver, Tell((self.myAddress.addressDetails, n)))
        return 1

    senders = [spawn(system, name)[0] for name in ("a", "b", "c")]
    await asyncio.gather(*(system.ask(sender, Do(send_all), SECONDS) for sender in senders))
    await until(lambda: len(instances[0].told) == 3 * MANY)
    for sender in senders:
        numbers = [n for name, n in instances[0].told if name == sender.addressDetails]
        assert numbers == list(range(MANY))


async def test_an_actor_handles_one_message_at_a_time(system):
    puppet, instances = spawn(system)

    def send_itself_more(self: Puppet, sender: ActorAddress) -> None:
        self.told.append("begin")
        self.send(self.myAddress, Tell("more"))
        self.told.append("end")

    system.tell(puppet, Do(send_itself_more))
    await until(lambda: instances and "more" in instances[0].told)
    assert instances[0].told == ["begin", "end", "more"]


async def test_a_flooded_actor_does_not_starve_the_others():
    system = unbounded()
    flooded, drowning = spawn(system, "flooded")
    other, _ = spawn(system, "other")
    for n in range(MANY):
        system.tell(flooded, Tell(n))
    handled_before = await system.ask(other, Do(lambda self, sender: 1 + len(drowning[0].told)), SECONDS)
    assert handled_before < MANY / 2
    system.shutdown()


async def test_an_actor_that_writes_to_itself_for_ever_does_not_starve_sockets_and_timers(system):
    def again(self: Puppet, sender: ActorAddress) -> None:
        self.send(self.myAddress, Do(again))

    puppet, _ = spawn(system)
    system.tell(puppet, Do(again))
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        read = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(near, 1))
        await asyncio.sleep(0.01)
        far.send(b"x")
        assert await asyncio.wait_for(read, SECONDS) == b"x"


async def test_slow_messages_in_one_mailbox_let_the_loop_look_at_its_sockets_between_them(system):
    puppet, instances = spawn(system)
    for n in range(9):
        system.tell(puppet, Do(lambda self, sender, n=n: (time.sleep(0.01), self.told.append(n))[1]))
    handled: list[int] = []
    while not instances or len(instances[0].told) < 9:
        await asyncio.sleep(0)
        handled.append(len(instances[0].told) if instances else 0)
    assert max(b - a for a, b in pairwise(handled)) == 1


async def test_loop_lag_is_measured(system):
    due: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.4, due.set_result, None)
    await due
    time.sleep(0.3)  # noqa: ASYNC251 - over the watchdog's next look
    await until(lambda: system.lag_max > 0.1)
    puppet, _ = spawn(system)
    dumped = tree.dump(system.mailboxes[puppet.addressDetails])
    assert dumped.loop_lag_max_ms > 100
    assert dumped.loop_lag_ms <= dumped.loop_lag_max_ms
