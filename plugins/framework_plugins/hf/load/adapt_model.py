"""An adapter on a model: checked, added, restored and saved."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.trainable_tokens import TrainableTokensLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from framework import FrameworkError, Plan, Stage
from framework.api import atomic_folder, summarize_error
from framework.api.training import ModelPlace
from framework_plugins.hf.load.adapter_config import (
    begins_within_weights,
    start_config,
)
from framework_plugins.hf.load.adapter_targets import choose_layers, token_rows
from framework_plugins.hf.load.expert_effect import effect_problem
from framework_plugins.hf.load.frozen import begin_within_weights, freeze_beside, is_beside, save_as_one
from framework_plugins.hf.load.model_parts import grow, has_packed_experts
from framework_plugins.hf.load.published import (
    AdapterNames,
    base_names,
    load_tensors,
    publish,
)
from framework_plugins.hf.load.weight_files import (
    not_finite,
    not_floats,
    refuse_mismatch,
    refuse_unusable,
)
from framework_plugins.hf.machine.import_setup import without_bitsandbytes
from framework_plugins.hf.machine.library_errors import refusing_errors
from framework_plugins.lib.model_settings import check_base, read_adapter_config
from framework_plugins.lib.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_headers, shape_text


def check_adapter(
    folder: Path,
    setting: str,
    config: PeftConfig,
    empty: PreTrainedModel,
    location: ModelPlace,
    names: AdapterNames,
    *,
    trained: bool,
) -> None:
    """Check that an adapter from elsewhere is complete and belongs to this base.

    Args:
        folder: where it is.
        setting: the setting that names it.
        config: the adapter.
        empty: the base, without memory for its weights; it is left as it is.
        location: the base, as an adapter names it.
        names: of adapters of this base.
        trained: whether it is trained on.

    Raises:
        FrameworkError: it is not.
    """
    check_base(read_adapter_config(folder, setting), setting, location.name)
    with refusing_errors(f"{setting}: peft cannot make an adapter from {ADAPTER_CONFIG}"):
        adapted = with_adapter(copy.deepcopy(empty), copy.deepcopy(config), location, empty=True)
    outside_names = _check_tensors(adapted, folder, names)
    if trained and outside_names:
        raise FrameworkError(
            f"{setting} also changes parts that read no text, such as {outside_names[0]}, and a training here would "
            "leave "
            f"that out: merge it, stages=[export] checkpoint={folder} exporter=[merged], and train on the folder that "
            "this makes, model=local model.path=FOLDER"
        )


def _check_tensors(model: PeftModel, folder: Path, names: AdapterNames) -> list[str]:
    """Compare the tensors in a folder, by their headers, with an adapter's; return those of parts that read no text.

    Raises:
        FrameworkError: the file cannot be read, or some are missing, left over or of another shape.
    """
    needed = get_peft_model_state_dict(model, save_embedding_layers=False)
    stored = read_headers([folder / ADAPTER_WEIGHTS])
    if odd := not_floats(stored) | not_finite([folder / ADAPTER_WEIGHTS]):
        refuse_unusable(str(folder / ADAPTER_WEIGHTS), odd)
    shapes = {names.in_opened(key, needed) or key: tensor.shape for key, tensor in stored.items()}
    unexpected = sorted(shapes.keys() - needed.keys())
    model_state = model.state_dict() if unexpected else {}  # an embedding that was saved too is the model's
    outside_names = [name for name in unexpected if names.outside(name)]
    refuse_mismatch(
        f"{folder} does not fit this model and adapter",
        absent=[(name, "") for name in needed.keys() - shapes.keys()],
        reshaped=[
            (name, f" ({shape_text(shapes[name])}, not {shape_text(weight.shape)})")
            for name, weight in needed.items()
            if name in shapes and shapes[name] != tuple(weight.shape)
        ],
        unexpected=[
            (name, "") for name in unexpected if name not in outside_names and not names.in_opened(name, model_state)
        ],
        fix="Save the adapter again, or choose the base and the adapter that it was trained with",
    )
    return outside_names


def with_adapter(model: Any, config: PeftConfig, location: ModelPlace, *, empty: bool = False) -> Any:
    """Return a model with new adapter weights, which name `location` as their base.

    With `empty` the weights take no memory. The settings are changed so that peft adapts the same layers of this model.

    Raises:
        FrameworkError: the model has no experts to adapt, or peft cannot adapt them.
        ValueError: the model has no such layers.
    """
    config.base_model_name_or_path = None  # peft warns of another name; `name_base` writes it
    grow(model, token_rows(config))
    choose_layers(model, config)
    if any(isinstance(part, Conv1D) for part in model.modules()) and hasattr(config, "fan_in_fan_out"):
        config.fan_in_fan_out = True  # peft sets it too, with a warning
    if has_packed_experts(model):
        from framework_plugins.hf.load.packed_experts import use_packed_lora  # noqa: PLC0415 - with bitsandbytes

        use_packed_lora(model, config)
    with without_bitsandbytes():
        adapted = get_peft_model(model, config, low_cpu_mem_usage=empty)
    name_base(adapted, location)
    if not empty:
        _keep_whole_modules_in_fp32(adapted)
        _keep_biases_of_base(adapted, config)
    return adapted


def train_rows(model: Any, config: Any, ids: Sequence[int]) -> None:
    """Let an adapter train rows of the embedding, and of a head that is not tied to it, which are added if need be."""
    config.trainable_token_indices = list(ids)
    config.base_model_name_or_path = None  # peft warns of another name; `name_base` writes it
    grow(model, token_rows(config))
    parts = [model.get_input_embeddings(), model.get_output_embeddings()]
    if parts[1] is not None and parts[0].weight is not parts[1].weight:
        names = [name.rpartition(".")[2] for part in parts for name, module in model.named_modules() if module is part]
        config.trainable_token_indices = {name: list(ids) for name in names}


def _keep_whole_modules_in_fp32(adapted: PeftModel) -> None:
    """Convert the modules of `modules_to_save` to fp32, as adapters are; the states between layers keep their dtype.

    peft leaves a copy in the format of the base, where an update below half a digit of 16 bits is lost.
    """
    head = adapted.get_base_model().get_output_embeddings()
    for wrapper in list(adapted.modules()):
        if isinstance(wrapper, ModulesToSaveWrapper):
            for module in wrapper.modules_to_save.values():
                formats = {weight.dtype for weight in module.parameters()}
                if formats == {torch.float32} or len(formats) != 1:
                    continue
                # peft copies them in the number format of the base, where small updates are lost.
                module.float()
                module.register_forward_pre_hook(_inputs_to_fp32)
                if wrapper is not head:  # logits stay as they are
                    module.register_forward_hook(partial(_output_to_dtype, formats.pop()))


def _inputs_to_fp32(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        argument.float() if torch.is_tensor(argument) and argument.is_floating_point() else argument
        for argument in inputs
    )


def _output_to_dtype(dtype: torch.dtype, _: torch.nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    return output.to(dtype) if torch.is_tensor(output) else output


def _keep_biases_of_base(adapted: Any, config: PeftConfig) -> None:
    """Let a model whose biases are trained be its base again where its adapter is switched off: peft leaves them."""
    if getattr(config, "bias", "none") == "none":
        return
    biases = [
        (weight, weight.detach().clone())
        for name, weight in adapted.named_parameters()
        if weight.requires_grad and name.endswith(".bias") and adapted.base_model.prefix not in name
    ]
    disable = adapted.disable_adapter

    @contextmanager
    def disabled() -> Iterator[None]:
        trained = [weight.detach().clone() for weight, _ in biases]
        with torch.no_grad():
            for weight, before in biases:
                weight.copy_(before)
        try:
            with ExitStack() as stack:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message="Careful, disabling adapter layers with bias")
                    stack.enter_context(disable())
                yield
        finally:
            with torch.no_grad():
                for (weight, _), value in zip(biases, trained, strict=True):
                    weight.copy_(value)

    adapted.disable_adapter = disabled


def as_base(model: Any, *, trained: bool) -> AbstractContextManager[None]:
    """Switch the adapter of a model off for a while; `trained`: all of its weights were trained.

    Raises:
        FrameworkError: no adapter, and the weights of the base are trained.
    """
    if isinstance(model, PeftModel):
        context: AbstractContextManager[None] = model.disable_adapter()
        return context
    if trained:
        raise FrameworkError("full fine-tuning keeps no base: it can be asked only before the training")
    return nullcontext()


def name_base(adapted: Any, location: ModelPlace) -> None:
    """Let an adapter name its base."""
    config = adapted.peft_config["default"]
    config.base_model_name_or_path, config.revision = location.name, location.revision or None


def save_weights(
    model: Any,
    folder: Path,
    tokenizer: Any,
    names: AdapterNames | None,
    state: dict[str, Any] | None = None,
    *,
    check: bool = True,
) -> None:
    """Write the trained weights, only the adapter's if there is one; `folder` is complete or absent.

    Args:
        model: whose weights they are.
        folder: where to.
        tokenizer: written too if tokens were trained, since the base may not have them.
        names: of adapters of the base; None if the weights themselves are trained.
        state: the weights themselves, where the model does not hold them whole.
        check: load the written weights, and compare them.

    Raises:
        FrameworkError: peft does not load the adapter that was written as it was trained.
    """
    problem = ""
    # "auto" would ask the Hub whether the vocabulary grew; it did not.
    options = {"save_embedding_layers": False} if isinstance(model, PeftModel) else {}
    with atomic_folder(folder, replace=True) as staging:
        if isinstance(model, PeftModel) and token_rows(model.peft_config["default"]):
            tokenizer.save_pretrained(staging)
        if is_beside(model):
            weights = save_as_one(model, staging, state)
        else:
            model.save_pretrained(staging, **options, **({} if state is None else {"state_dict": state}))
            weights = get_peft_model_state_dict(model, state, **options) if isinstance(model, PeftModel) else {}
        (staging / "README.md").unlink(missing_ok=True)  # peft's is an empty form; exporter=model_card writes ours
        if names is not None:
            problem = publish(staging, names.for_model(model), weights if check else {})
            if check and state is None and not problem:
                problem = effect_problem(model, staging, names.for_model(model), weights)
    if problem:
        raise FrameworkError(f"{folder}: {problem}")


def begin(plan: Plan, model: Any, device: str) -> None:
    """Initialize a new adapter as the plan says: from a trained one, besides a frozen one, or as a part of the weights.

    Raises:
        FrameworkError: the trained one does not fit this model.
    """
    if Stage.train not in plan.stages:
        return
    start, within = plan.start(weights=True), begins_within_weights(plan)
    if start and start.merged:
        config: Any = start_config(start, plan)
        freeze_beside(model, config, start.folder, f"adapter.start={start.place}", base_names(plan))
    elif start:
        restore_adapter(model, start.folder, device, base_names(plan))
    elif within:
        begin_within_weights(model, within)
    for module in model.modules() if plan.model.config.new_tokens else ():
        if isinstance(module, TrainableTokensLayer) and not module.tied_adapter:
            # A base may have rows to spare, which nobody has trained.
            mean = module.get_base_layer().weight.data.float().mean(dim=0)
            module.trainable_tokens_delta["default"].data[:] = mean


def restore_adapter(model: PeftModel, checkpoint: Path, device: str, names: AdapterNames) -> None:
    """Put saved weights into an adapter.

    Raises:
        FrameworkError: they do not fit this base and adapter, or are not all of it.
    """
    if any(weight.is_meta for weight in model.parameters()):
        return  # of a group whose first process has the weights
    _check_tensors(model, checkpoint, names)
    try:
        load_tensors(model, checkpoint, names, device)
    except (RuntimeError, ValueError, OSError, SafetensorError) as error:
        raise FrameworkError(f"{checkpoint} does not fit this model and adapter: {summarize_error(error)}") from error
