"""decide/tickets.py: no sentence of a held-out message says what a training row says, and all labels are there."""

from __future__ import annotations

from collections import Counter

from framework_plugins.decide.config import TicketsConfig
from framework_plugins.decide.tickets import LABELS, SAID, Tickets


def test_the_messages_are_the_same_each_time_and_held_out_ones_use_other_sentences() -> None:
    data = Tickets(TicketsConfig()).load()
    again = Tickets(TicketsConfig()).load()
    for rows, same in ((data.train, again.train), (data.prompts, again.prompts)):
        assert [row.fields for row in rows] == [row.fields for row in same]
        texts = [str(row.fields["text"]) for row in rows]
        assert len({*texts}) == len(texts)
        assert not any("{" in text for text in texts)
        labels = Counter(row.fields["label"] for row in rows)
        assert {*labels} == {*LABELS}
        assert max(labels.values()) - min(labels.values()) <= 1
    trained, held_out = ({sentence for said in SAID.values() for sentence in said[part]} for part in (0, 1))
    assert not trained & held_out
