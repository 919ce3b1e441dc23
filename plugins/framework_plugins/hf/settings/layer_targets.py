"""Which layers an adapter changes, by their whole names: one answer for the plan, the checks of a model, and peft.

The plan knows the names of models like Llama, the backend those of the model. Without torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

ALL_LINEAR = "all-linear"
"""The placeholder for the names of all linear layers, until the model is known."""
PLAIN_NAME = re.compile(r"[\w.-]+")
"""A plain name of a layer; anything else is a regular expression."""
BLOCK = re.compile(r"\.(\d+)\.")
"""The number of the block in the name of a layer: the first that there is, since experts have numbers too."""
Names = str | frozenset[str]
"""As peft has them: a regular expression for whole names, or names, which are whole or the ends of whole ones."""


@dataclass(frozen=True)
class LayerTargets:
    """Which layers an adapter changes.

    Attributes:
        modules: those that it means; `ALL_LINEAR` means all.
        excluded: those that are left out of them.
        blocks: the numbers of the blocks that they are in; None: all blocks.
        saved: modules that are trained whole, in which no layer is adapted.
    """

    modules: Names
    excluded: Names = frozenset()
    blocks: frozenset[int] | None = None
    saved: frozenset[str] = frozenset()

    @classmethod
    def of_settings(cls, settings: Any) -> LayerTargets:
        """Read the settings of `adapter=`, or those of an adapter that a training starts from."""
        modules, blocks = [*settings.target_modules], settings.layers_to_transform
        excluded = settings.args.exclude_modules if hasattr(settings, "args") else ()
        return cls(
            ALL_LINEAR if modules == [ALL_LINEAR] else _names(modules),
            _names(excluded),
            None if blocks is None else frozenset(blocks),
            frozenset(settings.modules_to_save),
        )

    @classmethod
    def of_peft(cls, config: Any) -> LayerTargets:
        """Read a LoraConfig of peft."""
        blocks = config.layers_to_transform
        return cls(
            _as_peft(config.target_modules),
            _as_peft(config.exclude_modules),
            None if blocks is None or blocks == [] else frozenset([blocks] if isinstance(blocks, int) else blocks),
            frozenset(config.modules_to_save or ()),
        )

    def includes(self, name: str) -> bool:
        """Whether a layer is one of those that are meant."""
        if self.modules == ALL_LINEAR:
            found = True
        elif not isinstance(self.modules, str) and name in self.modules:
            return True  # peft picks blocks only of names that are not whole
        else:
            found = _means(self.modules, name)
        block = BLOCK.search(name)
        return found and (self.blocks is None or (block is not None and int(block[1]) in self.blocks))

    def excludes(self, name: str) -> bool:
        """Whether a layer is left out of those."""
        return _means(self.excluded, name) or any(re.match(rf"(.*\.)?{part}($|\.)", name) for part in self.saved)

    def adapts(self, name: str) -> bool:
        """Whether a linear layer is changed."""
        return self.includes(name) and not self.excludes(name)

    def peft_fields(self) -> dict[str, Any]:
        """Return the fields of peft's LoraConfig that say the same."""
        excluded, blocks = self.excluded, self.blocks
        if isinstance(self.modules, str) and blocks is not None:
            # peft picks blocks only of layers that are given by name; of others it can leave out the rest.
            others = rf"(?!\D*\.(?:{'|'.join(map(str, sorted(blocks)))})\.).*"
            excluded = target_pattern([others, *([excluded] if isinstance(excluded, str) else sorted(excluded))])
            blocks = None
        return {
            "target_modules": self.modules if isinstance(self.modules, str) else sorted(self.modules),
            "exclude_modules": excluded if isinstance(excluded, str) else sorted(excluded) or None,
            "layers_to_transform": None if blocks is None else sorted(blocks),
        }


def _names(targets: Iterable[str]) -> Names:
    """Return targets of the settings as peft has them."""
    targets = [*targets]
    return target_pattern(targets) or frozenset(targets)


def _as_peft(names: str | Iterable[str] | None) -> Names:
    return names if isinstance(names, str) else frozenset(names or ())


def _means(names: Names, name: str) -> bool:
    """Whether names mean a layer."""
    if isinstance(names, str):
        return re.fullmatch(names, name) is not None
    return name in names or any(name.endswith(f".{end}") for end in names)


def target_pattern(targets: Sequence[str]) -> str:
    """Return one regular expression for all targets, which matches whole names of layers.

    Empty if all targets are plain names. peft would not read an expression in a list: it looks for a layer of that
    name.
    """
    if all(PLAIN_NAME.fullmatch(target) for target in targets):
        return ""
    return "|".join(map(layer_pattern, targets))


def layer_pattern(target: str) -> str:
    """Return a regular expression for the whole names of the layers that a target means."""
    return rf"(?:.*\.)?{re.escape(target)}" if PLAIN_NAME.fullmatch(target) else f"(?:{target})"
