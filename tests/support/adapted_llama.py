"""A GGUF file with a LoRA adapter on it, in llama.cpp: what `exporter=gguf_adapter` made, as its users load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from framework_plugins.exports.llama.library import first_error, library
from framework_plugins.exports.llama.model import Llama


class AdaptedLlama(Llama):
    """A model that takes an adapter."""

    _adapter: Any = None

    def use_adapter(self, file: Path) -> None:
        """Put a LoRA adapter on the model.

        Raises:
            ValueError: it does not belong to this model.
        """
        library().errors.clear()
        adapter = self._api.llama_adapter_lora_init(self._model, bytes(file))
        if not adapter:
            raise ValueError(f"llama.cpp cannot put the adapter {file} on {self.file}{first_error()}")
        given = self._types.new("struct llama_adapter_lora *[]", [adapter])
        self._api.llama_set_adapters_lora(self._context, given, 1, [1.0])
        self._adapter = adapter
        self._truncate_cache(0)

    def close(self) -> None:
        """Free the memory, the adapter's between what uses it and what it is of."""
        if self._adapter:
            self._api.llama_free(self._context)
            self._context = self._types.NULL
            self._api.llama_adapter_lora_free(self._adapter)
            self._adapter = None
        super().close()
