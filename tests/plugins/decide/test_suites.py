"""What the kit for authors of plugins asks of the format, the method, the audit and the data."""

from __future__ import annotations

from typing import ClassVar

from framework.api.records import Example, GroupedRows, Message
from framework.api.schema import Role
from framework.testing import AuditSuite, ExporterSuite, FormatterSuite, MethodSuite, SourceSuite
from framework_plugins.decide.config import WEIGHT
from tests.support.pairs_plugin import token_row

ARC = {"question": "Where is Lima?", "choices": {"text": ["Peru", "Cuba"], "label": ["A", "B"]}, "answerKey": "A"}
ASKED = Message("user", "Which fits? Lima")
CHOSEN = Example((ASKED, Message("assistant", "city")), "decide", options=("city", "river"))


class TestDecideFormat(FormatterSuite):
    option = "decide"
    rows = (
        {"question": "Capital of Peru?", "choices": ["Lima", "Quito"], "answer": 0},
        {"question": "Capital of Peru?", "options": '["Lima", "Quito"]', "answer": "Lima"},
        {"passage": "Lima is large.", "question": "Is it?", "answer": True},
        ARC,
    )
    broken = (
        ({**ARC, "question": ""}, "text"),
        ({**ARC, "answerKey": None}, "label"),
        ({**ARC, "answerKey": "C"}, "answerKey"),
        ({**ARC, "choices": {"text": ["Peru"], "label": ["A"]}}, "options"),
        ({"text": "Great film", "label": 1}, "format.labels"),
    )
    recognised = False


class TestTickets(SourceSuite):
    option = "tickets"
    overrides = ("format=decide", "format.labels=[delivery,damage,wrong item,money back,question before buying]")
    count = 480


class TestDecideExporter(ExporterSuite):
    option = "decide"
    overrides = (
        "format=decide",
        "format.columns={text: instruction, label: output}",
        f"format.labels=[{','.join(f'it is {number}' for number in range(12))}]",
    )


class TestDecideMethod(MethodSuite):
    option = "decide"
    overrides = ("method.label_smoothing=0.1", "method.class_weights={city: 3}")
    examples: ClassVar = [CHOSEN]
    groups: ClassVar = [
        GroupedRows(
            (token_row(start, size), token_row(start + 9, size, learned), token_row(start + 20, size, 2)),
            (Role.answer, Role.rejected, Role.rejected),
            {WEIGHT: weight},
        )
        for start, size, learned, weight in ((3, 6, 2, 1.0), (50, 9, 5, 3.0), (90, 7, 3, 1.0))
    ]
    refused: ClassVar = [
        (Example(CHOSEN.messages, "none"), "set format=decide"),
        (Example(CHOSEN.messages, "none", options=("city", "city")), "two or more that are different"),
        (Example(CHOSEN.messages, "none", options=("lake", "river")), "not among them: 'city'"),
    ]


class TestDecideAudit(AuditSuite):
    option = "decide"
    overrides = ("format=decide", "method=decide", "objective=train_loss")
    clean = tuple(
        {"question": f"Is {number} even?", "options": [f"it is {number}", "other", "odd"], "answer": number % 2}
        for number in range(6)
    )
    faulty = (
        ("near_options", ({"question": "What?", "options": ["refund", "Refunds"], "answer": 0}, clean[0])),
        ("prefix_options", ({"question": "What?", "options": ["new", "new order"], "answer": 0}, clean[0])),
        ("unnamed_options", ({"question": "What?", "options": ["0", "1"], "answer": 0}, clean[0])),
        (
            "rare_options",
            tuple({"question": f"What is {n}?", "options": ["a", "b"], "answer": n // 3} for n in range(4)),
        ),
    )
