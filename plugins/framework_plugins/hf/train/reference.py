"""The reference of an objective: the model as it is when the training starts, scored once, before the first step.

That is the base for a new adapter, the adapter of `adapter.start` otherwise, and the weights as they were for
`adapter=full`. So no second model and no copy of an adapter takes memory, and the code that scores the reference is the
code that scores the policy: both have the same log-probabilities at the start, to the last bit if rows share a pass.

The scores are kept in the cache folder under a hash of base, adapter, template and rows, for other runs and the trials
of a sweep. Before the first step the loss is compared with what it is for a model that is its own reference.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel, get_peft_model_state_dict, load_peft_weights
from peft.tuners.tuners_utils import BaseTunerLayer

from framework import FrameworkError, Plan
from framework.api import cache_dir, key_of, write_atomically
from framework.api.training import TokenRow
from framework_plugins.hf.load.adapter_config import initialization
from framework_plugins.hf.load.published import base_names

DAYS = 30
"""Scores that no run has used for so long are removed when others are written."""
TOLERANCE, HALF_TOLERANCE = 1e-3, 0.15
"""How far a log-probability may be from the reference before the first step, on average, in fp32 and in 16 bits, where
rounding depends on the rows that share a pass: kept scores may be from other passes."""
WHAT = {"base": "another base", "adapter": "another adapter", "template": "another chat template", "rows": "other rows"}
PLACE = {"_name_or_path", "transformers_version"}
"""What a config says of where the model comes from, which changes no score."""
log = logging.getLogger(__name__)
Tensor = torch.Tensor


class StartScores:
    """The log-probabilities of rows under the model that a training starts from.

    Args:
        device: where the model is.
        file: the cache file; None if there is none.
        identity: hashes of what they depend on: base, adapter, template and rows.

    Raises:
        FrameworkError: the file is of something else.
    """

    def __init__(self, device: torch.device | str, file: Path | None, identity: Mapping[str, str]) -> None:
        self.device, self.file, self.identity = device, file, dict(identity)
        self._known: dict[bytes, np.ndarray[Any, np.dtype[np.float32]]] = {}
        if file is not None and file.is_file():
            self._read(file)
        self.kept = len(self._known)
        """Rows whose scores were in the file."""

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, row: TokenRow) -> bool:
        return row_key(row) in self._known

    def add(self, row: TokenRow, log_probs: Tensor) -> None:
        """Remember the scores of a row."""
        self._known[row_key(row)] = log_probs.detach().float().cpu().numpy()

    def log_probs(self, rows: Iterable[TokenRow]) -> list[Tensor]:
        """Return the scores of rows."""
        return [torch.from_numpy(self._known[row_key(row)]).to(self.device) for row in rows]

    def save(self) -> None:
        """Write the file; if the cache cannot be written, do nothing."""
        if self.file is None or len(self._known) == self.kept:
            return
        content, sizes = io.BytesIO(), [len(log_probs) for log_probs in self._known.values()]
        np.savez(
            content,
            identity=np.frombuffer(json.dumps(self.identity).encode(), np.uint8),
            rows=np.frombuffer(b"".join(self._known), np.uint8).reshape(len(sizes), -1),
            ends=np.cumsum(sizes, dtype=np.int64),
            values=np.concatenate([*self._known.values()]),
        )
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            for file in self.file.parent.iterdir():
                if time.time() - file.stat().st_mtime > DAYS * 24 * 3600:
                    file.unlink(missing_ok=True)
            write_atomically(self.file, content.getvalue())
        except OSError as error:
            log.info("%s is not cached: %s", self.file, error)

    def _read(self, file: Path) -> None:
        try:
            with np.load(file) as content:
                identity = json.loads(content["identity"].tobytes())
                values = np.split(content["values"], content["ends"][:-1])
                rows = [row.tobytes() for row in content["rows"]]
        except (
            OSError,
            EOFError,
            ValueError,
            TypeError,
            KeyError,
            zipfile.BadZipFile,
        ) as error:  # from a machine without power
            log.info("%s cannot be read: %s", file, error)
            return
        if mismatches := [name for name, value in self.identity.items() if identity.get(name) != value]:
            raise FrameworkError(
                f"the reference scores in {file} are of {' and '.join(WHAT[name] for name in mismatches)}, and would "
                "train against the wrong reference: remove the file"
            )
        self._known = dict(zip(rows, values, strict=True))
        file.touch()


def open_scores(
    plan: Plan, model: Any, template: str, rows_digest: str, computed: str, device: torch.device | str
) -> StartScores:
    """Return the scores of the reference that are known for this training.

    Args:
        plan: of the run.
        model: as it is when the training starts, in evaluation mode.
        template: a hash of tokenizer, template and masks.
        rows_digest: a hash of the rows of the training.
        computed: what else changes the numbers: device, number format and layers.
        device: where the model is.

    Raises:
        FrameworkError: the model is not what the training starts from, or the scores are of something else.
    """
    check_model(plan, model)
    base, adapter = fingerprints(model, is_new=plan.start(weights=False) is None)
    identity = {"base": key_of(base, computed), "adapter": adapter, "template": template, "rows": rows_digest}
    return StartScores(device, cache_dir() / "reference" / f"{key_of(identity)}.npz", identity)


def check_model(plan: Plan, model: Any) -> None:
    """Make sure that a model is the one that the training starts from.

    Raises:
        FrameworkError: it is not.
    """
    if problem := _problem(plan, model):
        raise FrameworkError(
            f"method={plan.method.component.name} would train against the wrong reference, which is the model that the "
            f"training starts from: {problem}"
        )


def _problem(plan: Plan, model: Any) -> str:
    """Say why a model is not what the training starts from; empty if it is."""
    dropouts = (module for module in model.modules() if isinstance(module, torch.nn.Dropout))
    if any(module.training and module.p for module in dropouts):
        return "dropout is on, which changes its scores each time"
    if not isinstance(model, PeftModel):
        return ""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    if any(layer.merged for layer in layers):
        return "the adapter is merged into the base"
    if any(layer.disable_adapters for layer in layers):
        return "the adapter is switched off"
    start = plan.start(weights=True)
    if start and not start.merged:
        weights = get_peft_model_state_dict(model, save_embedding_layers=False)
        names, stored = base_names(plan), load_peft_weights(str(start.folder), device="cpu")
        saved = {names.in_opened(key, weights): weight for key, weight in stored.items()}
        mismatches = (name for name, weight in weights.items() if name in saved and not _is_equal(weight, saved[name]))
        name = next(mismatches, "")
        return f"{name} of the adapter is not that of adapter.start={start.place}" if name else ""
    if initialization(plan) in {"True", "gaussian"} and _has_effect(model):
        return "the new adapter is on and trained already"
    return ""


def _is_equal(weight: Tensor, saved: Tensor) -> bool:
    return weight.is_meta or torch.equal(weight.detach().cpu().float(), saved.float())


def _has_effect(model: PeftModel) -> bool:
    """Whether an adapter that begins with B = 0 adds something to its base."""
    trained = (weight for name, weight in model.named_parameters() if "lora_B" in name and weight.requires_grad)
    return any(bool(weight.count_nonzero()) for weight in trained)


def at_start(plan: Plan, model: Any) -> Callable[[], AbstractContextManager[None]]:
    """Return a context manager in which a model is as its training starts; call this before the first step.

    A new adapter that adds nothing is switched off. Of other trained weights a copy is kept, which takes their place.
    """
    if isinstance(model, PeftModel) and plan.start(weights=False) is None and not _has_effect(model):
        return cast("Callable[[], AbstractContextManager[None]]", model.disable_adapter)
    copies = [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]

    @contextmanager
    def start() -> Iterator[None]:
        trained = [weight.data for weight, _ in copies]
        for weight, copy in copies:
            weight.data = copy
        try:
            yield
        finally:
            for (weight, _), data in zip(copies, trained, strict=True):
                weight.data = data

    return start


def fingerprints(model: Any, *, is_new: bool) -> tuple[str, str]:
    """Return a hash over the base and one over what is added to it: weights, buffers, and what they are scaled by.

    Of the base its config counts too, and not its folder. A new adapter whose B is 0 adds nothing, whatever its rank.

    Args:
        model: as it is when the training starts.
        is_new: whether its adapter is new.
    """
    base, adapter = hashlib.sha256(), hashlib.sha256()
    adapted = isinstance(model, PeftModel)
    silent = is_new and adapted and not _has_effect(model)
    config = {name: value for name, value in model.config.to_dict().items() if name not in PLACE}
    base.update(key_of(config).encode())
    for name, weight in _tensors(model):
        added = adapted and ("lora_" in name or weight.requires_grad)
        if silent and "lora_" in name:
            continue
        target = adapter if added else base
        target.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        target.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    for name, layer in model.named_modules():
        if isinstance(layer, BaseTunerLayer) and not silent:
            adapter.update(f"{name} {sorted(getattr(layer, 'scaling', {}).items())}".encode())
    return base.hexdigest(), adapter.hexdigest()


def _tensors(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Give weights, buffers, and the scales of weights in four bits."""
    for name, weight in chain(model.named_parameters(), model.named_buffers()):
        yield name, weight
        state = getattr(weight, "quant_state", None)
        for part, scale in (state.as_dict() if state is not None else {}).items():
            if torch.is_tensor(scale):
                yield f"{name}.{part}", scale


def start_problem(loss: float, expected: float, deviation: float, scores: StartScores, *, half: bool) -> str:
    """Say what is wrong with the first loss; empty if it is what it is for a model that is its own reference.

    Args:
        loss: the loss of the first step.
        expected: that of the reference in place of the model.
        deviation: how far a log-probability is from the reference, on average.
        scores: the scores of the reference.
        half: whether the model computes in 16 bits.
    """
    if deviation <= (HALF_TOLERANCE if half else TOLERANCE):
        return ""
    stale = f"the scores in {scores.file} are of other weights: remove the file"
    why = stale if scores.kept else "the model does not give the same scores twice"
    return (
        f"the first loss is {loss:.4f}, and {expected:.4f} for a model that is its own reference; the log-probability "
        f"of a token is {deviation:.2g} away from that of the reference: {why}"
    )


def row_key(row: TokenRow) -> bytes:
    """Return a hash over the tokens of a row, and those that are learned."""
    content = np.asarray([row.input_ids, row.labels], np.int64).tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()
