"""A method of somebody else, tried before anything is read: what its class has, and what it makes of made-up rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from framework.api.problem import Problem
from framework.api.records import Example, Message
from framework.api.schema import MethodConfig, Role
from framework.api.selection import Selection
from framework.util.errors import FrameworkError
from framework.util.guard import Caught, short_repr
from framework.util.hashing import foreign_hash

PARTS = ("check", "conversations", "measures")
FLAGS = ("linear", "needs_reference", "whole_step")
CONVERSATION = (Message("user", "What is 1 and 1?"), Message("assistant", "It is 2."))
EXAMPLES = (
    Example(CONVERSATION, "chatml", "a made-up pair", rejected=(Message("assistant", "Who knows?"),)),
    Example(CONVERSATION, "chatml", "a made-up row"),
)


def method_problems(choice: Selection) -> Iterator[Problem]:
    """Say what a method from a file or another package lacks; those of this project have tests."""
    if not foreign_hash(choice.component.schema.__module__):
        return
    name = f"method={choice.component.name}"
    try:
        method = choice.create()
    except FrameworkError as error:
        yield Problem(str(error), ("method",))
        return
    for problem in (_wrong_parts(method, choice.config), _wrong_rows(method, choice.config)):
        if problem:
            yield Problem(f"{name} {problem}", ("method",))


def conversation_problem(config: MethodConfig, conversations: Any) -> str:
    """Say why what `Method.conversations` returns is not a group of rows; empty if it is one."""
    expected = "from `conversations`: return a pair of a Role and an Example for each row"
    rows: list[Any] = []
    failed = Caught()
    with failed:
        rows = [(role, example) for role, example in conversations]
    if failed.error:
        return f"returns {short_repr(conversations)} {expected}"
    if not rows:
        return "makes no row of it: `conversations` has to return one or more, and `check` refuses what cannot be used"
    for role, example in rows:
        if not isinstance(role, Role) or not isinstance(example, Example):
            hint = ", such as dataclasses.replace(example, messages=…)" if isinstance(example, Sequence) else ""
            return f"returns a pair ({type(role).__name__}, {type(example).__name__}) {expected}{hint}"
        if role not in config.roles:
            declared = ", ".join(role.name for role in config.roles)
            return f"makes a row of the role {role.name}, which its config does not name: roles={declared}"
    return ""


def _wrong_parts(method: Any, config: MethodConfig) -> str:
    """Say what a method and its objective lack; empty if nothing."""
    if lacking := [part for part in PARTS if not callable(getattr(method, part, None))]:
        return f"has no {' and no '.join(lacking)}: see framework.api.training.Method"
    if not hasattr(method, "objective"):
        return "has no attribute `objective`: set it to None for that of loss="
    objective = method.objective
    if config.own_objective != (objective is not None):
        state = "None" if objective is None else f"a {type(objective).__name__}"
        return f"has {state} as its objective, and its config says own_objective={config.own_objective}"
    if objective is None:
        return ""
    lacking = [flag for flag in FLAGS if not isinstance(getattr(objective, flag, None), bool)]
    lacking += [part for part in ("ids", "__call__") if not callable(getattr(objective, part, None))]
    if not lacking:
        return ""
    return (
        f"has a {type(objective).__name__} as its objective, without {', '.join(lacking)}: decorate the class of the "
        "method with @method, which gives it what is missing, or see framework.api.training.Objective"
    )


def _wrong_rows(method: Any, config: MethodConfig) -> str:
    """Say what is wrong with the rows that a method makes of examples that it does not refuse; empty if nothing."""
    for example in EXAMPLES:
        conversations: Any = None
        failed = Caught()  # a made-up row may lack facts that the method reads
        with failed:
            method.check(example)
            conversations = method.conversations(example)
        if not failed.error and (problem := conversation_problem(config, conversations)):
            return problem
    return ""
