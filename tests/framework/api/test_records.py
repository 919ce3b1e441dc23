"""Records survive the way to disk and back; an error names the damaged file."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api import records
from framework.api.run_folder import Status

SAVED: list[type[Any]] = [
    records.DataResult,
    records.FormatRun,
    records.Proof,
    records.Lengths,
    records.Finding,
    records.ViewedRow,
    records.Sample,
    records.EvalResult,
    records.Step,
    records.TrainResult,
    records.Artifact,
    records.ExportResult,
    records.Change,
    records.Objective,
    records.Report,
]
ARTIFACT = records.Artifact("adapter", "adapter", 5)


@pytest.mark.parametrize("kind", SAVED)
@given(st.data())
def test_a_saved_record_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, kind: type[Any], data: st.DataObject
) -> None:
    record = data.draw(st.builds(kind))
    file = tmp_path_factory.getbasetemp() / f"{kind.__name__}.json"
    records.save(record, file)
    assert repr(records.load(kind, file)) == repr(record)  # repr, because nan differs from itself


@pytest.mark.parametrize("kind", SAVED)
def test_who_receives_a_record_cannot_set_its_fields(kind: type[Any]) -> None:
    assert kind.__dataclass_params__.frozen


def test_a_field_is_read_by_its_name_in_an_earlier_version(tmp_path: Path) -> None:
    file = tmp_path / "measure.json"
    file.write_text('{"value": 1.0, "groups": [0, 0, 2]}', encoding="utf-8")
    assert records.load(records.Measure, file).clusters == [0, 0, 2]


def test_saving_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    records.save(ARTIFACT, tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_save_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    records.save(ARTIFACT, file)
    with pytest.raises(UnicodeEncodeError):  # half a surrogate pair cannot be written
        records.save(records.Artifact("adapter", "\ud83d", 5), file)
    assert records.load(records.Artifact, file) == ARTIFACT


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"kind": "a"}', b'{"kind": "\xff"}', b'"text"'])
def test_a_damaged_file_is_reported_by_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "export.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"export\.json does not match Artifact of this version"):
        records.load(records.Artifact, file)


def test_the_supervised_tokens_of_a_row_are_those_with_a_label() -> None:
    assert records.TokenRow([5, 6, 7], [-100, 6, 7]).supervised == 2


SECRETS = (
    "https://joe:hunter2pass@host/x",
    "hf_Aq1Zx9Lm2Wn8Er3Ty7Ui4Op6Pk5SdFgHj2",
    "password=hunter2pass",
    "tokenVALUEplanted",
)


def test_a_record_is_saved_without_secrets_in_what_others_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts and answers are the user's own, and so are the paths of folders."""
    monkeypatch.setenv("MY_SESSION_TOKEN", SECRETS[-1])
    said = " ".join(SECRETS)
    measure = records.Measure(1.0, [1.0], where=["rows.jsonl:1"], constant=said)
    sample = records.Sample(said, said, said, stopped=True, scores={SECRETS[1]: 1.0})
    made = records.EvalResult({f"judge {SECRETS[2]}": measure}, [sample], notes=[f"HTTP 500 {said}"])
    records.save(made, tmp_path / "e.json")
    text = (tmp_path / "e.json").read_text(encoding="utf-8")
    assert [text.count(secret) for secret in SECRETS] == [3, 3, 3, 3]
    assert json.loads(text)["measures"].keys() == {"judge password=(hidden)"}
    status = Status("failed", error=said, started="now")
    records.save(status, tmp_path / "s.json")
    assert not [each for each in SECRETS if each in (tmp_path / "s.json").read_text(encoding="utf-8")]
    assert records.without_secrets(ARTIFACT) is ARTIFACT


def test_many_texts_of_a_record_are_looked_through_too(tmp_path: Path) -> None:
    places = [f"rows.jsonl:{number}" for number in range(300)]
    measure = records.Measure(1.0, [1.0], where=[*places, SECRETS[2]])
    records.save(measure, tmp_path / "m.json")
    assert records.load(records.Measure, tmp_path / "m.json").where == [*places, "password=(hidden)"]
