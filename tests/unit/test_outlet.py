from actors.endpoints.outlet import AT_ONCE, MOST, Outlet
from actors.readings.batch import Batch, Source
from actors.readings.messages import AwaitPersisted

SOURCE = Source("e", "line", "mqtt", "d", "press", (), ())


def test_what_somebody_waits_for_is_not_dropped_nor_is_his_question() -> None:
    sent: list[object] = []
    dropped: list[int] = []
    outlet = Outlet(sent.append, lambda: None, lambda: dropped.append(1))
    for number in range(AT_ONCE):
        outlet.put(Batch(SOURCE, number, []))
    outlet.put(Batch(SOURCE, -1, [], kept=True))
    outlet.put(AwaitPersisted("e", 1))
    for number in range(MOST):
        outlet.put(Batch(SOURCE, number, []))
    assert len(dropped) == 2
    del sent[:]
    outlet.flush()
    assert len(sent) == MOST
    assert sent[:3] == [Batch(SOURCE, -1, [], kept=True), AwaitPersisted("e", 1), Batch(SOURCE, 2, [])]


def test_thousands_that_may_not_be_dropped_are_not_asked_again_for_each_one_more() -> None:
    asked = []

    class Kept:
        @property
        def TELEMETRY(self) -> bool:
            asked.append(1)
            return False

    class Other:
        TELEMETRY = True

    sent: list[object] = []
    dropped: list[int] = []
    outlet = Outlet(sent.append, lambda: None, lambda: dropped.append(1))
    for _ in range(MOST + 2000):
        outlet.put(Kept())
    assert len(asked) <= MOST + 2000
    outlet.turn()
    last = Other()
    outlet.put(last)
    outlet.put(Kept())
    assert dropped == [1]
    outlet.flush()
    assert last not in sent
    assert len(sent) == MOST + 2001
