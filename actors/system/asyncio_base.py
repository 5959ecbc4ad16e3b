"""A Thespian system base that keeps all actors in one asyncio loop.

The contract is Thespian's (its shipped test-suite runs against this base); what it adds is `ask` as an
awaitable on the loop's own thread, supervised children, and a tree dump.
"""

import asyncio
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from thespian.actors import Actor, ActorAddress, ThespianGeneration
from thespian.system.timing import timePeriodSeconds

from actors.system.mailboxes import Asker, Collector, External
from actors.system.restarting import Restarting
from actors.system.status import SystemAddress
from storage.timestamps import unix_ms

T = TypeVar("T")

THREAD_CALL_TIMEOUT = 60.0  # seconds another thread waits for the loop


class AsyncioSystemBase(Restarting):
    """`ActorSystem(systemBase=AsyncioSystemBase(...))`.

    Constructed on a running loop it lives on that loop; elsewhere it starts a loop of its own in a
    daemon thread. `capabilities` are Thespian's; the standard ones are added. `mailbox_size` bounds the
    mailboxes of supervised actors (see `Cell.put`).
    """

    def __init__(self, capabilities: dict[str, Any] | None = None, mailbox_size: int = 1000) -> None:
        capabilities = capabilities if capabilities is not None else {}
        capabilities.update(
            {
                "Python Version": tuple(sys.version_info),
                "Thespian Generation": ThespianGeneration,
                "Thespian Version": str(unix_ms()),
                "Thespian ActorSystem Name": "asyncio",
                "Thespian ActorSystem Version": 1,
                "Thespian Watch Supported": True,
                "AllowRemoteActorSources": "No",
            }
        )
        super().__init__(capabilities, mailbox_size)
        self.mailboxes[self.address.addressDetails] = SystemAddress(self)
        self._thread: threading.Thread | None = None
        try:
            self.loop = asyncio.get_running_loop()
            self._thread_id = threading.get_ident()
            self._look_at_lag(self.loop.time())
        except RuntimeError:
            self._start_thread()
        self._main = self._external()

    def _start_thread(self) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="actors", daemon=True)
        self._thread.start()
        assert self._thread.ident is not None
        self._thread_id = self._thread.ident
        self.loop.call_soon_threadsafe(self._look_at_lag, self.loop.time())

    # Thespian's interface to a system base

    def newPrimaryActor(
        self,
        actor_class: type[Actor] | str,
        requirements: dict[str, Any] | None,
        global_name: str | None,
        source_hash: str | None = None,
    ) -> ActorAddress:
        return self._on_loop(lambda: self._create_primary(actor_class, requirements, global_name))

    def tell(self, address: ActorAddress, message: Any) -> None:
        self._tell(address, message, self._main.address)

    def ask(self, address: ActorAddress, message: Any, timeout: Any = None) -> Any:
        """The reply, or None after `timeout` (seconds or timedelta).

        On the loop's own thread the result is an awaitable and the reply goes to a one-shot address;
        on other threads the call blocks, as Thespian's does.
        """
        if threading.get_ident() == self._thread_id:
            return self._ask(address, message, timeout)
        self.tell(address, message)
        return self.listen(timeout)

    async def ask_each(self, addresses: Sequence[ActorAddress], message: Any, within: Any) -> list[Any]:
        """What each replies, None of who is no more or has not replied `within` (seconds or timedelta). A
        task and a timer for each would cost ten times as much. On the loop's own thread only."""
        there = {one.addressDetails for one in addresses if one.addressDetails in self.mailboxes}
        collector = Collector(self.loop.create_future(), set(there))
        reply_to = self._fresh("System:Ask:")
        self.mailboxes[reply_to.addressDetails] = collector
        try:
            for path in there:
                self.deliver(ActorAddress(path), message, reply_to)
            if there:
                async with asyncio.timeout(_seconds(within)):
                    await collector.future
        except TimeoutError:
            pass
        finally:
            del self.mailboxes[reply_to.addressDetails]
        return [collector.replies.get(one.addressDetails) for one in addresses]

    def listen(self, timeout: Any = None) -> Any:
        return _take(self._main, timeout)

    def external_clone(self) -> "PrivateRequester":
        return PrivateRequester(self, self._external())

    def updateCapability(self, name: str, value: Any = None) -> None:
        self._on_loop(lambda: self.update_capability(name, value))

    def loadActorSource(self, fname: Any) -> None:
        raise NotSupported("loadable actor sources")

    def unloadActorSource(self, source_hash: str) -> None:
        raise NotSupported("loadable actor sources")

    def shutdown(self) -> None:
        """Stop every actor; a loop of the base's own ends with them."""
        if not self._down:
            self._on_loop(self._stop_all)
        thread = self._thread
        if thread is not None and threading.get_ident() != self._thread_id:
            self._thread = None
            asyncio.run_coroutine_threadsafe(self.released(), self.loop).result(THREAD_CALL_TIMEOUT)
            self.loop.call_soon_threadsafe(self.loop.stop)
            thread.join()
            self.loop.close()

    # Threads

    def _on_loop(self, call: Callable[[], T]) -> T:
        if threading.get_ident() == self._thread_id:
            return call()
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(call())
            except Exception as error:  # noqa: BLE001 - raised again in the calling thread
                outcome.set_exception(error)

        self.loop.call_soon_threadsafe(run)
        return outcome.result(THREAD_CALL_TIMEOUT)

    def _tell(self, address: ActorAddress, message: Any, sender: ActorAddress) -> None:
        if threading.get_ident() == self._thread_id:
            self.deliver(address, message, sender)
        else:
            self.loop.call_soon_threadsafe(self.deliver, address, message, sender)

    def _external(self) -> External:
        external = External(self._fresh("System:ExternalRequester:"))
        self.mailboxes[external.address.addressDetails] = external
        return external

    async def _ask(self, address: ActorAddress, message: Any, within: Any) -> Any:
        reply_to = self._fresh("System:Ask:")
        future: asyncio.Future[Any] = self.loop.create_future()
        self.mailboxes[reply_to.addressDetails] = Asker(future)
        try:
            self.deliver(address, message, reply_to)
            async with asyncio.timeout(_seconds(within)):
                return await future
        except TimeoutError:
            return None
        finally:
            del self.mailboxes[reply_to.addressDetails]


class NotSupported(Exception):
    """A part of Thespian that a single in-process system has no use for."""


class PrivateRequester:
    """`ActorSystem.private()`: an external endpoint of one thread's own."""

    def __init__(self, base: AsyncioSystemBase, external: External) -> None:
        self._base = base
        self._external = external

    def tell(self, address: ActorAddress, message: Any) -> None:
        self._base._tell(address, message, self._external.address)

    def listen(self, timeout: Any = None) -> Any:
        return _take(self._external, timeout)

    def ask(self, address: ActorAddress, message: Any, timeout: Any = None) -> Any:
        self.tell(address, message)
        return self.listen(timeout)

    def newPrimaryActor(self, *args: Any) -> ActorAddress:
        return self._base.newPrimaryActor(*args)

    def exit_context(self) -> None:
        self._base.mailboxes.pop(self._external.address.addressDetails, None)


def _take(external: External, timeout: Any) -> Any:
    try:
        return external.arrived.get(timeout=_seconds(timeout))
    except queue.Empty:
        return None


def _seconds(timeout: Any) -> float | None:
    return None if timeout is None else max(0.0, float(timePeriodSeconds(timeout)))


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
