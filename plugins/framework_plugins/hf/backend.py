"""`trainer=hf`: opens a base model with transformers; `model.py` trains and evaluates it.

Opening reads config and tokenizer only: what cannot work is reported before a weight is read.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import framework_plugins.hf.machine.allocator  # before torch, which reads what it sets

# isort: split
import torch
import transformers
from transformers import PreTrainedModel

import framework_plugins.hf.machine.import_setup  # noqa: F401 - before all that imports peft

# isort: split
from peft import LoraConfig

from framework import FrameworkError, Plan, Stage
from framework.api import is_out_of_memory, summarize_error
from framework.api.training import ModelPlace, ModelSource, Quantization
from framework_plugins.hf.load.adapt_model import check_adapter, train_rows, with_adapter
from framework_plugins.hf.load.adapter_config import start_config, trained_config
from framework_plugins.hf.load.adapter_targets import TextLayers, check_targets, token_rows
from framework_plugins.hf.load.loading import check_quantized, packs_experts, without_weights
from framework_plugins.hf.load.model_parts import fused_experts
from framework_plugins.hf.load.published import adapter_names, base_names
from framework_plugins.hf.load.split_weights import device_map
from framework_plugins.hf.load.tokenizer import check_token_ids
from framework_plugins.hf.load.weight_files import check_files, is_downloaded
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.kernels import wanted
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.packing.eligibility import ForwardPlan, forward_plan
from framework_plugins.hf.settings.attention import layer_kernels
from framework_plugins.hf.settings.config import (
    Attention,
    HFTrainerConfig,
    NoQuantizationConfig,
    OutOfMemory,
    Switch,
)
from framework_plugins.hf.train.options import group_places, trained_weights
from framework_plugins.hf.train.resume.checkpoints import Checkpoints
from framework_plugins.lib.group_member import member
from framework_plugins.lib.model_settings import attention_named

WEIGHT_STAGES = frozenset({Stage.baseline, Stage.train, Stage.evaluate, Stage.export})
"""Stages that load the weights."""


class HFBackend:
    """Opens models with transformers. A backend that loads them otherwise subclasses it.

    Attributes:
        model_class: what is made of an opened model.
        tries_adapter: whether peft makes the adapter, which is tried before the weights are read.
        packs_experts: whether experts can be loaded in four bits, see `load/packed_experts.py`.
    """

    model_class: type[HFModel] = HFModel
    tries_adapter = True
    packs_experts = True

    def __init__(self, config: HFTrainerConfig) -> None:
        self.config = config

    @contextmanager
    def open(self, plan: Plan) -> Iterator[HFModel]:
        """Pick what suits this machine, read config and tokenizer, and free everything at the end.

        Raises:
            FrameworkError: no GPU for a large model, or the model cannot be read.
        """
        model = self._open_model(plan)
        gc.freeze()  # what the libraries made while they were imported stays: each look through it takes 0.3 s
        try:
            yield model
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            by_itself = self.config.on_out_of_memory is OutOfMemory.fail
            raise FrameworkError(
                f"out of memory: {summarize_error(error)}\nLower trainer.per_device_train_batch_size and raise "
                "trainer.gradient_accumulation_steps as much, lower trainer.max_seq_length, or set quantization=nf4"
                + ("; trainer.on_out_of_memory=retry does the first by itself" if by_itself else "")
            ) from error
        finally:
            model.close()  # which looks for what is to be freed, still without the libraries
            gc.unfreeze()

    def _open_model(self, plan: Plan) -> HFModel:
        _silence_libraries()
        group, me = plan.launch.config.group(), member()
        machine = hardware.pick(self.config, plan.optimizer, gpu=me.local_rank if me else 0 if group else None)
        if Stage.train in plan.stages:
            Checkpoints(plan).newest()  # of another training: told before anything is measured
        source: ModelSource = plan.model.create()
        location = source.fetch(weights=False)
        empty = without_weights(location, self.config, trust=plan.model.config.trust_remote_code)
        attention = str(empty.config._attn_implementation)  # noqa: SLF001 - no public name
        is_local = me is not None or is_downloaded(location)
        if me is None:  # the members of a group come after the process that opened the model first
            check_quantized(plan, location, empty, machine)
            if is_local:
                check_files(location, empty, values=bool(WEIGHT_STAGES & set(plan.stages)))
            self._check_checkpoint(plan, location, empty)
        if start := plan.start(weights=True):
            machine.facts["starts from"] = (
                f"{start.place} (SHA-256 {start.sha256[:12]}); the verdict compares with it, then with "
                f"{location.copy_of or location.name} without it"
            )
        check_targets(plan, trained_config(plan), empty, machine.dtype)
        packed_experts = self.packs_experts and packs_experts(plan, empty)
        if fact := _experts_in_full(plan, empty, packed=packed_experts):
            machine.facts["quantization"] = fact
        parameters = sum(parameter.numel() for parameter in empty.parameters())
        hardware.check_size(machine, self.config.device, location.name, parameters)
        if me is None and (devices := hardware.evaluation_devices(machine, plan, source)):
            quantized = plan.quantization.create().config(machine.dtype)
            machine = replace(machine, split=device_map(empty, devices, quantized))
        named_attention = (
            attention_named(source.config_json()) - {attention} if self.config.attention is Attention.auto else ()
        )
        ignored = (
            f" (config.json names {', '.join(sorted(named_attention))}, and trainer.attention chooses)"
            if named_attention
            else ""
        )
        chosen, machine.facts["packing"] = self.forward_plan(plan, machine, empty, attention)
        suffix = f", and {chosen.attention}" if chosen.attention else ""
        machine.facts["attention"] = f"{attention}{suffix}{ignored}"
        if machine.device != "cpu" and (paths := layer_kernels(wanted(source.config_json()))):
            machine.facts["kernels"] = paths
        chosen = replace(chosen, packed_experts=packed_experts)
        if me:  # the layers of `fused_layers` keep weights between passes, which a group may have cut apart by then
            chosen = replace(chosen, fused_layers=False, unfused="a group of processes may divide weights")
        if chosen.unfused and self.config.fused_layers is Switch.enabled:
            raise FrameworkError(f"trainer.fused_layers=enabled: {chosen.unfused}: leave it at auto")
        if chosen.unfused:
            machine.facts["layers"] = f"not fused: {chosen.unfused}"
        vocabulary = max(len(empty.get_input_embeddings().weight), token_rows(trained_config(plan)))
        model = self.model_class(
            plan, self.config, machine, source, location, chosen, checked=is_local, vocabulary=vocabulary
        )
        check_token_ids(location, model.tokenizer, model.stop_ids, vocabulary)
        if self.tries_adapter:
            trained, adapted = try_adapter(plan, location, empty, model.new_ids)
            if adapted:
                machine.facts["adapted"] = adapted
            if Stage.train in plan.stages and plan.optimizer.config.groups:
                group_places(plan.optimizer.config, list(trained_weights(trained)))
        return model

    def _check_checkpoint(self, plan: Plan, location: ModelPlace, empty: PreTrainedModel) -> None:
        """Refuse trained weights that lie elsewhere and are not whole, before the data are read."""
        folder, trained = plan.external_checkpoint, trained_config(plan)
        if start := plan.start(weights=True):
            setting = f"adapter.start={start.place}"
            check_adapter(
                start.folder, setting, start_config(start, plan), empty, location, base_names(plan), trained=True
            )
        elif folder and trained is not None:
            setting = f"checkpoint={plan.config['checkpoint']}"
            check_adapter(folder, setting, trained, empty, location, base_names(plan), trained=False)
        elif folder:
            checkpoint_location = ModelPlace(folder, f"checkpoint={folder}")
            checkpoint_model = without_weights(
                checkpoint_location, self.config, trust=plan.model.config.trust_remote_code
            )
            check_files(checkpoint_location, checkpoint_model, values=True)

    def forward_plan(
        self, plan: Plan, machine: hardware.Hardware, empty: torch.nn.Module, attention: str
    ) -> tuple[ForwardPlan, str]:
        """Choose how rows go through the model, and say how they are packed; see `packing.eligibility`."""
        quantization: Quantization = plan.quantization.create()
        quantized = quantization.config(machine.dtype)
        return forward_plan(self.config, empty, attention, machine.device, trained_config(plan), quantized)


def _experts_in_full(plan: Plan, empty: PreTrainedModel, *, packed: bool) -> str:
    """Say what a quantization does to experts: bitsandbytes by itself knows only linear layers."""
    experts = sum(weight.numel() for weight in fused_experts(empty).values())
    if not experts or isinstance(plan.quantization.config, NoQuantizationConfig):
        return ""
    share = f"{experts / sum(weight.numel() for weight in empty.parameters()):.0%} of the parameters"
    if packed:
        return f"{plan.quantization.component.name}, experts too: {share}"
    return f"{plan.quantization.component.name}, except the experts: {share} stay in 16 bits"


def try_adapter(
    plan: Plan, location: ModelPlace, empty: PreTrainedModel, new_ids: Sequence[int] = ()
) -> tuple[torch.nn.Module, str]:
    """Put the adapter on the model without weights; say what of a model with more than plain layers it changes.

    `new_ids` are the tokens whose rows it trains.

    Raises:
        FrameworkError: peft cannot adapt this model so, or would not load the adapter that is saved.
    """
    config = trained_config(plan)
    if plan.external_checkpoint or not isinstance(config, LoraConfig):
        return empty, ""
    config.init_lora_weights = False  # the matrices have no memory to begin with
    layers = TextLayers.of(empty, config)
    if not layers.linear:
        raise FrameworkError(
            f"model {location.name}: {type(empty).__name__} has no linear layers that read text, so there is nothing "
            "to adapt: choose another model"
        )
    with refusing_errors("adapter: peft cannot put it on this model"):
        if new_ids and Stage.train in plan.stages:
            train_rows(empty, config, new_ids)
        adapted = with_adapter(empty, config, location, empty=True)
    if Stage.train in plan.stages:
        adapter_names(location.folder, trust=plan.model.config.trust_remote_code).check(adapted)
    return adapted, layers.describe(adapted)


def _silence_libraries() -> None:
    """Let the run's own loggers speak: no progress bars and notes of the libraries in between."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # peft reads a name that transformers 5.24 deprecates; nothing a user could do about it.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
    # accelerate 1.15 slices the mesh of replicas and shards in a way that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message="Slicing a flattened dim", category=UserWarning)
