"""The suites of `optimizer=`, `schedule=`, `sampler=` and `callback=`."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from framework.api.protocols import Callback, OptimizerFactory, ParameterGroup, Sampler, Schedule, TrainedWeight
from framework.api.records import Step, StepControl
from framework.run import pipeline
from framework.testing.suites.base import Suite, expect

RATE, DECAY, STEPS = 0.01, 0.1, 6
SHAPES = {"layers.0.weight": (64, 128), "layers.0.bias": (128,), "layers.1.weight": (128, 64)}
"""Matrices of 8192 numbers: bitsandbytes keeps the states of smaller ones in 32 bits."""
TABLES = 4096
"""Bytes that the states of a weight may take besides: tables and counters, which no plan counts."""
COURSES = ((1, 0), (12, 3), (100, 10), (10, 10), (3, 10))
"""Steps of a training, and of its warm-up."""
MOST = 1 + 1e-9
"""The highest factor: `trainer.learning_rate` is the peak."""


class OptimizerSuite(Suite):
    """What every optimizer has to do.

    Attributes:
        torch: the module, which is not imported here.
    """

    group = "optimizer"
    torch: ClassVar[Any] = None

    def made(self, folder: Path, rate: float = RATE) -> tuple[dict[str, Any], Any, OptimizerFactory]:
        """Return weights by name, the optimizer for them in two groups, and its factory."""
        factory: OptimizerFactory = self.create(folder)
        generator = self.torch.Generator().manual_seed(1)
        values = {name: self.torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
        weights = {name: self.torch.nn.Parameter(value) for name, value in values.items()}
        named = [TrainedWeight(name, SHAPES[name], value=value) for name, value in weights.items()]
        groups = [ParameterGroup(named[:1], rate, DECAY), ParameterGroup(named[1:], rate / 2, 0.0)]
        optimizer: Any = factory.create(groups, rate, 0)
        if hasattr(optimizer, "train"):
            optimizer.train()
        return weights, optimizer, factory

    def steps(self, weights: dict[str, Any], optimizer: Any, count: int) -> None:
        """Make steps down a bowl."""
        for _ in range(count):
            for weight in weights.values():
                weight.grad = weight.detach().clone()
            optimizer.step()

    def test_each_weight_is_in_one_group_with_its_rate_and_its_decay(self, tmp_path: Path) -> None:
        """All weights are there once, with the settings of their group."""
        weights, optimizer, _ = self.made(tmp_path)
        groups = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
        weight_count = sum(len(group["params"]) for group in optimizer.param_groups)
        expect(groups.keys() == {id(weight) for weight in weights.values()}, "weights are missing in its param_groups")
        expect(weight_count == len(weights), f"{len(weights)} weights are {weight_count} in its param_groups")
        for index, weight in enumerate(weights.values()):
            group, rate, decay = groups[id(weight)], RATE / (1 + (index > 0)), DECAY * (index == 0)
            expect(group["lr"] == rate, f"a weight of a group with rate {rate} has lr={group['lr']}")
            expect(group["weight_decay"] == decay, f"weight_decay={group['weight_decay']} where the group has {decay}")

    def test_the_weights_move_and_stay_numbers(self, tmp_path: Path) -> None:
        """All weights move, to finite numbers, and nearer to the bottom of a bowl."""
        weights, optimizer, _ = self.made(tmp_path)
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        self.steps(weights, optimizer, 3 * STEPS)
        for name, weight in weights.items():
            expect(weight.isfinite().all(), f"{name} has become something else than numbers")
            expect(weight.norm() < before[name].norm(), f"{name} has not become smaller down its own gradient")

    def test_a_rate_of_zero_changes_nothing(self, tmp_path: Path) -> None:
        """It reads `lr` of its groups in each step, so that a schedule moves it."""
        weights, optimizer, _ = self.made(tmp_path)
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        self.steps(weights, optimizer, 1)
        moved = [name for name, weight in weights.items() if not weight.equal(before[name])]
        expect(not moved, f"{moved} moves with lr=0")

    def test_it_resumes_bit_for_bit(self, tmp_path: Path) -> None:
        """With its state put back, another one continues as the first would have."""
        weights, optimizer, _ = self.made(tmp_path)
        self.steps(weights, optimizer, STEPS)
        saved = (
            copy.deepcopy(optimizer.state_dict()),
            {name: weight.detach().clone() for name, weight in weights.items()},
        )
        self.steps(weights, optimizer, STEPS)
        new_weights, again, _ = self.made(tmp_path)
        for name, weight in new_weights.items():
            weight.data.copy_(saved[1][name])
        again.load_state_dict(saved[0])
        self.steps(new_weights, again, STEPS)
        for name, weight in weights.items():
            expect(weight.equal(new_weights[name]), f"{name} differs after its state was saved and put back")

    def test_the_plan_knows_the_bytes_of_its_states_or_says_that_it_does_not(self, tmp_path: Path) -> None:
        """`state_bytes` is None, or what the states take on a CPU."""
        weights, optimizer, factory = self.made(tmp_path)
        self.steps(weights, optimizer, 2)
        planned = factory.state_bytes([TrainedWeight(name, shape) for name, shape in SHAPES.items()], on_gpu=False)
        tensors = [part for weight in weights.values() for part in optimizer.state[weight].values()]
        actual = sum(part.nbytes for part in tensors if self.torch.is_tensor(part))
        if planned is not None:
            near = abs(planned - actual) <= TABLES * len(SHAPES)
            expect(near, f"state_bytes is {planned:,.0f}, and its states take {actual:,.0f} bytes")


class ScheduleSuite(Suite):
    """What every schedule has to do."""

    group = "schedule"

    def factors(self, schedule: Schedule, steps: int, warmup: int) -> list[Any]:
        """Return the factors of all steps, and the one after the last."""
        return [schedule.factor(step, steps, warmup, RATE) for step in range(steps + 1)]

    def test_every_step_has_a_factor_from_0_to_1(self, tmp_path: Path) -> None:
        """In long trainings, in short ones, and in such as end within the warm-up."""
        schedule: Schedule = self.create(tmp_path)
        for steps, warmup in COURSES:
            for step, factor in enumerate(self.factors(schedule, steps, warmup)):
                right = isinstance(factor, int | float) and 0 <= factor <= MOST  # which no NaN is
                expect(right, f"factor({step}, {steps}, {warmup}, {RATE}) is {factor!r}, no number from 0 to 1")

    def test_it_is_pure(self, tmp_path: Path) -> None:
        """A second instance gives the same, in another order."""
        schedule, second_schedule = (self.create(tmp_path) for _ in range(2))
        for steps, warmup in COURSES:
            factors = self.factors(schedule, steps, warmup)
            again = [second_schedule.factor(step, steps, warmup, RATE) for step in reversed(range(steps + 1))][::-1]
            expect(factors == again, f"the factors of {steps} steps are others when they are asked again")


class SamplerSuite(Suite):
    """What every sampler has to do.

    Attributes:
        skews: whether it leaves out or repeats rows on purpose.
    """

    group = "sampler"
    skews: ClassVar[bool] = False

    def orders(self, sampler: Sampler, seed: int = 1) -> Iterator[tuple[int, int, list[list[int]]]]:
        """Yield for several sizes the number of rows, the rows of a step, and the steps of three epochs."""
        import numpy as np  # noqa: PLC0415 - the kit is imported without it

        for rows, batch in ((1, 1), (7, 2), (32, 8), (5, 8)):
            lengths = np.random.default_rng(rows).integers(2, 500, rows)
            steps = 3 * math.ceil(rows / batch)
            batches = sampler.order(lengths, batch, steps, seed)
            yield rows, batch, [[int(row) for row in step] for step in itertools.islice(batches, steps)]

    def test_the_steps_have_the_right_size_and_rows_that_exist(self, tmp_path: Path) -> None:
        """`batch` rows in each, and in the last of an epoch what is left."""
        for rows, batch, steps in self.orders(self.create(tmp_path)):
            epoch = math.ceil(rows / batch)
            expect(len(steps) == 3 * epoch, f"{len(steps)} steps of {3 * epoch} for {rows} rows")
            for index, step in enumerate(steps):
                size = rows - batch * (epoch - 1) if index % epoch == epoch - 1 else batch
                expect(len(step) == size, f"step {index} of {rows} rows has {len(step)} rows, not {size}")
                expect(all(0 <= row < rows for row in step), f"step {index} has rows that do not exist: {step}")

    def test_it_is_pure(self, tmp_path: Path) -> None:
        """A second instance gives the same order."""
        orders, second_orders = (list(self.orders(self.create(tmp_path))) for _ in range(2))
        expect(orders == second_orders, "the order is another one when it is asked again")

    def test_each_row_is_seen_once_in_an_epoch(self, tmp_path: Path) -> None:
        """Unless it is to be otherwise."""
        for rows, batch, steps in self.orders(self.create(tmp_path)) if not self.skews else ():
            epoch = math.ceil(rows / batch)
            for start in range(0, len(steps), epoch):
                epoch_rows = sorted(itertools.chain(*steps[start : start + epoch]))
                expect(
                    epoch_rows == [*range(rows)],
                    f"an epoch of {rows} rows has {epoch_rows}: set skews = True if that is meant",
                )


class CallbackSuite(Suite):
    """What every callback has to do.

    Attributes:
        losses: of the steps of a training in which it acts.
    """

    group = "callback"
    losses: ClassVar[Sequence[float]] = ()

    def answers(self, callback: Callback, first: int, last: int) -> list[Any]:
        """Return what it answers to some of the steps."""
        total = len(self.losses)
        return [
            callback.on_step(Step(at + 1, total, at / total, self.losses[at], RATE, 1.0, 10 * at, 0.1 * at))
            for at in range(first, last)
        ]

    def test_it_answers_with_what_can_be_obeyed_and_acts(self, tmp_path: Path) -> None:
        """A `StepControl` with a rate above 0, or None; and one of them asks for something."""
        expect(self.losses, f"{type(self).__name__}.losses is empty: give losses with which it acts")
        controls = [
            control for control in self.answers(self.create(tmp_path), 0, len(self.losses)) if control is not None
        ]
        for control in controls:
            expect(isinstance(control, StepControl), f"on_step returns {control!r}, not a StepControl or None")
            expect(math.isfinite(control.rate) and control.rate > 0, f"it asks for rate={control.rate}")
        expect([control for control in controls if control != StepControl()], "it asks for nothing with these losses")

    def test_it_goes_on_from_its_state(self, tmp_path: Path) -> None:
        """From what is saved after any step, as JSON, another one answers as the first."""
        callback: Callback = self.create(tmp_path)
        for step in range(len(self.losses)):
            saved = json.loads(json.dumps(dict(callback.state())))
            expected = self.answers(copy.deepcopy(callback), step, len(self.losses))
            restored: Callback = self.create(tmp_path)
            restored.restore(saved)
            expect(
                dict(restored.state()) == saved, f"its state after restore is {restored.state()}, and {saved} was saved"
            )
            answers = self.answers(restored, step, len(self.losses))
            expect(answers == expected, f"restored after step {step}, it answers {answers}, not {expected}")
            self.answers(callback, step, step + 1)

    def test_a_run_with_it_ends(self, tmp_path: Path) -> None:
        """A whole run calls it."""
        plan = self.plan(tmp_path)
        pipeline.run(plan)
        expect((plan.run_dir / "report.json").exists(), "the run has no report")
