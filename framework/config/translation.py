"""A config file of Axolotl, LLaMA-Factory or TRL, read by value, as the overrides of the same run here."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from framework.api.component import GROUPS
from framework.api.fields import as_text, fields
from framework.api.text.overrides import override_key, quoted
from framework.config.limits import check_file
from framework.config.other_tools import AXOLOTL, FACTORY, NAMES, OPTIONS, TRL, Equivalent, equivalent_of
from framework.hooks.session import current
from framework.util.errors import FrameworkError, summarize_error

FEWEST_NAMES = 3
"""Names of one tool that make a file one of its configs."""
NOT_KNOWN = "not known here"
PLACEHOLDER = "FILE.jsonl"
"""Where a command says that a file is to be named: there is none of that name, so nothing is trained on."""
METHODS = ("dpo", "kto", "orpo", "cpo", "simpo", "grpo")
"""Those of TRL, where the program that is started chooses one; the likeliest of those that share a setting first."""
DATA_KEYS = {
    "path", "name", "split", "type", "ds_type", "data_files", "field", "field_messages", "revision", "columns",
    "message_property_mappings", "message_field_role", "message_field_content", "shards", "preprocess_shards",
}  # fmt: skip
"""Settings of a data set that are translated, or that only say how fast or in which order it is read."""
CONVERSATIONS = ("messages", "conversations")
"""Fields of conversations that need no `format.columns`."""
FACTORY_FIELDS = {"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
"""Columns of dataset_info.json, and the fields of our formats, which are also their defaults there."""


@dataclass
class Translation:
    """The overrides of a run like that of another tool, and the settings that are not among them.

    Attributes:
        tool: whose config it is.
        overrides: words to type, by key.
        remarks: for each setting that no override stands for, what becomes of it.
    """

    tool: str
    overrides: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)

    def add(self, setting: str, *words: str) -> None:
        """Add the overrides of a setting. Lists of options are joined; of two values for a key, the first is kept."""
        for word in words:
            key, _, value = word.partition("=")
            earlier = self.overrides.get(key, word)
            group = GROUPS.get(key)
            if group and group.several:
                names = dict.fromkeys(re.findall(r"[\w-]+", f"{earlier.partition('=')[2]} {value}"))
                self.overrides[key] = f"{key}=[{','.join(names)}]"
            elif earlier == "adapter=lora":  # DoRA and rsLoRA are LoRA with a switch elsewhere
                self.overrides[key] = word
            elif word in (earlier, "adapter=lora"):
                self.overrides.setdefault(key, word)
            else:
                self.remarks[setting] = f"{word} contradicts {earlier}, which is kept"

    def words(self) -> list[str]:
        """Return the overrides in the order of the groups, the option of each before its settings."""
        order = {name: index for index, name in enumerate(GROUPS)}
        return sorted(
            self.overrides.values(), key=lambda word: order.get(override_key(word).partition(".")[0], len(order))
        )


def read_config(path: Path) -> Translation | None:
    """Read a YAML file as a config of another tool; None if it is none.

    Raises:
        FrameworkError: it cannot be read.
    """
    check_file(path)
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", "") or summarize_error(error)
        raise FrameworkError(f"{path}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {problem}") from error
    settings = settings if isinstance(settings, dict) else {}
    counts = {
        tool: sum(tool in NAMES[key].tools for key in settings if key in NAMES) for tool in (AXOLOTL, FACTORY, TRL)
    }
    tool = max(counts, key=counts.__getitem__)
    if counts[tool] < FEWEST_NAMES:
        return None
    translation = translate(tool, settings, path.parent)
    _add_method(translation)
    if "data" not in translation.overrides:  # without it, the command would train on the rows of the quickstart
        translation.add("data", "data=local_file", f"data.path={PLACEHOLDER}")
        if "dataset" not in translation.remarks:
            translation.remarks["data"] = f"none is named: put your file instead of {PLACEHOLDER}"
    return translation


def translate(tool: str, settings: Mapping[str, Any], folder: Path) -> Translation:
    """Translate the settings of a file.

    Args:
        tool: whose file it is.
        settings: of the file. What is empty or switched off says nothing; `trl: {…}` holds settings of its own.
        folder: of the file, which relative paths may start from.
    """
    translation = Translation(tool)
    nested = settings.get("trl") if tool == AXOLOTL else None
    settings = {key: value for key, value in settings.items() if key != "trl"} | (nested or {})
    for name, value in settings.items():
        if value is None or value is False or value in ("", [], {}):
            continue
        if special := SPECIAL.get(name):
            special(translation, value, settings, folder)
        elif equivalent := _equivalent(str(name), value):
            _add(translation, str(name), value, equivalent)
        else:
            translation.remarks[str(name)] = NOT_KNOWN
    if tool == AXOLOTL and not settings.get("adapter"):
        translation.add("adapter", "adapter=full")
    return translation


def _add_method(translation: Translation) -> None:
    """Choose the method that the settings are of, if none is named, as in a file of TRL."""
    names = {key.partition(".")[2] for key in translation.overrides if key.startswith("method.")}
    if not names or "method" in translation.overrides:
        return
    options = current().plugins.components("method")
    fit = [
        name for name in METHODS if name in options and names <= {each.name for each in fields(options[name].schema)}
    ]
    if fit:
        translation.overrides = {"method": f"method={fit[0]}", **translation.overrides}  # before its settings
        translation.remarks["method"] = f"none is named: method={'|'.join(fit)} has {', '.join(sorted(names))}"


def _equivalent(name: str, value: Any) -> Equivalent | None:
    """Return the equivalent of a setting, from the tables or as a setting of ours with the same name."""
    equivalent = OPTIONS.get((name, value)) if isinstance(value, str) else None
    if equivalent := equivalent or equivalent_of(name, value):
        return equivalent
    for group in ("trainer", "method", "adapter"):
        schemas = [component.schema for component in current().plugins.components(group).values()]
        if any(name == setting.name for schema in schemas for setting in fields(schema)):
            return Equivalent((), f"{group}.{name}={{}}")
    return None


def _add(translation: Translation, name: str, value: Any, equivalent: Equivalent) -> None:
    _, _, template = equivalent.here.partition("=")
    if not equivalent.here or (template and "FILE" in template) or ("=" not in equivalent.here):
        why = f"{equivalent.here}: {equivalent.why}" if equivalent.here else equivalent.why
        is_default = equivalent.is_default and not equivalent.here
        translation.remarks[name] = f"{as_text(value)} is the default" if is_default else why
        return
    if isinstance(value, dict) and equivalent.takes_value:
        translation.remarks[name] = f"{equivalent.here.partition('=')[0]}, which takes other values"
        return
    if equivalent.is_default and not equivalent.takes_value:
        return
    words = equivalent.overrides(value)
    for word in words:
        if problem := _wrong_option(word):
            translation.remarks[name] = problem
            return
    translation.add(name, *words)


def _wrong_option(word: str) -> str:
    """Say that a group has no such option; empty if it has, or if the word sets something else."""
    key, _, value = word.partition("=")
    group = GROUPS.get(key)
    if group is None or group.several or value in current().plugins.components(group):
        return ""
    return f"{word} is not available; {', '.join(current().plugins.components(group))} are"


def _dtype(dtype: str) -> Callable[..., None]:
    def add(translation: Translation, value: Any, *_: Any) -> None:
        if str(value).lower() != "auto":
            translation.add(dtype, f"trainer.dtype={dtype}")

    return add


def _betas(translation: Translation, _value: Any, settings: Mapping[str, Any], _folder: Path) -> None:
    betas = [settings.get("adam_beta1", 0.9), settings.get("adam_beta2", 0.999)]
    translation.add("adam_beta1", f"optimizer.betas={quoted(betas)}")


def _steps(key: str) -> Callable[..., None]:
    def add(translation: Translation, value: Any, settings: Mapping[str, Any], _folder: Path) -> None:
        name = key.rpartition(".")[2]
        strategy = str(settings.get(name.replace("steps", "strategy"), "steps")).lower()
        if isinstance(value, float) and not value.is_integer():
            translation.remarks[name] = f"{key} is a number of steps, not a share of them"
        elif strategy == "steps":
            translation.add(name, f"{key}={int(value) if isinstance(value, float) else value}")

    return add


def _trackers(translation: Translation, value: Any, *_: Any) -> None:
    names = value if isinstance(value, list) else [value]
    loggers = [name for name in map(str, names) if name in current().plugins.components("logger")]
    if loggers:
        translation.add("report_to", f"logger=[{','.join(['console', *loggers])}]")
    for name in names:
        if name == "all":
            translation.remarks["report_to"] = "no tracker is chosen by all: name them, as in logger=[console,wandb]"
        elif name not in {*loggers, "none"}:
            translation.remarks["report_to"] = (
                f"{name} is not available; {', '.join(current().plugins.components('logger'))} are"
            )


def _targets(translation: Translation, value: Any, *_: Any) -> None:
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [str(name) for name in value]
    if names not in (["all"], ["all-linear"]):
        translation.add("lora_target_modules", f"adapter.target_modules={quoted(names)}")


def _parts(key: str) -> Callable[..., None]:
    def add(translation: Translation, value: Any, *_: Any) -> None:
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
        translation.add(key, f"{key}={quoted(names)}")

    return add


def _template(translation: Translation, value: Any, settings: Mapping[str, Any], _folder: Path) -> None:
    if not settings.get("chat_template_jinja") and not str(value).startswith("tokenizer_default"):
        translation.remarks["template" if "template" in settings else "chat_template"] = (
            f"the tokenizer's own template is used; a base model without one takes model.chat_template={value}"
        )


def _datasets(translation: Translation, value: Any, _settings: Mapping[str, Any], folder: Path) -> None:
    """Translate the data sets of Axolotl and TRL: the first is the run's, others are named with the line to mix in."""
    entries = [
        entry if isinstance(entry, dict) else {"path": entry}
        for entry in (value if isinstance(value, list) else [value])
    ]
    dataset, *mixed_in = entries
    path = str(dataset.get("path") or "")
    files = dataset.get("data_files")
    source = str(files[0] if isinstance(files, list) and files else files or path)
    _source(translation, source, folder, is_file=bool(files or dataset.get("ds_type")))
    if translation.overrides.get("data") == "data=hub":
        names = {"name": "data.name", "split": "data.split", "revision": "data.revision"}
        translation.add(
            "datasets", *(f"{key}={quoted(dataset[name])}" for name, key in names.items() if dataset.get(name))
        )
    _row_type(translation, dataset.get("type"), dataset)
    if unread := [str(key) for key in dataset if key not in DATA_KEYS and not str(key).startswith("field_")]:
        translation.remarks["datasets"] = f"{', '.join(unread)}: {NOT_KNOWN}"
    for index, entry in enumerate(mixed_in, 1):
        other_path = str(entry.get("path"))
        translation.remarks[f"datasets[{index}]"] = _mixed(
            "local_file" if _is_file(other_path, folder) else "hub", other_path
        )


def _mixed(option: str, path: str) -> str:
    return (
        f"left out; data.mix=[{{data: {option}, path: {path}, weight: 0.5}}] mixes it in, with a weight that you choose"
    )


def _row_type(translation: Translation, kind: Any, entry: Mapping[str, Any]) -> None:
    """Translate how a row of Axolotl is read."""
    if isinstance(kind, dict):
        columns = {
            ours: kind[theirs]
            for theirs, ours in (
                ("field_instruction", "instruction"),
                ("field_input", "input"),
                ("field_output", "output"),
                ("field_system", "system"),
            )
            if kind.get(theirs) and kind[theirs] != ours
        }
        if columns:
            translation.add("datasets", f"format.columns={quoted(columns)}")
        if kind.get("system_prompt"):
            translation.add("datasets", f"format.system_prompt={quoted(kind['system_prompt'])}")
        if unread := [key for key in kind if key in {"format", "no_input_format"}]:
            translation.remarks["datasets.type"] = f"{', '.join(unread)}: the chat template of the model is used"
        return
    name = str(kind or "")
    if name.startswith("alpaca"):
        translation.add("datasets", "format=alpaca")
    elif name.startswith("completion"):
        translation.add("datasets", "format=text")
        if (text := entry.get("field")) and text != "text":
            translation.add("datasets", f"format.columns={quoted({'text': text})}")
    elif name and not name.startswith(("chat_template", "sharegpt", "chatml")):
        translation.remarks["datasets.type"] = f"{name}: the fields of the rows decide, or format=NAME"
    messages = entry.get("field_messages")
    if messages and messages not in CONVERSATIONS:
        translation.add("datasets", f"format.columns={quoted({'messages': messages})}")


def _source(translation: Translation, path: str, folder: Path, *, is_file: bool = False) -> None:
    """Add the overrides of where rows come from."""
    if is_file or _is_file(path, folder):
        location = path if Path(path).exists() or not (folder / path).exists() else str(folder / path)
        translation.add("datasets", "data=local_file", f"data.path={quoted(location)}")
    else:
        translation.add("datasets", "data=hub", f"data.path={quoted(path)}")


def _is_file(path: str, folder: Path) -> bool:
    exists = Path(path).expanduser().exists() or (folder / path).exists()
    return (
        exists
        or bool(re.search(r"\.(jsonl?|csv|tsv|parquet|arrow|txt)(\.gz|\.zst)?$", path))
        or path[:1] in ("/", ".", "~")
    )


def _hub_name(translation: Translation, value: Any, _settings: Mapping[str, Any], folder: Path) -> None:
    _source(translation, str(value), folder)


def _registered(translation: Translation, value: Any, settings: Mapping[str, Any], folder: Path) -> None:
    """Translate the names of data sets of LLaMA-Factory by dataset_info.json."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else [str(name) for name in value]
    dataset_dir = str(settings.get("dataset_dir") or "data")
    candidates = [parent / "dataset_info.json" for parent in (Path(dataset_dir), folder / dataset_dir, folder)]
    table = next((candidate for candidate in candidates if candidate.is_file()), None)
    entries: Any = {}
    if table:
        check_file(table)
        try:
            entries = json.loads(table.read_text(encoding="utf-8"))
        except ValueError as error:
            raise FrameworkError(f"{table} is not valid JSON: {summarize_error(error)}") from error
    entry = entries.get(names[0]) if isinstance(entries, dict) else None
    if not isinstance(entry, dict):
        where = (
            f"{table} has no data set of this name"
            if table
            else f"there is no {candidates[0]} here, which says what it is"
        )
        translation.remarks["dataset"] = (
            f"{names[0]}: {where}. Put its file instead of {PLACEHOLDER}, or set data=hub data.path=OWNER/NAME"
        )
    elif file := entry.get("file_name"):
        path = Path(table.parent if table else folder, str(file))
        translation.add("dataset", "data=local_file", f"data.path={quoted(str(path))}")
    elif hub := entry.get("hf_hub_url"):
        words = {"data.name": entry.get("subset"), "data.split": entry.get("split")}
        translation.add(
            "dataset",
            "data=hub",
            f"data.path={quoted(hub)}",
            *(f"{key}={quoted(name)}" for key, name in words.items() if name),
        )
    else:
        translation.remarks["dataset"] = f"{names[0]} is a script or on another hub, which is not read here"
    columns = (entry or {}).get("columns") or {}
    renamed = {
        FACTORY_FIELDS.get(theirs, theirs): column
        for theirs, column in columns.items()
        if column not in {FACTORY_FIELDS.get(theirs, theirs), *CONVERSATIONS}
    }
    if renamed:
        translation.add("dataset", f"format.columns={quoted(renamed)}")
    for name in names[1:]:
        translation.remarks[f"dataset {name}"] = _mixed("local_file", "FILE")


def _ignore(*_: Any) -> None:
    """Do nothing: the function of another setting reads this one."""


SPECIAL: dict[str, Callable[..., None]] = {
    "adam_beta1": _betas, "adam_beta2": _betas,
    "additional_target": _parts("adapter.modules_to_save"), "bf16": _dtype("bf16"), "fp16": _dtype("fp16"),
    "chat_template": _template, "dataset": _registered, "dataset_dir": _ignore, "dataset_name": _hub_name,
    "datasets": _datasets, "eval_steps": _steps("trainer.eval_steps"), "eval_strategy": _ignore,
    "lora_target": _targets, "lora_target_modules": _targets, "report_to": _trackers,
    "save_steps": _steps("trainer.save_steps"), "save_strategy": _ignore, "template": _template,
}  # fmt: skip
"""Settings whose override depends on more than one value."""
