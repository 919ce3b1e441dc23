"""`python -m framework plan-table --gpus`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from framework.cli.commands import PlanTableCommandConfig
from framework.cli.commands.gpus_table import COUNTS, EFFICIENCY, FAR, FLOPS, NEAR, SHAPES, GpuLine, lines
from framework.cli.commands.plan_table import PlanTableCommand
from framework.util.errors import FrameworkError
from framework.util.gpus import named


def found(model: str, method: str, count: int) -> GpuLine:
    return next(line for line in lines() if (line.model, line.method, line.count) == (model, method, count))


def test_it_has_each_model_with_each_method_on_each_number_of_gpus(capsys: pytest.CaptureFixture[str]) -> None:
    assert PlanTableCommand(PlanTableCommandConfig()).main(["--gpus"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith(tuple(SHAPES))]) == 3 * 2 * len(COUNTS)


def test_the_models_have_the_parameters_of_their_names() -> None:
    sizes = [round(shape.total / 1e9, 1) for shape in SHAPES.values()]
    assert sizes == pytest.approx([8.0, 70.6, 405.9], abs=0.2)


def test_a_gpu_that_is_named_holds_it() -> None:
    for line in lines():
        assert line.gpu == "-" or named(line.gpu).usable >= line.made.high
        assert (line.gpu == "-") == line.limit.startswith("memory")


def test_time_is_that_of_computing_or_of_the_network_whichever_is_longer() -> None:
    line = found("70B", "LoRA", 64)
    weights = 2 * line.shape.total
    assert line.sending == pytest.approx(2 * weights * 63 / 64 / FAR, rel=1e-3)
    assert found("70B", "LoRA", 8).sending == pytest.approx(2 * weights * 7 / 8 / NEAR, rel=1e-3)
    # A token takes 6 operations a frozen weight with checkpointing, and more for attention, head and adapter.
    least = 6 * line.shape.linear_parameters * line.settings.tokens / (FLOPS * EFFICIENCY)
    assert least < line.computing < 1.5 * least
    assert line.limit.startswith("the network") == (line.sending > line.computing)


def test_larger_passes_are_limited_by_computing() -> None:
    line = found("70B", "LoRA", 64)
    large = replace(line, settings=replace(line.settings, rows=16))
    assert large.sending == pytest.approx(line.sending)
    assert large.computing > large.sending


def test_it_takes_no_other_word() -> None:
    with pytest.raises(FrameworkError, match=r"^unexpected argument '8'\. Usage: python -m framework plan-table "):
        PlanTableCommand(PlanTableCommandConfig()).main(["--gpus", "8"])
