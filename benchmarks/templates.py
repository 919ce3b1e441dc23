"""Which chat templates can be trained on which rows, over those that come with TRL and with llama.cpp.

    python -m benchmarks.templates --model FOLDER
    python -m benchmarks.templates --model FOLDER --more llama_cpp_python-0.3.36.tar.gz --table FILE.md

docs/reference/chat-templates.md was made by the second line.

The tokenizer of FOLDER (SmolLM2's) gets the special tokens that a template writes, and cuts words as Llama 3's does; so
this is about templates, not about the tokenizers of these models. `--more` takes the source archive of
llama_cpp_python, whose `models/templates` are read. Exit code 1 where labels are wrong, where settings that a refusal
names do not help, or where a refusal is of no listed kind.
"""

from __future__ import annotations

import importlib.metadata
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from benchmarks.common import OUT, command_line
from tests.support.families import trl_templates
from tests.support.template_survey import KINDS, ROWS, Outcome, outcomes, tokenizer_for

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FAMILIES = {
    "Qwen3": ("qwen3", "qwen3_instruct_2507"),
    "Qwen3.5": ("qwen3_5_nothink", "qwen3_5_think"),
    "Qwen3.6 and 3.8": ("qwen3_6", "qwen3_8"),
    "Gemma 3": ("gemma3",),
    "Gemma 4": ("gemma4_v5", "google-gemma-4-31B-it"),
    "gpt-oss": ("gptoss",),
    "Llama 3.1 and 3.2": ("llama3_1", "llama3_2"),
    "Muse Glimmer": ("muse_glimmer",),
    "Ministral 3": ("mistralai-Ministral-3-14B-Reasoning-2512",),
    "Mistral Small": ("Mistral-Small-3.2-24B-Instruct-2506",),
    "LFM2 and LFM2.5": ("lfm2_v2", "lfm2_2_5_v2"),
    "Granite 4": ("ibm-granite-granite-4.0", "ibm-granite-granite-4.1"),
    "GLM-4.7-Flash": ("GLM-4.7-Flash",),
    "Nemotron 3": ("nemotron_3_nano",),
}
"""The templates of the model presets; those of Mistral 7B, Olmo 3 and Phi-4 come with neither library."""
HEAD = """# Chat templates that were tried

Made by `benchmarks/templates.py` from the {count} different templates of TRL {trl} and {more}, with ten kinds of rows:
{numbered}.

Kinds after "yes" are exact as they are: the prompt is what inference is given, and the learned tokens end with the stop
token. A setting is the one that the refusal of the row names, and with it the row is exact. A word in italics says why
no setting helps:

{kinds}

Of {total} rows, {exact} are exact as they are, {settings} are exact with the setting that the refusal names, and
{refused} are refused. Exact rows with wrong labels: {wrong}; the labels were computed a second time, by another rule.
The tokenizer is a stand-in with the special tokens of each template: a model's own tokenizer may refuse more.

The templates of the model presets, except those of Mistral 7B, Olmo 3 and Phi-4, which come with neither:

{families}

"""


def main() -> int:
    """Try all templates and print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder with SmolLM2's tokenizer")
    parser.add_argument("--more", type=Path, help="source archive of llama_cpp_python")
    parser.add_argument("--table", type=Path, help="write the table there")
    parsed = parser.parse_args()
    found = {name: _outcomes(parsed.model, text) for name, text in sorted(_templates(parsed.more))}
    every = [(name, kind, outcome) for name, rows in found.items() for kind, outcome in rows.items()]
    counts = Counter("refused" if one.kind else "settings" if one.settings else "exact" for *_, one in every)
    for name, kind, outcome in every:
        if outcome.wrong or outcome.unlisted:
            OUT.print(f"{name}, {kind}: {'WRONG' if outcome.wrong else 'of no kind'}: {outcome.problem}")
    kinds = "\n".join(f"- *{kind}*: {what}." for kind, what in KINDS.items())
    trl = importlib.metadata.version("trl")
    more = parsed.more.name.removesuffix(".tar.gz").replace("-", " ") if parsed.more else "nothing else"
    wrong = sum(one.wrong for *_, one in every) or "none"
    families = "\n".join(
        f"- {family}: {', '.join(f'`{name}`' for name in names)}" for family, names in FAMILIES.items()
    )
    numbered = ", ".join(f"{number} {kind}" for number, kind in enumerate(ROWS, 1))
    text = HEAD.format(
        families=families, numbered=numbered, count=len(found), trl=trl, more=more, kinds=kinds, total=len(every),
        wrong=wrong, **counts,
    )  # fmt: skip
    text += "\n".join(_table(found)) + "\n"
    OUT.print(text)
    if parsed.table:
        parsed.table.write_text(text, encoding="utf-8")
    return 1 if any(outcome.wrong or outcome.unlisted for *_, outcome in every) else 0


def _templates(archive: Path | None) -> Iterator[tuple[str, str]]:
    """Give names and texts; of equal ones the first."""
    known = set[str]()
    for name, text in (*_of_trl(), *(_of_archive(archive) if archive else ())):
        if text not in known:
            known.add(text)
            yield name, text


def _of_trl() -> Iterator[tuple[str, str]]:
    for name, file in trl_templates().items():
        if not name.endswith("_training"):  # the same with marks for its own masks
            yield name, file.read_text(encoding="utf-8")


def _of_archive(archive: Path) -> Iterator[tuple[str, str]]:
    with tarfile.open(archive) as files:
        for member in files:
            path = Path(member.name)
            if path.parent.name == "templates" and path.suffix == ".jinja" and (file := files.extractfile(member)):
                yield path.stem, file.read().decode("utf-8")


def _outcomes(model: Path, template: str) -> dict[str, Outcome]:
    base = AutoTokenizer.from_pretrained(model)
    assert isinstance(base, PreTrainedTokenizerFast)
    cut = pre_tokenizers.Split(Regex(WORDS), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    base.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, as_bytes])
    return outcomes(*tokenizer_for(base, template))


def _table(found: dict[str, dict[str, Outcome]]) -> Iterator[str]:
    names_by_text: dict[str, list[str]] = {}
    for name, rows in found.items():
        kinds: dict[str, list[int]] = {}
        for number, outcome in enumerate(rows.values(), 1):
            kinds.setdefault(_cell(outcome), []).append(number)
        text = "; ".join(f"{cell} {_spans(numbers)}" for cell, numbers in kinds.items())
        names_by_text.setdefault(text, []).append(name)
    yield from (f"- {', '.join(names)}: {text}" for text, names in names_by_text.items())


def _spans(numbers: list[int]) -> str:
    """Write numbers in their order: `1-3,7`."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][-1] == number - 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    return ",".join(f"{span[0]}-{span[-1]}" if len(span) > 1 else f"{span[0]}" for span in spans)


def _cell(outcome: Outcome) -> str:
    return f"*{outcome.kind}*" if outcome.kind else f"`{outcome.settings}`" if outcome.settings else "yes"


if __name__ == "__main__":
    sys.exit(main())
