"""How the rows of a step are divided: each row falls to one process, and losses add up to that of one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import IGNORE, TokenRow
from framework_plugins.hf.machine.world import World
from framework_plugins.hf.packing.parts import Packer, learned_count, zero_weight_part
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.step_runner import Collator
from tests.support.training import PLAIN_LOSS


def row(start: int, size: int) -> TokenRow:
    ids = list(range(start, start + size))
    return TokenRow(ids, [IGNORE, *ids[1:]])


ROWS = [row(10 * number, 2 + number % 5) for number in range(40)]
PACKER = Packer(Packing.pad, 2, 0)


@given(st.integers(0, 40), st.integers(1, 9))
def test_each_row_falls_to_one_process_in_its_order(count: int, world: int) -> None:
    shares = [World(rank, world).own(ROWS[:count]) for rank in range(world)]
    assert [each for share in shares for each in share] == ROWS[:count]
    assert max(map(len, shares)) - (count // world) <= 1


@given(st.integers(1, 12), st.integers(2, 5))
def test_the_counts_of_all_processes_are_those_of_one(count: int, world: int) -> None:
    made = [Collator(ROWS, PACKER, PLAIN_LOSS, world=World(rank, world))(range(count)) for rank in range(world)]
    whole = sum(map(learned_count, ROWS[:count]))
    assert {each["rows"].tokens for each in made} == {whole}
    assert {each["rows"].step_tokens for each in made} == {sum(len(each.input_ids) for each in ROWS[:count])}
    parts = [part for each in made for part in each["parts"]]
    assert sum(part["supervised"] for part in parts) == whole
    # Gradients are averaged over the processes: a mean over `count` of each is the sum over all learned tokens.
    counts = [part["count"] * world for each in made for part in (*each["parts"], each["rows"].idle)]
    assert counts == pytest.approx([whole] * len(counts))


def test_a_blank_part_teaches_nothing_and_counts_nothing() -> None:
    part = zero_weight_part(PACKER, ROWS[:7])
    assert part["input_ids"].shape == (1, 2)  # the shortest
    assert torch.equal(part["share"], torch.zeros(1))
    assert (part["tokens"], part["supervised"]) == (0, 0)
