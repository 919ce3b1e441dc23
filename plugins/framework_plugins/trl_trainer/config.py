"""The options of `trainer=trl`."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar

from annotated_types import Len

from framework.api import Affects, NamesCode
from framework_plugins.hf.extend import (
    ONLY_HF,
    SFT_SETTINGS,
    HFTrainerConfig,
    OutOfMemory,
    Packing,
    Switch,
    TransformersTrainerConfig,
)
from framework_plugins.trl_trainer import library

CLASSES = {"sft": "SFTTrainer", "dpo": "DPOTrainer", "kto": "KTOTrainer", "grpo": "GRPOTrainer"}
"""TRL's class for each `method=` that it has one for."""


class Refusals(Mapping[str, str]):
    """What a name that is not a setting of `trainer=trl` is here; TRL's fields are read when one is first needed."""

    def __getitem__(self, name: str) -> str:
        if name == "class":
            return "is called trainer.trl_class here"
        if name in SETTINGS:
            return f"is {SETTINGS[name]} here"
        if any(name in library.class_fields(trainer) for trainer in CLASSES.values()):
            of_hf = f", and in trainer=hf trainer.{name}" if name in hf_fields() else ""
            of_method = "" if name in library.class_fields("SFTTrainer") else f", or method.{name} if the method has it"
            return f"is called trainer.args.{name} here{of_method}{of_hf}"
        if name in hf_fields():
            return "is not used here: it is a setting of trainer=hf"
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        names = {name for trainer in CLASSES.values() for name in library.class_fields(trainer)}
        return iter(sorted({"class", *names, *hf_fields()}))

    def __len__(self) -> int:
        return len([*iter(self)])


@dataclass
class TrlTrainerConfig(TransformersTrainerConfig):
    """TRL's own trainers, unchanged: SFTTrainer, DPOTrainer, KTOTrainer, GRPOTrainer, or a class that you name."""

    instead: ClassVar[Mapping[str, str]] = Refusals()
    unused: ClassVar[Collection[str]] = ()
    checkpoints_later: ClassVar[bool] = False
    # What the evaluation of `trainer=hf` reads: the model stays as transformers and peft have it.
    packing: ClassVar[Packing] = Packing.pad
    fused_layers: ClassVar[Switch] = Switch.disabled
    neftune_noise_alpha: ClassVar[float | None] = None
    pass_tokens: ClassVar[int] = 0
    on_out_of_memory: ClassVar[OutOfMemory] = OutOfMemory.retry

    trl_class: Annotated[str | None, Len(1), NamesCode()] = None
    """A trainer of TRL, such as RLOOTrainer, or an import path, such as `trl.experimental.gkd.GKDTrainer`. null: the
    class of `method`."""
    args: Annotated[dict[str, Any], ~Affects.base] = field(default_factory=dict)
    """Fields of the class's own config under TRL's names, such as {packing: true, save_steps: 50}, without those that a
    setting of this program has."""
    init: Annotated[dict[str, Any], ~Affects.base] = field(default_factory=dict)
    """Further arguments of the class that are plain values, such as {teacher_model: owner/name}."""

    def answers(self) -> bool:
        return self.trl_class is None or not library.gives_scores(library.find(self.trl_class))

    @property
    def save_total_limit(self) -> int:
        """How many checkpoints are kept."""
        return int(self.args.get("save_total_limit") or 2)


def hf_fields() -> frozenset[str]:
    """Return the settings that only `trainer=hf` has."""
    return frozenset({part.name for part in fields(HFTrainerConfig)} - {part.name for part in fields(TrlTrainerConfig)})


TrlTrainerConfig.unused = hf_fields()
SETTINGS = {name: setting for name, setting in SFT_SETTINGS.items() if name not in ONLY_HF}
"""The fields of TRL that settings of `trainer=trl` are, and the setting of each."""
