"""What can be told against a push before anything is loaded: it would fail in three hours otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from huggingface_hub import get_token

from framework.errors import unknown
from framework.plan import Plan
from framework.schema import Stage
from framework_exports.config import PushExporterConfig

NOT_PUSHED = frozenset({"push", "model_card"})
"""Exporters whose artifacts are no artifact of their own on the Hub: a card goes with its folder."""


def push_problems(plan: Plan) -> Iterator[str]:
    """Say what keeps a push from succeeding."""
    for key, choice in plan.exporter.items():
        if not isinstance(choice.config, PushExporterConfig):
            continue
        exported = [name for name in plan.exporter if name not in NOT_PUSHED]
        for kind in choice.config.what:
            if kind not in exported:
                yield f"exporter.{key}.what: {unknown('exporter of this run', kind, exported)}"
        if not choice.config.dry_run and Stage.export in plan.stages and get_token() is None:
            yield (
                f"exporter.{key} needs a token of the Hub: log in with `hf auth login`, set HF_TOKEN, or look first "
                f"with exporter.{key}.dry_run=true"
            )
