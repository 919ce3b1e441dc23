"""Whether a model whose layers are on three devices mixes no two of them in an operation, without such devices.

    python -m benchmarks.split_devices

The tensors are torch's fake ones: they have no numbers, and an operation on tensors of two devices is an error. Losses
and scores of the tiny twin of each family are taken, and answers are continued with keys and values. Answers of other
families are a gap of the fake devices, which cannot make a tensor out of Python's numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import torch
import transformers
from accelerate import dispatch_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
from transformers import AutoConfig

from benchmarks.common import OUT, command_line
from framework.api.training import TokenRow
from framework_plugins.hf.load.split_weights import device_map
from framework_plugins.hf.loss.loss import Losses, to_device
from framework_plugins.hf.packing.parts import padded_batch
from framework_plugins.hf.settings.config import Packing
from framework_plugins.lib.auto_class import auto_class
from tests.support.twins import TWINS

CARD = "card"
DEVICES = [f"{CARD}:{number}" for number in range(3)]
VOCABULARY, FIRST = 320, DEVICES[0]
ROWS = [
    TokenRow([1, 2, 3, 4, 5], [TokenRow.IGNORE, TokenRow.IGNORE, 3, 4, 5]),
    TokenRow([1, 2, 6], [TokenRow.IGNORE, 2, 6]),
]


def empty_model(config: dict[str, Any]) -> Any:
    """Return a model without memory."""
    for part in (config, config.get("text_config", config)):
        part["pad_token_id"] = 0
    made = AutoConfig.for_model(**config)
    with torch.device("meta"):
        return auto_class(transformers, made.to_dict()).from_config(made).eval()


def split(model: Any) -> None:
    """Divide the layers of a model over the devices; its tensors become fake ones."""
    places = device_map(model, DEVICES, None)
    assert {*places.values()} == {*DEVICES}
    known: dict[int, tuple[Any, Any]] = {}
    for name, module in model.named_modules():
        device = next((each for part, each in places.items() if f"{name}.".startswith(f"{part}.")), FIRST)
        for tensors, make in ((module._parameters, torch.nn.Parameter), (module._buffers, torch.Tensor.detach)):  # noqa: SLF001 - `to` cannot
            for key, tensor in [(key, each) for key, each in tensors.items() if each is not None]:
                dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
                known.setdefault(id(tensor), (tensor, make(torch.empty(tensor.shape, dtype=dtype, device=device))))
                tensors[key] = known[id(tensor)][1]
    with patch("accelerate.big_modeling.find_tied_parameters", lambda _: []):  # fake ones are all at one address
        dispatch_model(model, places, main_device=FIRST, skip_keys=model._skip_keys_device_placement)  # noqa: SLF001 - as transformers does


@contextmanager
def fake() -> Iterator[None]:
    """Let tensors have no numbers."""
    with (
        patch("transformers.masking_utils.find_packed_sequence_indices", lambda *_: None),
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
    ):
        yield


def losses(model: Any) -> None:
    """Take a loss and scores."""
    found, part = Losses(model, Packing.pad, dense_mask=True), to_device(padded_batch(ROWS, 0), FIRST)
    assert str(found.sum(part).device) == FIRST
    found.show_logits(part, lambda _, logits: _check(str(logits.device)))


def answers(model: Any) -> None:
    """Continue prompts by a token, with the keys and values of the others."""
    out = model(input_ids=torch.zeros(2, 7, dtype=torch.long, device=FIRST), use_cache=True)
    token = torch.zeros(2, 1, dtype=torch.long, device=FIRST)
    _check(str(model(input_ids=token, past_key_values=out.past_key_values, use_cache=True).logits.device))


def _check(device: str) -> None:
    assert device == FIRST


def tried(step: Callable[[Any], None], model: Any) -> str:
    """Return what became of a step."""
    try:
        step(model)
    except (RuntimeError, AttributeError, NotImplementedError) as error:
        mixed = "two devices" in str(error) or "same device" in str(error)
        return f"MIXED: {error}" if mixed else f"not tried ({type(error).__name__}: {error})".splitlines()[0][:90]
    return "ok"


def main() -> int:
    """Try each family."""
    command_line(__doc__).parse_args()
    _setup_privateuseone_for_python_backend(CARD)
    plain, mixed = torch.tensor, False

    def tensor(data: Any, *, device: Any = None, **named: Any) -> torch.Tensor:
        made = plain(data, **named)
        return made if device is None else torch.empty(made.shape, dtype=made.dtype, device=device)

    for name, twin in TWINS.items():
        if twin.package and not find_spec(twin.package):
            continue
        model = empty_model(twin.config(VOCABULARY))
        with fake(), patch.object(torch, "tensor", tensor):
            split(model)
            found = [tried(step, model) for step in (losses, answers)]
        mixed = mixed or any(each.startswith("MIXED") for each in found)
        OUT.print(f"{name}: losses {found[0]}, answers {found[1]}")
    return int(mixed)


if __name__ == "__main__":
    sys.exit(main())
