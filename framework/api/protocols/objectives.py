"""What is learned from rows: a method makes groups of them, an objective turns their log-probabilities into a loss.

An objective sees no model: every loss of the form L(log-probabilities of tokens, of the reference, facts and arrays of
the groups) is trained as weights on tokens, so packing, trees, accumulation, the fallbacks when memory runs out,
process groups and checkpoints work for all of them. What it needs of all logits at a token, it says as functions of
them, `ReadsLogits`, which are computed a few tokens at a time.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from framework.api.protocols.model import Model
    from framework.api.protocols.rewards import Generator, Rewarder
    from framework.api.records import Answer, Example, Measure, Prompt, TokenGroup
    from framework.api.schema import Role

__all__ = ["LossValue", "Method", "Objective", "ReadsBeside", "ReadsLogits", "TokenScores"]

Tensor = Any
"""A tensor of torch, which the core does not import."""


@dataclass(frozen=True)
class TokenScores:
    """The log-probabilities of some groups of an optimizer step, in nats.

    Attributes:
        groups: the groups; all of the step if the objective is of the whole step, else those of a pass.
        policy: for each group a tensor for each of its rows: (learned tokens,), or (learned tokens, ids) at the ids
            that `Objective.ids` asks for.
        reference: the same of the reference, without gradients; None unless the objective needs it.
        tokens: learned tokens of all groups of the step.
        count: groups of the step.
        step: all groups of the step, those of other passes and processes too.
        beside: the scores of what `ReadsBeside.beside` makes, without gradients; None if that is nothing.
        of_logits: by the name of each function of `ReadsLogits.of_logits` its values, (learned tokens,) for each row.
    """

    groups: Sequence[TokenGroup]
    policy: Sequence[Sequence[Tensor]]
    reference: Sequence[Sequence[Tensor]] | None
    tokens: int
    count: int
    step: Sequence[TokenGroup] = ()
    beside: TokenScores | None = None
    of_logits: Mapping[str, Sequence[Sequence[Tensor]]] = field(default_factory=dict)


@dataclass(frozen=True)
class LossValue:
    """What an objective gives: the loss, a scalar that is differentiable in `TokenScores.policy`, and numbers to log.

    Both add up over the passes and processes of a step: divide by the `tokens` or the `count` of the step, never by
    what is in `groups`. For an objective of the whole step they are the values themselves.
    """

    value: Tensor
    metrics: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Objective(Protocol):
    """An option of `loss=`, or what a method brings."""

    linear: bool
    """The value is an affine function of `policy`, so the weights of the tokens are known before the pass. Such an
    objective sees all groups of the step, and its metrics are left out."""
    needs_reference: bool
    """It reads `TokenScores.reference`: the model as it is when the training starts."""
    whole_step: bool
    """It has to see all groups of the step at once, those of other processes too; else its values are added up."""

    @abstractmethod
    def ids(self, group: TokenGroup) -> Sequence[NDArray[Any]] | None:
        """Return for each row the ids whose log-probabilities it reads, (learned tokens, ids); None: those learned."""

    @abstractmethod
    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss of these groups."""


@runtime_checkable
class ReadsBeside(Objective, Protocol):
    """An objective that also reads rows which it makes from those of a step, and from which nothing is learned."""

    def beside(self, step: Sequence[TokenGroup]) -> Sequence[TokenGroup]:
        """Return a group for each group of a step, or none at all; every pass gets the scores of all of them."""


@runtime_checkable
class ReadsLogits(Objective, Protocol):
    """An objective that reads more of the logits than the log-probabilities of some ids."""

    of_logits: Sequence[Callable[..., Tensor]]
    """Functions of the logits at some learned tokens, (tokens, vocabulary), that return a number for each token and are
    differentiable. Further parameters are named: `reference` gets the logits of the model that the training starts
    from, another name the array of that name. The log-probabilities are of these logits."""


@runtime_checkable
class Method(Protocol):
    """An option of `method=`."""

    objective: Objective | None
    """The objective that it brings; None: that of `loss=`."""
    control: bool | None = None
    """For a method that draws several answers to each prompt before the training and learns one of them, by supervised
    training: whether a second training learns a random choice of the same answers, to compare with. None: any other."""

    @abstractmethod
    def check(self, example: Example) -> None:
        """Refuse a row that it cannot use; its turns have been checked one by one.

        Raises:
            FrameworkError: what is missing, and what to do.
        """

    @abstractmethod
    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return what is encoded and proven: a conversation for each row of the group, with its role."""

    @abstractmethod
    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure held-out groups in addition to the loss of their answers, before and after training."""

    def groups(
        self,
        step: int,  # noqa: ARG002 - most methods learn from rows
        prompts: Sequence[Prompt],  # noqa: ARG002 - as above
        generate: Generator,  # noqa: ARG002 - as above
        reward: Rewarder,  # noqa: ARG002 - as above
    ) -> Sequence[TokenGroup]:
        """Return what is learned of these prompts, with the facts and arrays that its objective reads.

        It is called if its config has `samples`: the rows are made during the training, from answers to its prompts.

        Args:
            step: the optimizer step, from 1: answers are drawn with a seed of their own at each.
            prompts: of the step.
            generate: answers them.
            reward: scores the answers.
        """
        raise TypeError(f"{type(self).__name__} makes no groups of answers")

    def draw(
        self,
        prompts: Sequence[Prompt],  # noqa: ARG002 - most methods choose no answers
        generate: Generator,  # noqa: ARG002 - as above
        seed: int,  # noqa: ARG002 - as above
    ) -> Sequence[Sequence[Answer]]:
        """Return the answers to each prompt among which it chooses; some prompts at a time. See `control`."""
        raise TypeError(f"{type(self).__name__} draws no answers to choose from")

    def choose(self, rewards: Sequence[float]) -> int | None:  # noqa: ARG002 - as above
        """Return the number of the answer to a prompt that is learned, by their rewards; None: none of them."""
        raise TypeError(f"{type(self).__name__} chooses no answers")
