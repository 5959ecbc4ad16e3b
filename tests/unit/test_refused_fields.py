from actors.publish.destinations.refused_fields import MOST, REST, Out, RefusedFields

A = ("m", b"a", "float")


def known() -> RefusedFields:
    fields = RefusedFields(lambda *told: None)
    fields.refuse(A, "why", 0.0)
    return fields


def test_only_that_field_in_that_type_of_that_measurement_is_left_out() -> None:
    fields = known()
    assert fields.sift("m", {b"a": b"1", b"b": b"2"}, 1.0) == ({b"b": b"2"}, {b"a": Out(b"1", A)}, [])
    assert fields.sift("m", {b"a": b"true"}, 1.0) == ({b"a": b"true"}, {}, [])
    assert fields.sift("other", {b"a": b"1"}, 1.0) == ({b"a": b"1"}, {}, [])


def test_one_value_is_tried_again_after_a_rest() -> None:
    fields = known()
    assert fields.sift("m", {b"a": b"1"}, REST) == ({b"a": b"1"}, {}, [A])
    assert fields.sift("m", {b"a": b"1"}, REST) == ({}, {b"a": Out(b"1", A)}, [])
    fields.refuse(A, "why", REST + 1)
    assert fields.sift("m", {b"a": b"1"}, 2 * REST) == ({}, {b"a": Out(b"1", A)}, [])


def test_the_first_value_left_out_is_told_and_all_are_counted() -> None:
    back: list[tuple[str, str, int]] = []
    fields = RefusedFields(lambda *told: back.append(told))
    fields.refuse(A, "why", 0.0)
    assert [fields.leave_out(A) for _ in range(3)] == ["why", None, None]
    fields.refuse(A, "again", 5.0)
    assert fields.leave_out(A) is None
    fields.taken(A)
    fields.taken(A)
    assert back == [("m", "a", 4)]
    assert not fields


def test_of_too_many_the_oldest_is_forgotten() -> None:
    fields = known()
    for number in range(MOST):
        fields.refuse(("m", b"%d" % number, "float"), "why", 0.0)
    kept, out, _ = fields.sift("m", {b"a": b"1", b"0": b"2"}, 0.0)
    assert (kept, out.keys()) == ({b"a": b"1"}, {b"0"})
