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
