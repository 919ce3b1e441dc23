"""`audit=standard`: each fault planted in a clean corpus is found, and the clean corpus is left in peace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework.api.audit import AuditData
from framework.api.records import Severity
from framework_plugins.audit.config import Check, StandardConfig
from framework_plugins.audit.standard import Standard
from tests.plugins.audit.made import FAULTS, Pair, audit_data, look, orders
from tests.support.examples import examples

BAD = (Severity.warning, Severity.serious)


def test_of_a_clean_corpus_no_check_flags_more_than_a_hundredth(clean: list[Pair], tmp_path: Path) -> None:
    """Neither one check nor all together; of the corpus nothing was removed but questions that nearly repeat another.

    `clean` (conftest.py) keeps the first of each such kind, by edits of letters, and no look at what the audit says.
    """
    cut = len(clean) // 10
    data = audit_data(tmp_path, clean[2 * cut :], clean[:cut], clean[cut : 2 * cut])
    assert len(data) > 800
    found = look(data)
    assert {
        check.value: one.numbers.size
        for check, one in found.items()
        if one.severity in BAD and one.numbers.size > len(data) / 100
    } == {}
    flagged = {int(number) for one in found.values() if one.severity in BAD for number in one.numbers}
    assert len(flagged) <= len(data) / 100
    serious = [check.value for check, one in found.items() if one.severity is Severity.serious]
    assert serious == []


def test_the_embedded_orders_are_left_in_peace(tmp_path: Path) -> None:
    data = audit_data(tmp_path, orders("orders_train.jsonl"), (), orders("orders_held_out.jsonl"))
    assert [one.text for one in look(data).values() if one.severity in BAD] == []


@pytest.mark.parametrize("count", range(1, 6))
def test_of_a_handful_of_rows_only_their_number_is_said(count: int, clean: list[Pair], tmp_path: Path) -> None:
    long = [pair for pair in clean if len(pair[1].split()) > 3]
    assert list(look(audit_data(tmp_path, long[:count]))) == [Check.too_few_rows]


def test_no_rows_have_no_findings(tmp_path: Path) -> None:
    data = audit_data(tmp_path / "left", [("Who wrote Faust?", "Goethe wrote it.")])
    data.part[:] = -1
    assert look(data) == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_row_is_found_and_hardly_another(fault: str, clean: list[Pair], tmp_path: Path) -> None:
    check, rows = FAULTS[fault]
    places = np.linspace(5, len(clean), len(rows), dtype=int)
    mixed = list(clean)
    for place, row in zip(reversed(places.tolist()), reversed(rows), strict=True):
        mixed.insert(place, row)
    planted = {place + number for number, place in enumerate(places.tolist())}
    if check in {Check.duplicates, Check.near_duplicates}:
        planted.discard(min(planted))  # the first of them repeats nothing
    found = look(audit_data(tmp_path, mixed))[check]
    assert planted - set(found.numbers.tolist()) == set()
    assert len(set(found.numbers.tolist()) - planted) <= len(clean) / 100


@pytest.fixture(scope="module")
def faulty(clean: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> AuditData:
    """Return data with every fault."""
    rows = [row for _, planted in FAULTS.values() for row in planted]
    words = ["trainer.num_train_epochs=50", "trainer.per_device_train_batch_size=8"]
    return audit_data(tmp_path_factory.mktemp("faulty"), [*rows, *clean[:300]], [*clean[:5]], words=words)


def test_findings_tell_how_many_and_what_to_do_and_name_rows_twice_alike(faulty: AuditData) -> None:
    findings = list(Standard(StandardConfig()).audit(faulty))
    assert len(findings) >= 12
    for finding in findings:
        assert finding.rows > 0
        assert any(letter.isdigit() for letter in finding.text), finding.text
        assert finding.advice
        assert len(finding.examples) <= 5
        assert all(shown.startswith("rows.jsonl:") for shown in finding.examples)
        assert not finding.fatal
    shown = json.dumps([finding.examples for finding in findings])
    for secret in ("Z7QK4JW2MB6XT9RD", "tr0ub4dor", "9c1f8e2ab7d64035a1ee0c97", "jane.doe", "bob_77"):
        assert secret not in shown
    assert list(Standard(StandardConfig()).audit(faulty)) == findings


def test_what_is_fatal_and_what_is_ignored_is_the_users_choice(faulty: AuditData) -> None:
    config = StandardConfig(
        fatal=[Check.secrets, Check.emails], ignore=[Check.refusals, Check.duplicates, Check.emails]
    )
    findings = {finding.name: finding for finding in Standard(config).audit(faulty)}
    assert {name for name, finding in findings.items() if finding.fatal} == {"secrets"}
    assert not {"refusals", "duplicates", "emails"} & set(findings)


TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    ["", "{", '{"a": 1}', "[" * 5000, "\x00", "🙂", "@", "://"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(40))
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=12), held=st.lists(st.tuples(TEXT, TEXT), max_size=3))
def test_no_text_is_too_odd(rows: list[Pair], held: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> None:
    data = audit_data(tmp_path_factory.mktemp("odd"), rows, held)
    for finding in Standard(StandardConfig()).audit(data):
        assert finding.text


def test_one_row_of_ten_megabytes_is_borne(clean: list[Pair], tmp_path: Path) -> None:
    long = "All work and no play makes a dull text. " * 250_000
    found = look(audit_data(tmp_path, [*clean[:50], ("Repeat it", long)]))
    assert {Check.very_long_answers, Check.too_long} <= set(found)
