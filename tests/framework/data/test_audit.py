"""What an audit is given, and what becomes of its findings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from framework.api.audit import AuditData, RowPart
from framework.api.component import Component
from framework.api.plan import Plan
from framework.api.protocols import Audit
from framework.api.records import Example, Finding, Message, Severity, TokenRow
from framework.api.schema import AuditConfig
from framework.api.selection import Selection
from framework.data import audit, writer
from framework.data.audit import StoredRows
from framework.data.store import Store
from framework.testing.echo import plan
from framework.util import minhash
from framework.util.errors import FrameworkError


def conversation(asked: str, answered: str, number: int = 0) -> Example:
    return Example((Message("user", asked), Message("assistant", answered)), "alpaca", f"rows.jsonl:{number + 1}")


def plain(text: str, number: int = 0) -> Example:
    return Example((), "text", f"book.txt:{number + 1}", text=text)


def written(folder: Path, rows: Sequence[Example]) -> Store:
    def fill(into: writer.Writer) -> None:
        into.add(rows, [TokenRow([1, 2, 3], [-100, 2, 3], row.where) for row in rows], RowPart.train, 0)

    return writer.write(folder / "store", fill)


def planned(folder: Path) -> Plan:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text(json.dumps({"instruction": "a", "output": "b"}) + "\n", encoding="utf-8")
    return plan(["data=local_file", f"data.path='{file}'"], run_dir=folder / "run")


def data(folder: Path, rows: Sequence[Example]) -> AuditData:
    made = written(folder, rows)
    return StoredRows(planned(folder), made, made.columns.part)


@dataclass
class Fixed(Audit):
    """An audit that reports the findings that the test sets."""

    says: list[Finding]
    asked: list[int] = field(default_factory=list)

    def audit(self, data: AuditData) -> Iterable[Finding]:
        self.asked.append(len(data))
        return self.says


@dataclass(frozen=True)
class Made(Selection):
    """The choice of an audit that is there already."""

    fixed: Fixed = field(default_factory=lambda: Fixed([]))

    def create(self) -> Fixed:
        return self.fixed


@dataclass
class Strict(AuditConfig):
    """Something to set. For tests."""

    strict: bool = False


def with_audit(made: Plan, *says: Finding, fixed: Fixed | None = None, strict: bool = False) -> tuple[Plan, Fixed]:
    fixed = fixed or Fixed(list(says))
    choice = Made(Component("fixed", Strict, "none:None"), Strict(strict), fixed)
    return dataclasses.replace(made, audit={"fixed": choice}), fixed


def finding(name: str, severity: Severity, *, fatal: bool = False) -> Finding:
    return Finding(name, severity, 3, f"3 of 9 rows are {name}", f"fix what is {name}", ["rows.jsonl:2: odd"], fatal)


# --- what an audit is given -------------------------------------------------------------------------------------------


def test_an_example_shows_question_and_answer_and_where_they_stand(tmp_path: Path) -> None:
    made = data(tmp_path, [conversation("Capital of\n Peru?", "Lima"), conversation("Say it", "word " * 50, 1)])
    assert made.examples([0]) == ["rows.jsonl:1: Capital of Peru? → Lima"]
    shown = made.examples([1])[0]
    assert shown.startswith("rows.jsonl:2: Say it → word word")
    assert shown.endswith("…")
    assert len(shown) < 90


def test_examples_are_the_first_few(tmp_path: Path) -> None:
    made = data(tmp_path, [conversation(f"{number}?", "yes", number) for number in range(9)])
    assert len(made.examples(range(9))) == 5
    assert made.examples(np.array([7, 3]), 1) == ["rows.jsonl:8: 7? → yes"]


def test_an_example_hides_secrets_and_what_no_terminal_can_show(tmp_path: Path) -> None:
    rows = [conversation("Key?", "hf_" + "abcdefghijklmnopqrstuvwxyz01"), conversation("Bell?", "\x1b[31mred\x07", 1)]
    shown = data(tmp_path, rows).examples([0, 1])
    assert shown == ["rows.jsonl:1: Key? → (hidden)", "rows.jsonl:2: Bell? → �[31mred�"]


def test_an_example_of_plain_text_and_of_an_empty_answer(tmp_path: Path) -> None:
    made = data(tmp_path, [plain("Once upon a time"), conversation("Who?", "", 1)])
    assert made.examples([0, 1]) == ["book.txt:1: Once upon a time", "rows.jsonl:2: Who? → "]


def test_near_duplicates_are_found_by_question_and_answer(tmp_path: Path) -> None:
    rows = [
        conversation("What is the capital of Peru?", "It is Lima"),
        conversation("what is the capital of peru", "it is Lima!", 1),
        conversation("What is the capital of Peru?", "Nobody who was asked seemed to know that for certain", 2),
        conversation("How tall is a giraffe?", "Five metres", 3),
    ]
    made = data(tmp_path, rows)
    assert made.near_duplicates.tolist() == [0, 0, 2, 3]
    assert made.near_duplicate_questions.tolist() == [0, 0, 0, 3]


def test_plain_text_which_asks_nothing_is_compared_itself(tmp_path: Path) -> None:
    made = data(
        tmp_path,
        [plain("Once upon a time there was"), plain("It was a dark night", 1), plain("ONCE upon a time there was", 2)],
    )
    assert made.near_duplicate_questions.tolist() == [0, 1, 0]


def test_groups_are_worked_out_once_for_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = written(tmp_path, [conversation("a?", "a"), conversation("a?", "a", 1)])
    before = audit.groups(made, "near_duplicates")
    monkeypatch.setattr(minhash, "group", None)
    assert np.array_equal(audit.groups(Store(made.folder), "near_duplicates"), before)
    assert not [path for path in made.folder.iterdir() if path.name.startswith(".")], "files are left behind"


# --- what becomes of findings -----------------------------------------------------------------------------------------


def found_in(made: Plan, rows: Store, part: NDArray[np.int8]) -> list[Finding]:
    return audit.findings(made.audit, StoredRows(made, rows, part))


def test_a_fatal_finding_ends_the_run_and_says_what_to_do(tmp_path: Path) -> None:
    says = [finding("rare", Severity.note), finding("bad", Severity.warning, fatal=True)]
    made, _ = with_audit(planned(tmp_path), *says)
    rows = written(tmp_path, [conversation("a?", "a")])
    for _ in range(2):  # what was kept is as fatal
        with pytest.raises(FrameworkError) as caught:
            found_in(made, rows, rows.columns.part)
        assert str(caught.value) == "bad: 3 of 9 rows are bad (rows.jsonl:2: odd). Fix what is bad"


def test_findings_are_kept_for_the_same_rows_and_settings_only(tmp_path: Path) -> None:
    made, fixed = with_audit(planned(tmp_path), finding("odd", Severity.note))
    rows = written(tmp_path, [conversation("a?", "a"), conversation("b?", "b", 1)])
    part = rows.columns.part.copy()
    one, two = (found_in(made, rows, part) for _ in range(2))
    assert one == two
    assert fixed.asked == [2]
    part[0] = RowPart.validation
    found_in(made, rows, part)
    assert fixed.asked == [2, 2]
    other, _ = with_audit(made, fixed=fixed, strict=True)
    found_in(other, rows, part)
    assert fixed.asked == [2, 2, 2]
    data = dataclasses.replace(other.data, config=dataclasses.replace(other.data.config, seed=7))
    found_in(dataclasses.replace(other, data=data), rows, part)
    assert fixed.asked == [2, 2, 2, 2]


def test_damaged_findings_are_made_anew(tmp_path: Path) -> None:
    made, fixed = with_audit(planned(tmp_path), finding("odd", Severity.note))
    rows = written(tmp_path, [conversation("a?", "a")])
    found_in(made, rows, rows.columns.part)
    (kept,) = rows.folder.glob("findings-*.json")
    kept.write_text("[{", encoding="utf-8")
    assert len(found_in(made, rows, rows.columns.part)) == 1
    assert fixed.asked == [1, 1]
