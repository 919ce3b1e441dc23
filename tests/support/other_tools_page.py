"""The table of docs/tutorial/coming-from.md, made from the names that the program answers.

python -m tests.support.other_tools_page    writes it; `make reference` does too
"""

from __future__ import annotations

from pathlib import Path

from framework.config.other_tools import NAMES, VALUES, Equivalent

PAGE = Path(__file__).parents[2] / "docs" / "tutorial" / "coming-from.md"
BEYOND = {
    "Axolotl: no `adapter`": "`adapter=full`",
    "Axolotl: `type: alpaca`, `type: chat_template`": "recognized from the fields",
    "Axolotl: `axolotl preprocess`": "`stages=[data]`",
    "LLaMA-Factory: `dataset_info.json`": "`format.columns={instruction: question, output: answer}`",
    "LLaMA-Factory: `llamafactory-cli export`": "`exporter=[merged,gguf]`, or `stages=[export] run_dir=RUN_DIR`",
    "LLaMA-Factory: `llamafactory-cli chat`": "`python -m framework chat RUN_DIR`",
    "TRL: `SFTTrainer(…).train()`": "a run",
    "TRL: `DPOTrainer`, `KTOTrainer`, `CPOTrainer`, `ORPOTrainer`, `GRPOTrainer`": "`method=dpo`, `kto`, `cpo`, "
    "`orpo`, `grpo`; [all their fields](../reference/trl-fields.md)",
    "TRL: other fields of `SFTConfig`": "in `trainer.args`, or refused with the reason",
}
"""Rows about things that are not settings of a file."""
START, END = "<!-- names: made by `make reference` -->\n", "<!-- end of names -->"


def table() -> str:
    """Return the list: an entry for each answer, with the names that have it."""
    plain = [f"`{name}`" for name, each in NAMES.items() if each.here == f"trainer.{name}={{}}"]
    rows = {", ".join(plain): "the same names in `trainer`, such as `trainer.learning_rate`"}
    by_text: dict[str, list[str]] = {}
    for name, each in NAMES.items():
        if each.here and each.here != f"trainer.{name}={{}}":  # the program says why there is nothing for the others
            by_text.setdefault(_cell(each), []).append(f"`{name}`")
    for name, values in VALUES.items():
        for value, here in values.items():
            if name in NAMES and here and not here.startswith(" #"):
                by_text.setdefault(f"`{here}`", []).append(f"`{name}: {value}`")
    rows |= {", ".join(names): text for text, names in by_text.items()}
    rows |= BEYOND
    return "\n".join(f"- {left}: {right}" for left, right in rows.items())


def _cell(each: Equivalent) -> str:
    key, _, value = each.here.partition("=")
    here = f"`{key}`" if value == "{}" else f"`{each.typed()}`"
    return f"{here}; {each.why}".replace("{}", "…") if each.why else here


def page() -> str:
    """Return the page with its table made again."""
    head, mark, rest = PAGE.read_text(encoding="utf-8").partition(START)
    return f"{head}{mark}\n{table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
