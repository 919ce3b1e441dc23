"""What the installed TRL offers, read from its source: importing it takes seconds, which a typo should not cost."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from framework import FrameworkError
from framework.api import unknown

CLASS = re.compile(r"^class (\w+)(?:\((?:\w+\.)*(\w+)[^)]*\))?:", re.MULTILINE)
CONFIG = re.compile(r"\w+Config\b")
GIVEN = frozenset({"self", "model", "args", "train_dataset", "processing_class", "reward_funcs", "ref_model"})
"""Arguments of a trainer that the run has, or that TRL makes itself."""
OBJECTS = frozenset({
    "data_collator", "eval_dataset", "compute_loss_func", "compute_metrics", "callbacks", "optimizers",
    "optimizer_cls_and_kwargs", "preprocess_logits_for_metrics", "quantization_config", "peft_config",
    "formatting_func", "reward_processing_classes", "model_init", "tools", "rollout_func", "environment_factory",
})  # fmt: skip
"""Arguments that no plain value can be."""


@dataclass(frozen=True)
class Source:
    """A class of TRL, or of what it builds on, in the file that defines it."""

    name: str
    base: str
    module: str
    file: Path

    @functools.cached_property
    def body(self) -> list[ast.stmt]:
        """The statements of the class."""
        tree = ast.parse(self.file.read_text(encoding="utf-8"))
        return next(part.body for part in tree.body if isinstance(part, ast.ClassDef) and part.name == self.name)


@functools.cache
def classes() -> tuple[Source, ...]:
    """Return all classes of TRL's trainers and configs, those that are not experimental first."""
    sources = [*_sources("trl", "trainer"), *_sources("trl", "experimental")]
    return (*sources, *_sources("transformers", "training_args.py"))


def _sources(package: str, part: str) -> Iterator[Source]:
    spec = find_spec(package)
    for root in map(Path, (spec and spec.submodule_search_locations) or ()):
        for file in sorted({root / part} if part.endswith(".py") else (root / part).rglob("*.py")):
            module = ".".join((package, *file.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
            for name, base in CLASS.findall(file.read_text(encoding="utf-8")):
                yield Source(name, base, module, file)


def find(name: str) -> Source | None:
    """Return a class of TRL by its name or its import path; None if another package has it.

    Raises:
        FrameworkError: TRL has no such trainer.
    """
    package, _, short = name.replace(":", ".").rpartition(".")
    if package and package.partition(".")[0] != "trl":
        return None
    for source in classes():
        if source.name == short and f"{source.module}.".startswith(f"{package}." if package else ""):
            return source
    names = {source.name for source in classes() if source.name.endswith("Trainer") and source.name[0] != "_"}
    raise FrameworkError(f"trainer.trl_class={name}: {unknown('trainer of TRL', short, names)}")


def _line(source: Source | None) -> Iterator[Source]:
    """Give a class and those that it is built on."""
    while source is not None:
        yield source
        base, package = source.base.lstrip("_"), source.module.rpartition(".")[0]
        matches = [other for other in classes() if other.name.lstrip("_") == base and other != source]
        source = next((other for other in matches if other.module.startswith(package)), next(iter(matches), None))


def families(source: Source) -> tuple[str, ...]:
    """Return the names of a class and of those that it is built on."""
    return tuple(part.name for part in _line(source))


def _parameters(source: Source) -> ast.arguments:
    for part in _line(source):
        for statement in part.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return statement.args
    raise FrameworkError(f"trainer.trl_class={source.name} is not a trainer of TRL: it is never made by itself")


def parameters(source: Source) -> Mapping[str, bool]:
    """Return the arguments with which a trainer is made that the run does not have; True for one without a default."""
    given = _parameters(source)
    required = len(given.args) - len(given.defaults)
    names = {argument.arg: index < required for index, argument in enumerate(given.args)}
    defaults = {
        argument.arg: default is None for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    }
    # Some have `None` for a default, and refuse it: of a teacher there is never one by default.
    teacher = {"teacher_model": True} if "teacher_model" in names else {}
    return {name: needed for name, needed in {**names, **defaults, **teacher}.items() if name not in GIVEN | OBJECTS}


def reads_prompts(source: Source) -> bool:
    """Whether a trainer reads questions beside their answers, not whole conversations."""
    return any(
        isinstance(node, ast.Assign) and ast.unparse(node).startswith("self._signature_columns = ['prompt',")
        for part in _line(source)
        for statement in part.body
        for node in ast.walk(statement)
    )


def rewarded(source: Source) -> bool:
    """Whether a trainer learns from rewards."""
    return any(argument.arg == "reward_funcs" for argument in _parameters(source).args)


def gives_scores(source: Source | None) -> bool:
    """Whether what a trainer trains gives scores, and answers nothing."""
    return source is not None and "RewardTrainer" in families(source)


def config_of(source: Source) -> Source:
    """Return the config of a trainer.

    Raises:
        FrameworkError: it has none, so it is not a trainer.
    """
    hints = [argument.annotation for argument in _parameters(source).args if argument.arg == "args"]
    names = [name for hint in hints if hint for name in CONFIG.findall(ast.unparse(hint))]
    names.append(source.name.removesuffix("Trainer") + "Config")
    package = source.module.rpartition(".")[0]
    for config in sorted(classes(), key=lambda other: not other.module.startswith(package)):
        if config.name == names[0]:
            return config
    raise FrameworkError(f"trainer.trl_class={source.name} is not a trainer of TRL with a config of its own")


@functools.cache
def class_fields(trainer: str) -> frozenset[str]:
    """Return the fields of the config of one of TRL's trainers."""
    source = find(trainer)
    assert source is not None  # noqa: S101 - the name has no package
    return fields_of(config_of(source))


def fields_of(config: Source) -> frozenset[str]:
    """Return the fields of a config, with those that it inherits."""
    return frozenset(
        statement.target.id
        for part in _line(config)
        for statement in part.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if not statement.target.id.startswith("_") and "ClassVar" not in ast.unparse(statement.annotation)
    )
