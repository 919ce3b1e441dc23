"""The tables of docs/tutorial/coming-from.md, made from the names that the program answers.

python -m tests.support.other_tools_page    writes them; `make reference` does too
"""

from __future__ import annotations

from pathlib import Path

from framework.config.other_tools import AXOLOTL, FACTORY, NAMES, TRL, VALUES, Equivalent

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "coming-from.md"
BEYOND = {
    AXOLOTL: {
        "no `adapter`": "`adapter=full`",
        "`type: alpaca`, `type: chat_template`": "recognized from the fields; `format=alpaca`, `format=chatml` to "
        "require it",
        "`axolotl preprocess`": "`stages=[data]`",
    },
    FACTORY: {
        "`dataset_info.json`": "`format.columns={instruction: question, output: answer}`",
        "`llamafactory-cli export`": "`exporter=[merged,gguf]` in the run, or `stages=[export] run_dir=RUN_DIR`",
        "`llamafactory-cli chat`": "`python -m framework chat RUN_DIR`",
    },
    TRL: {
        "`SFTTrainer(…).train()`": "a run: it evaluates, trains, evaluates again, and compares",
        "`DPOTrainer`, `KTOTrainer`, `CPOTrainer`, `ORPOTrainer`, `GRPOTrainer`": "`method=dpo`, `kto`, `cpo`, `orpo`, "
        "`grpo`; [every field of their configs](../reference/trl-fields.md)",
        "other fields of `SFTConfig`": "under their own names in `trainer.args`, or refused with the reason",
    },
}
"""Rows about things that are not settings of a file."""


def table(tool: str) -> str:
    """Return the table of one tool."""
    names = {name: each for name, each in NAMES.items() if tool in each.tools}
    plain = [f"`{name}`" for name, each in names.items() if each.here == f"trainer.{name}={{}}"]
    rows = {", ".join(plain): "the same names in `trainer`, such as `trainer.learning_rate`"}
    by_text: dict[str, list[str]] = {}
    for name, each in names.items():
        if each.here != f"trainer.{name}={{}}":
            by_text.setdefault(_cell(each), []).append(f"`{name}`")
    rows |= {", ".join(alike): text for text, alike in by_text.items()}
    for name in names:
        for value, here in VALUES.get(name, {}).items():
            if here and not here.startswith(" #"):
                rows[f"`{name}: {value}`"] = f"`{here}`"
    rows |= BEYOND[tool]
    return "\n".join([f"| {tool} | here |", "|---|---|", *(f"| {left} | {right} |" for left, right in rows.items())])


def _cell(each: Equivalent) -> str:
    if not each.here:
        return f"not available: {each.why}"
    key, _, value = each.here.partition("=")
    here = f"`{key}`" if value == "{}" else f"`{each.typed()}`"
    return f"{here}; {each.why}".replace("{}", "…") if each.why else here


def page() -> str:
    """Return the page with its tables made again."""
    text = PAGE.read_text(encoding="utf-8")
    for tool in (AXOLOTL, FACTORY, TRL):
        head, mark, rest = text.partition(f"<!-- {tool}: made by `make reference` -->\n")
        _, end, tail = rest.partition(f"<!-- end of {tool} -->")
        text = f"{head}{mark}\n{table(tool)}\n\n{end}{tail}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
