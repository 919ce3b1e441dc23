"""Limits on what a user writes: Hydra, ANTLR and PyYAML would take minutes to read more.

A config may come from somebody else or from a program: it may be a YAML bomb, endlessly deep, or not text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import yaml
from hydra.core.override_parser.types import Override, RangeSweep
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.util.errors import FrameworkError, describe_character, display_path

MAX_FILE_BYTES, MAX_NESTING, MAX_VALUES = 100_000, 50, 5_000
"""Bytes of a file, levels of nesting, and values, each alias counted as all that it stands for."""
MAX_CHARACTERS, MAX_LIST_VALUES = 20_000, 1_000
"""Characters of an override, and values in it; Hydra takes two milliseconds to read a value."""
MAX_TRIALS = 10_000
"""Values that a sweep may try, and combinations of them."""
MAX_DIGITS = 4_300
"""Digits of a number: Python reads no more."""
TOO_LONG = f"more than {MAX_DIGITS:,} digits: write a shorter one, or put a text of digits into quotes"
_LONG_NUMBER = re.compile(rf"(?<![\w.])(?:\d_?){{{MAX_DIGITS + 1},}}(?![\w.])")
_SCALARS = {"!!int", "!!float", "!!bool", "!!null"}
_NULL, _TEXT, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "str", "merge"))
_QUOTED = re.compile(r"(['\"])(?:(?!\1)[^\\]|\\.)*\1", re.DOTALL)


def check_words(words: Sequence[str], where: str = "") -> None:
    """Refuse overrides that could not be read in bounded time.

    Args:
        words: arguments of a command line.
        where: the file that holds them; empty for a command line.

    Raises:
        FrameworkError: names the override, and the limit that it exceeds.
    """
    for word in words:
        # The word may have a million characters: only its key, or its beginning, is shown.
        key = word[: min(word.find("=") + 1 or 40, 80)]
        name = f"{where}: {key}…" if where else f"{key}…"
        if len(word) > MAX_CHARACTERS:
            raise FrameworkError(
                f"{name} has {len(word):,} characters, more than {MAX_CHARACTERS:,}: write a long value into a "
                "config file"
            )
        # The pattern is slow on long words, and most have nothing to count.
        bare = _QUOTED.sub("", word) if "," in word or "[" in word or "{" in word or "(" in word else ""
        if len(word) > MAX_DIGITS and _LONG_NUMBER.search(_QUOTED.sub("", word)):
            raise FrameworkError(f"{name} has a number with {TOO_LONG}")
        depth = 0
        for letter in re.findall(r"[\[{()}\]]", bare):
            depth += 1 if letter in "[{(" else -1
            if depth > MAX_NESTING:
                raise FrameworkError(f"{name} is nested more than {MAX_NESTING} levels deep, which no setting is")
        if bare.count(",") >= MAX_LIST_VALUES:
            raise FrameworkError(
                f"{name} has {bare.count(',') + 1:,} values, more than {MAX_LIST_VALUES:,}: write them into a config "
                "file, and put a text with commas into quotes"
            )


def swept_values(override: Override) -> float:
    """Return how many values a range has, without listing them; of what is not a range, 0."""
    sweep = override.value()
    if not isinstance(sweep, RangeSweep) or not sweep.step:
        return 0
    # In decimals: the quotient of two floats may be one off.
    steps = (Decimal(str(sweep.stop)) - Decimal(str(sweep.start))) / Decimal(str(sweep.step))
    return float(steps)


def _is_list(node: yaml.Node, entry: yaml.Node) -> bool:
    """Whether a value of an entry of a defaults list names several options; an entry itself names one."""
    return isinstance(node, yaml.SequenceNode) and node is not entry


def check_file(file: Path) -> None:
    """Refuse a file that could not be read in bounded time and memory; what is not YAML is left for Hydra to report.

    Raises:
        FrameworkError: names the file, and the line if there is one.
    """
    name = display_path(file)
    try:
        with file.open("rb") as opened:
            # One more than allowed: enough to know that there are too many.
            content = opened.read(MAX_FILE_BYTES + 1)
        text = content.decode("utf-8")
    except OSError as error:
        raise FrameworkError(f"{name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise FrameworkError(f"{name}:{line}: not UTF-8 ({error.reason}): save the file as UTF-8") from error
    if len(content) > MAX_FILE_BYTES:
        raise FrameworkError(
            f"{name} has more than {MAX_FILE_BYTES:,} bytes: a config file is for settings; put rows into a data file"
        )
    try:
        _check_values(text, name)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, text.find(chr(error.character))) + 1
        raise FrameworkError(
            f"{name}:{line}: YAML does not allow the character {describe_character(chr(error.character))}: remove it"
        ) from error
    except yaml.YAMLError:
        return
    if tree is not None:
        _check_form(tree, name)


def _check_form(tree: yaml.Node, name: str) -> None:
    """Refuse what is YAML and no config, for which Hydra and OmegaConf name neither the file nor the line."""
    if not isinstance(tree, yaml.MappingNode) and tree.tag != _NULL:
        raise FrameworkError(
            f"{name}:{tree.start_mark.line + 1}: a config file has to hold keys and values; this one holds a list or "
            "a text"
        )
    nodes = [tree]
    for node in nodes:  # grows while it is read
        where = f"{name}:{node.start_mark.line + 1}"
        if isinstance(node, yaml.ScalarNode) and "${" in node.value:
            try:
                OmegaConf.create({"value": node.value})
            except OmegaConfBaseException as error:
                reason = str(error).splitlines()[0]
                raise FrameworkError(f"{where}: {node.value} is not a valid reference: {reason}") from error
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag not in {_TEXT, _MERGE}:
                written = f"the key '{key.value}'" if isinstance(key, yaml.ScalarNode) else "a key"
                raise FrameworkError(
                    f"{name}:{key.start_mark.line + 1}: {written} is not text: write a name, or put it into quotes"
                )
            if node is tree and key.value == "defaults":
                _check_defaults(value, name)
            nodes.append(value)


def _check_defaults(node: yaml.Node, name: str) -> None:
    """Refuse a defaults list that is not a list of names and of choices."""
    for entry in node.value if isinstance(node, yaml.SequenceNode) else [node]:
        chosen = [value for _, value in entry.value] if isinstance(entry, yaml.MappingNode) else [entry]
        names = [name for value in chosen for name in (value.value if _is_list(value, entry) else [value])]
        if not isinstance(node, yaml.SequenceNode) or not chosen or not all(name.tag == _TEXT for name in names):
            raise FrameworkError(
                f"{name}:{entry.start_mark.line + 1}: 'defaults' is a list, whose entries are written '- NAME' or "
                "'- override /GROUP: OPTION'"
            )
        for option in (scalar.value for scalar in names):
            if [scalar.value for scalar in names].count(option) > 1:
                raise FrameworkError(f"{name}:{entry.start_mark.line + 1}: names {option} twice: give it once")


def _check_tag(tag: str, event: yaml.Event, where: str) -> None:
    short = tag.replace("tag:yaml.org,2002:", "!!")
    if not isinstance(event, yaml.ScalarEvent) or short not in _SCALARS:
        raise FrameworkError(f"{where}: a config has no tags such as {short}: write the value without it")
    try:
        yaml.SafeLoader("").construct_object(yaml.ScalarNode(tag, event.value))
    except (ValueError, LookupError, yaml.YAMLError) as error:
        raise FrameworkError(f"{where}: {short} {event.value!r} is not such a value: write the value alone") from error


def _check_values(text: str, name: str) -> None:
    """Count levels and values by the events of the parser, which holds no more than the line that it is at."""
    total = 0
    counts: dict[str, int] = {}  # of what has an anchor
    open_: list[tuple[str | None, int]] = []  # the anchor of each level, and the values before it
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1 if event.start_mark else 1}"
        if (tag := getattr(event, "tag", None)) not in {None, _TEXT}:
            _check_tag(tag, event, where)
        if isinstance(event, yaml.AliasEvent):
            # PyYAML makes a structure that contains itself, in which OmegaConf recurses without end.
            if event.anchor in {anchor for anchor, _ in open_}:
                raise FrameworkError(
                    f"{where}: *{event.anchor} is inside the block that it refers to, so it has no end"
                )
            total += counts.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if len(event.value) > MAX_DIGITS and event.implicit[0] and _LONG_NUMBER.search(event.value):
                raise FrameworkError(f"{where}: a number with {TOO_LONG}")
            if event.anchor:
                counts[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_.pop()
            if anchor:
                counts[anchor] = total - before
        if len(open_) > MAX_NESTING:
            raise FrameworkError(f"{where}: nested more than {MAX_NESTING} levels deep, which no setting is")
        if total > MAX_VALUES:
            raise FrameworkError(
                f"{where}: more than {MAX_VALUES:,} values with all *aliases expanded: write out what is meant"
            )
