"""Writes docs/reference/trl-fields.md: what each field of TRL's configs of methods is.

python -m tests.support.library_fields
"""

from __future__ import annotations

import dataclasses
import json
import re
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

from framework.config.other_tools import NAMES

KEY = re.compile(r"[a-z_]+(?:\.[A-Za-z_]+)+(?:=[^\s,]+)?|^[a-z_]+$|\b[a-z_]+=[^\s,]+")
"""A setting in a sentence."""
PAGE = Path(__file__).resolve().parents[2] / "docs/reference/trl-fields.md"
NOT_USED = "is not used here: "


def methods() -> dict[str, tuple[Any, Any]]:
    """Return TRL's config of each method, and ours, by the name of TRL's."""
    from trl import DPOConfig, GRPOConfig, KTOConfig
    from trl.experimental.cpo import CPOConfig
    from trl.experimental.orpo import ORPOConfig

    from framework_plugins.methods import config

    theirs = DPOConfig, KTOConfig, GRPOConfig, CPOConfig, ORPOConfig
    ours = config.DpoConfig, config.KtoConfig, config.GrpoConfig, config.CpoConfig, config.OrpoConfig
    return {trl_class.__name__: (trl_class, our_class) for trl_class, our_class in zip(theirs, ours, strict=True)}


def answer(name: str, ours: Any) -> str:
    """Say what a field of TRL's config of a method is here; empty if nothing does."""
    from framework_plugins.hf.settings.library_fields import SFT_INSTEAD
    from framework_plugins.methods.trl_fields import INSTEAD

    if name in {field.name for field in dataclasses.fields(ours)}:
        return f"is called method.{name} here"
    if name == "simpo_gamma" or name not in SFT_INSTEAD:
        return INSTEAD.get(name, "")
    return SFT_INSTEAD[name].partition("; trainer=trl")[0]


def page() -> str:
    """Return the page of the fields of TRL's configs of methods."""
    from trl import SFTConfig

    common = {field.name: default_of(field) for field in dataclasses.fields(SFTConfig) if field.init}
    lines = [
        "# Fields of TRL's configs",
        "",
        "What each field of the configs of DPO, KTO, GRPO, CPO and ORPO is here, with TRL's default, and ours if it is",
        "another.",
        f"`python -m tests.support.library_fields` writes it, from TRL {version('trl')}; a test fails if TRL has",
        "a field without an answer. Typing a field, such as `trainer.beta=0.1`, names the setting. What is not offered",
        "is a field of [`trainer=trl`](../how-to/trl.md), `trainer.args.NAME`, with the classes that it trains with.",
    ]
    shared: dict[str, str] = {}
    for title, (theirs, ours) in methods().items():
        lines += ["", f"## {title}", ""]
        missing: dict[str, list[str]] = {}
        for field in (candidate for candidate in dataclasses.fields(theirs) if candidate.init):
            default, reply = default_of(field), answer(field.name, ours)
            if "method." not in reply and common.get(field.name, field) == default:
                shared[field.name] = reply
                continue
            if reply.startswith(NOT_USED):
                missing.setdefault(_here(reply), []).append(f"`{field.name}`")
                continue
            our_default = _own_default(field.name, reply, ours)
            ours_too = f"; here {our_default}" if our_default not in {"", _shown(default)} else ""
            lines.append(f"- `{field.name}`: {_here(reply)}, {_shown(default)}{ours_too}")
        lines += _not_offered(missing)
    lines += [
        "",
        "## Fields of all of them",
        "",
        "These are in SFTConfig too, with the same default. [The table of other",
    ]
    lines += ["tools](../tutorial/coming-from.md#axolotl-llama-factory-trl) has the rest. A field that is on neither"]
    lines += ["page is refused, with the reason, if you set it as `trainer.args.NAME`.", ""]
    offered: dict[str, list[str]] = {}
    for name in sorted(shared):
        if not shared[name].startswith(NOT_USED) and name not in NAMES:
            offered.setdefault(_here(shared[name]), []).append(f"`{name}`")
    lines += [f"- {', '.join(names)}: {here}" for here, names in offered.items()]
    return "\n".join(lines) + "\n"


def _not_offered(missing: dict[str, list[str]]) -> list[str]:
    return (
        ["", "Not offered:", "", *(f"- {', '.join(names)}: {why}" for why, names in missing.items())] if missing else []
    )


def _here(reply: str) -> str:
    """Return an answer as a cell: the setting, or why there is none."""
    for words in ("is called ", "is "):
        if reply.startswith(words) and reply.endswith(" here"):
            return KEY.sub(r"`\g<0>`", reply.removeprefix(words).removesuffix(" here").rstrip(","))
    return reply.removeprefix(NOT_USED).partition("; trainer=trl")[0]


def _own_default(name: str, reply: str, ours: Any) -> str:
    """Return the default of the setting that a field is."""
    from framework_plugins.hf.settings.config import HFTrainerConfig

    setting = re.search(r"(method|trainer)\.(\w+)", reply)
    if not setting or reply.startswith(NOT_USED):
        return ""
    schema = ours if setting[1] == "method" else HFTrainerConfig
    field = next((candidate for candidate in dataclasses.fields(schema) if candidate.name == setting[2]), None)
    if field is None:
        return ""
    if name == "learning_rate":
        return f"{ours.adapter_rates.usual:g}, with `adapter=full` {ours.full_rates.usual:g}"
    return _shown(default_of(field))


def _shown(value: Any) -> str:
    values = [_plain(part) for part in value] if isinstance(value, list) else value
    return f"`{json.dumps(values)}`"


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field as a plain value."""
    return _plain(field.default if field.default is not dataclasses.MISSING else _made(field.default_factory))


def _made(factory: Any) -> Any:
    return None if factory is dataclasses.MISSING else factory()


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, bool | int | float | str | list | dict | None) else type(value).__name__


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
