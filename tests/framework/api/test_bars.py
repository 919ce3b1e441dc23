"""How counts are shown: a bar in a terminal that vanishes, a line now and then in a pipe."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from framework.api.records import Progress
from framework.api.text.bars import Bars, Counts
from framework.api.text.progress import LONGEST_PAUSE, PAUSE


def made(done: int, total: int | None = 60, seconds: float = 7.0) -> Progress:
    return Progress("prompts", "prompt", done, total, seconds, 2, 4, "measure")


def test_a_line_says_what_is_counted_which_part_it_is_and_how_long_the_rest_takes() -> None:
    assert made(7).timed_line == "prompts: prompt 7 of 60, measure 2 of 4  0:53 left"
    assert made(0).timed_line == "prompts: prompt 0 of 60, measure 2 of 4"
    assert made(1, seconds=120).timed_line == "prompts: prompt 1 of 60, measure 2 of 4  1:58:00 left"
    assert made(0, None).timed_line == "prompts, measure 2 of 4"
    assert made(7000, None).timed_line == "prompts: prompt 7,000, measure 2 of 4"


def test_in_a_terminal_a_count_is_a_bar_until_it_is_complete() -> None:
    out = Console(force_terminal=True, width=100, file=io.StringIO(), record=True)
    bars = Bars(out, steps=False)
    bars.count(made(0))
    bars.count(made(30))
    bars.display.refresh()
    assert [(task.completed, task.total) for task in bars.display.tasks] == [(30, 60)]
    bars.count(made(60))
    assert bars.display.tasks == []
    bars.stop()
    text = out.export_text()
    assert "prompts: prompt 30 of 60, measure 2 of 4" in text
    assert "0:07 left" in text


def test_steps_stay_and_a_count_beside_them_vanishes() -> None:
    out = Console(force_terminal=True, width=100, file=io.StringIO(), record=True)
    bars = Bars(out, steps=True)
    bars.move(1, 2, "loss 0.5", 75.0)
    bars.count(made(3))
    bars.count(made(60))
    bars.move(2, 2, "loss 0.4", 0.0)
    assert [(task.description, task.completed) for task in bars.display.tasks] == [("step 2/2", 2)]
    bars.stop()
    assert "step 2/2" in out.export_text()


def test_the_first_step_is_awaited_with_its_time_which_goes_where_none_comes() -> None:
    out = Console(force_terminal=True, width=100, file=io.StringIO(), record=True)
    bars = Bars(out, steps=True)
    bars.count(Progress("the first step", "", 0, None, 0.0))
    bars.display.refresh()
    bars.stop()
    assert "the first step" in out.export_text()
    assert bars.display.tasks == []


def test_the_time_of_a_step_runs_down_also_where_the_next_one_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(force_terminal=True, width=100, file=io.StringIO(), record=True)
    now = [100.0]
    monkeypatch.setattr("framework.api.text.bars.time.monotonic", lambda: now[0])
    bars = Bars(out, steps=True)
    bars.move(1, 3, "", 75.0)
    now[0] += 60
    bars.display.refresh()
    bars.stop()
    assert "0:15 left" in out.export_text()


def test_the_time_of_a_count_goes_on_while_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Console(force_terminal=True, width=100, file=io.StringIO(), record=True)
    now = [100.0]
    monkeypatch.setattr("framework.api.text.bars.time.monotonic", lambda: now[0])
    bars = Bars(out, steps=False)
    for seconds in (0.0, 8.0, 16.0):
        bars.count(Progress("prompts", "prompt", 0, 60, seconds, detail=f"token {seconds:.0f} of at most 64"))
    now[0] += 3
    bars.display.refresh()
    bars.stop()
    assert "prompts: prompt 0 of 60, token 16 of at most 64" in (text := out.export_text())
    assert "0:19 so far" in text


def test_text_that_looks_like_markup_is_shown_as_it_is() -> None:
    out = Console(force_terminal=True, width=100, file=io.StringIO(), record=True)
    bars = Bars(out, steps=False)
    bars.count(Progress("[red]x[/]", "row", 0, 2, 0.0))
    bars.display.refresh()
    bars.stop()
    assert "[red]x[/]: row 0 of 2" in out.export_text()


def test_in_a_pipe_a_command_says_how_far_it_is_where_it_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Counts() as counts:
        counts.show(made(1))
        now[0] += PAUSE
        counts.show(made(7))
        counts.show(made(8))
        now[0] += PAUSE
        counts.show(made(9))  # of the same tenth
        now[0] += LONGEST_PAUSE
        counts.show(made(10))
        now[0] += PAUSE
        counts.show(made(12))
        now[0] += PAUSE
        counts.show(made(60))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "prompts: prompt 7 of 60, measure 2 of 4  0:53 left"
    assert [line.split()[2] for line in lines] == ["7", "10", "12"]
