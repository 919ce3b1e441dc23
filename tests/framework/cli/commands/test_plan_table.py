"""`python -m framework plan-table`."""

import json

import pytest

from framework import FrameworkError
from framework.cli.commands import PlanTableCommandConfig
from framework.cli.commands.plan_table import PlanTableCommand, lines
from framework.memory import Shape
from tests.framework.memory.test_shape import LLAMA, SMOLLM
from tests.support.model_page import CARDS, planned, read

COMMAND = PlanTableCommand(PlanTableCommandConfig())


def test_the_table_has_the_methods_for_three_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert COMMAND.main([]) == 0
    text = capsys.readouterr().out
    assert [word in text for word in ("7B", "13B", "70B", "QLoRA")] == [True] * 4


def test_the_sizes_are_those_that_people_know() -> None:
    gib = 2**30
    seven = [line.memory.reserved / gib for line in lines() if line.model == "7B"]
    assert seven == sorted(seven, reverse=True)
    assert 100 < seven[0] < 140  # 16 bytes a parameter, and more
    assert seven[-1] < 8


def test_json_is_the_same_table(capsys: pytest.CaptureFixture[str]) -> None:
    COMMAND.main(["--json"])
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 12
    assert all(row["low_gib"] <= row["reserved_gib"] <= row["high_gib"] for row in rows)


def test_what_fits_a_gpu_is_what_the_plan_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes = {"large": Shape.from_config(LLAMA), "small": Shape.from_config(SMOLLM)}
    monkeypatch.setattr("framework.cli.commands.plan_table.preset_shapes", lambda _: shapes.items())
    longest = {}
    for gpu in ("rtx3060", "rtx4090", "a100_80"):
        COMMAND.main([gpu, "--json"])
        large, small = json.loads(capsys.readouterr().out)
        assert (large["model"], large["billions"], small["model"]) == ("large", 8.0, "small")
        assert all(small["longest"][way] >= length for way, length in large["longest"].items())
        longest[gpu] = large["longest"]
    assert longest["rtx3060"]["quantization=nf4"] >= 2048  # conf/experiment/gpu_12gb.yaml
    assert longest["rtx3060"]["adapter=lora"] == longest["rtx4090"]["adapter=full"] == 0
    assert longest["rtx4090"]["adapter=lora"] >= 2048  # conf/experiment/gpu_24gb.yaml
    assert longest["a100_80"]["adapter=lora"] > longest["rtx4090"]["adapter=lora"]
    COMMAND.main(["a100"])
    printed = capsys.readouterr().out
    assert "fit a100_40, 39.0 GiB free\na100 is a100_40 or a100_80" in printed


@pytest.mark.parametrize("card", [pytest.param(card, marks=[pytest.mark.slow] * (card != "24 GB")) for card in CARDS])
def test_the_page_of_models_has_what_the_plan_says_of_each_preset(card: str) -> None:
    """`python -m tests.support.model_page` writes it."""
    head, *lines = read("plans").items()
    assert {name: cells[head[1].index(card)] for name, cells in lines} == planned(card)


def test_a_gpu_that_nobody_knows_is_reported_with_the_nearest() -> None:
    with pytest.raises(
        FrameworkError, match=r"^plan\.gpu=rtx306: no GPU of that name is known\. Did you mean 'rtx3060'"
    ):
        COMMAND.main(["rtx306"])
