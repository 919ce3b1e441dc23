"""framework/data/fingerprint.py: what changes the rows changes the key, and nothing else does."""

import pytest

from framework.api.records import RawData, Row
from framework.data import fingerprint


def raw(*texts: str, place: str = "a") -> RawData:
    return RawData([Row({"text": text}, f"{place}:{number}") for number, text in enumerate(texts)])


def test_the_fingerprint_is_of_the_content_in_its_order_wherever_it_stands() -> None:
    assert fingerprint.fingerprint(raw("one", "two")) == fingerprint.fingerprint(raw("one", "two", place="b"))
    assert fingerprint.fingerprint(raw("one", "two")) != fingerprint.fingerprint(raw("two", "one"))
    assert fingerprint.fingerprint(raw("one")) != fingerprint.fingerprint(RawData((), raw("one").train))
    bad = RawData([Row({}, "a:0", problem="no JSON")])
    assert fingerprint.fingerprint(bad) != fingerprint.fingerprint(RawData([Row({}, "a:0")]))


def test_a_source_that_knows_its_content_is_not_read_for_its_fingerprint() -> None:
    class Unread:
        def __iter__(self) -> None:
            pytest.fail("read")

    one, two = (RawData(Unread(), key=name) for name in ("one", "two"))  # type: ignore[arg-type]
    assert fingerprint.fingerprint(one) == fingerprint.fingerprint(RawData((), key="one"))
    assert fingerprint.fingerprint(one) != fingerprint.fingerprint(two)
