"""`trainer=hf`: opens a base model with transformers; `model.py` trains it with TRL and asks it.

Opening reads config and tokenizer only: what cannot work is told before a weight is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from framework.errors import FrameworkError, one_line
from framework.plan import Plan
from framework.protocols import ModelPlace, ModelSource
from framework_hf import hardware
from framework_hf.config import HFTrainerConfig
from framework_hf.model import HFModel
from framework_hf.model import attention as requested


class HFBackend:
    """Opens models with transformers."""

    def __init__(self, config: HFTrainerConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, plan: Plan) -> Iterator[HFModel]:
        """Pick what suits this machine, read config and tokenizer, and free everything at the end.

        Raises:
            FrameworkError: no GPU for a large model, or the model cannot be read.
        """
        _quiet()
        machine = hardware.pick(self.config)
        source: ModelSource = plan.model.create()
        place = source.fetch(weights=False)
        parameters, attention = _inspect(place, self.config, trust=plan.model.config.trust_remote_code)
        hardware.check_size(machine, self.config.device, place.name, parameters)
        machine.facts["attention"] = attention
        model = HFModel(plan, self.config, machine, source, place)
        try:
            yield model
        finally:
            model.close()


def _quiet() -> None:
    """Let the run's own loggers speak: no progress bars and notes of the libraries in between."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # peft reads a name that transformers 5.24 deprecates; nothing a user could do about it.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)


def _inspect(place: ModelPlace, config: HFTrainerConfig, *, trust: bool) -> tuple[int, str]:
    """Return the number of parameters and the attention implementation, from a model without memory."""
    try:
        loaded = AutoConfig.from_pretrained(place.folder, trust_remote_code=trust)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(
                loaded, trust_remote_code=trust, attn_implementation=requested(config)
            )
    except (ValueError, OSError, ImportError, KeyError) as error:
        message = f"model {place.name}: transformers cannot build it: {one_line(error)}"
        if "trust_remote_code" in str(error):
            message = (
                f"model {place.name} brings Python code of its own: read it, then set model.trust_remote_code=true"
            )
        raise FrameworkError(message) from error
    return sum(parameter.numel() for parameter in empty.parameters()), str(empty.config._attn_implementation)  # noqa: SLF001 - no public name
