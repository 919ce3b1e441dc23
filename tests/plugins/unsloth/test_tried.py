"""unsloth/tried.py: when two steps are the same, and what is seen of one."""

from __future__ import annotations

import math

import pytest
import torch

from framework_plugins.unsloth.tried import Gradients, Tried, fill, gradients

ONE = {"a": torch.tensor([[4.0, -2.0], [0.5, 0.0]]), "b": torch.tensor([0.01, -0.02]), "c": torch.zeros(2)}


def tried(name: str = "4x2", loss: float = 2.0, norm: float = 3.0, **changed: torch.Tensor) -> Tried:
    return Tried(name, loss, norm, {**ONE, **changed})


FIRST = tried("8x1")
OTHER = "the gradient of {} differs between 4x2 and 8x1 of the same rows"


def test_the_same_step_is_the_same() -> None:
    near = tried(loss=2.001, norm=3.002, b=ONE["b"] * 1.0009)
    assert FIRST.apart(near, 1e-3) == ""


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (tried(loss=2.1), "8x1 has the loss 2.0000, 4x2 of the same rows 2.1000"),
        (tried(norm=1.5), "8x1 has the norm of the gradients 3.0000, 4x2 of the same rows 1.5000"),
        (tried(loss=math.nan), "8x1 has the loss 2.0000, 4x2 of the same rows nan"),
        (
            tried(b=ONE["b"].flip(0)),
            f"{OTHER.format('b')}: by 150.0% of its largest entry",
        ),
        (
            tried(a=ONE["a"] * 1.002),
            f"{OTHER.format('a')}: by 0.2%",
        ),
        (tried(c=torch.ones(2)), "the gradient of c differs"),
        (tried(d=torch.ones(2)), "8x1 and 4x2 train other weights"),
    ],
)
def test_another_is_told_by_what_differs(other: Tried, told: str) -> None:
    assert FIRST.apart(other, 1e-3).startswith(told)


def test_the_gradients_of_the_first_step_that_has_numbers_are_kept() -> None:
    model = torch.nn.Linear(2, 1)
    model.bias.requires_grad = False
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with gradients(model) as kept:
        for value in (math.inf, 1.0, 5.0):
            model.weight.grad = torch.full_like(model.weight, value)
            optimizer.step()
            assert bool(kept.control()) is (value != math.inf)
    assert kept.found.keys() == {"weight"}
    assert kept.found["weight"].tolist() == [[1.0, 1.0]]


def test_after_that_nobody_looks() -> None:
    model = torch.nn.Linear(2, 1)
    with gradients(model) as kept:
        pass
    model.weight.grad = torch.ones_like(model.weight)
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert isinstance(kept, Gradients)
    assert kept.found == {}


def test_what_begins_at_zero_is_filled_alike_and_nothing_else() -> None:
    models = [torch.nn.Linear(3, 3) for _ in range(2)]
    for model in models:
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.ones_(model.bias)
        fill(model)
    assert models[0].weight.tolist() == models[1].weight.tolist()
    assert models[0].weight.all()
    assert (models[0].bias == 1).all()
