"""Takes secrets out of a config before anything is written, logged or uploaded.

Four things are secrets: text under a telling name and everything below it, text that gives a value to such a name
(`api_key=…`, `?token=…`, `Authorization: …`), what looks like a token, and what a telling environment variable holds.
Numbers and booleans are none, so `max_tokens=5` can be read.
"""

from __future__ import annotations

import os
import re
from typing import Any

HIDDEN = "(hidden)"
_TELLING = (
    r"(?:(?<![a-zA-Z])|(?<=[a-z])(?=[A-Z]))"  # the start of a word: of snake_case, Kebab-Case and camelCase
    r"(?i:(?<!pad_|eos_|bos_|unk_|sep_|cls_|eot_)(?<!mask_|stop_)(?<!image_|audio_|video_|added_)(?<!special_)token"
    r"|(?:api|private|access|signing|encryption|session|account|ssh)[_-]?key|secret|password|passwd|passphrase"
    r"|credential|auth|authorization|bearer|cookie|jwt)"
    r"(?i:s?)(?:(?![a-zA-Z])|(?<=[a-z])(?=[A-Z]))(?![_-](?i:column|field|type|level|mode|method|strategy)s?(?![a-z]))"
)
SECRET_NAME = re.compile(_TELLING)
"""Names of what is secret. A tokenizer's `pad_token` is not, nor is a `token_type` or an `auth_method`."""
SECRET_VALUE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|A(?:KIA|SIA)[0-9A-Z]{16})\b"
    r"|(?P<glued>hf_[A-Za-z0-9]{20,}|sk-(?:proj|ant|or|svcacct)-[\w-]{20,}|gh[pousr]_[A-Za-z0-9]{30,})"
    r"|github_pat_[A-Za-z0-9]{20,}\w*|(?<![A-Z0-9])A(?:KIA|SIA)[0-9A-Z]{16}(?![A-Z0-9])"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"
    r"|(?<=\bBearer )(?!auth|tokens?\b)[\w.~+/=-]+|(?<=\bBasic )(?=\S*[\d=])[\w+/-]{8,}={0,2}"
)
"""What is secret by its looks. A token that is glued to a word is one only where it was drawn at random: `run_hf_…` is
the beginning of ordinary names as well."""
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LONGEST_HUMP, _SHORT, _FEWEST_SHORT = 3.6, 2, 3
"""Characters between two changes of capitals, small letters and digits: about 2 on average in a token, 5 in a name, of
which hardly any has 2 or less."""
_HF_LENGTH = 34
_SWITCH = re.compile(r"(?i)true|false|null|none")
_NUMBER = re.compile(r"[+-]?[\d._]+(?:[eE][+-]?\d+)?|\[[\d.,\s]*\]")
_COUNT = re.compile(r"(?i)tokens|token_")
_VALUE = r"""(?P<value>"[^"]*"|'[^']*'|\[[\d.,\s]*\]|\(hidden\)(?=$|[\s&'"\])},;])|["']?[^\s&'"]*[^\s&'"\])},;])"""
_PAIR = re.compile(rf"""(?P<name>{_TELLING}[\w-]{{0,40}})(?P<sign>=|["']\s*:\s*(?=["'])){_VALUE}""")
"""Within a longer text: `token=abc`, and as JSON or Python prints a dict, `"token": "abc"`."""
_PARAMETER = re.compile(rf"(?P<name>(?<=[?&])(?:[\w-]{{0,40}}[_-])?(?i:key|sig|signature))(?P<sign>=){_VALUE}")
"""In an address `key=` is telling too."""
_WHOLE = re.compile(
    rf"(?P<name>[+~]*[\w.-]*{_TELLING}[\w-]{{0,40}})(?P<sign>\s*=\s*|:\s*(?!/))"
    r"(?P<value>(?:(?i:bearer|basic|digest|token|apikey)\s+)?\S+)"
)
"""A text that is nothing but a setting or a header; its value may hold what would end one within a longer text."""
_OPTION = re.compile(r"token_(?!by_|for_)")
"""What begins the name of an option like the metric `token_f1`: the settings below it are checked one by one."""
SHORTEST = 8
"""Values of secret environment variables below this length are too common as plain words to search for."""
IN_DICT = re.compile(r"(?<![\w-])([\w-]+)['\"]?\s*:\s*(\[[^\]{}]*\]|[^,{}]*)")
"""Names and values in a dict on the command line."""


def redact(value: Any) -> Any:
    """Return `value` (plain dicts, lists and scalars) without secrets."""
    words = {text for name, text in os.environ.items() if SECRET_NAME.search(name) and _is_word(text)}
    return _redact(value, sorted(words, key=len, reverse=True))  # a secret may begin with another one


def is_secret(name: str, text: str) -> bool:
    """Whether `text`, as it is typed after `name=` or `name:`, is a secret because of that name.

    A number is none where the name speaks of tokens that are counted, `max_tokens=5`; a password may be one.
    """
    text = text.strip().removesuffix(":")  # of a message about `max_tokens=5`
    plain = _SWITCH.fullmatch(text) or (_COUNT.search(name) and _NUMBER.fullmatch(text))
    return bool(SECRET_NAME.search(name)) and not plain


def has_secrets(name: str) -> bool:
    """Whether all text below a mapping of that name is secret."""
    return bool(SECRET_NAME.search(name)) and not _OPTION.match(name)


def _is_word(text: str) -> bool:
    """Whether the value of a variable with a secret's name is searched for: the path of a credential is no secret."""
    return len(text) >= SHORTEST and not (text.startswith("/") and os.path.exists(text))  # noqa: PTH110 - no path, perhaps


def _redact(value: Any, words: list[str], *, secret: bool = False) -> Any:
    """Go through a value; below a telling name, `secret`, no text is left."""
    if isinstance(value, dict):
        return {key: _redact(part, words, secret=secret or _tells(str(key), part)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(part, words, secret=secret) for part in value]
    if isinstance(value, str):
        return HIDDEN if secret else _text(value, words)
    return value


def _tells(key: str, part: Any) -> bool:
    return has_secrets(key) if isinstance(part, dict) else bool(SECRET_NAME.search(key))


def _text(text: str, words: list[str]) -> str:
    whole = _WHOLE.fullmatch(text)
    text = _hide_value(whole) if whole else _PARAMETER.sub(_hide_value, _PAIR.sub(_hide_value, text))
    for word in words:
        text = text.replace(word, HIDDEN)
    return SECRET_VALUE.sub(_hide_token, text)


def _hide_token(match: re.Match[str]) -> str:
    token = match["glued"]
    return match[0] if token and not _is_drawn(token) else HIDDEN


def _is_drawn(token: str) -> bool:
    """Whether a token was drawn at random: a name keeps its letters together."""
    body = re.split("[_-]", token, maxsplit=1)[1]
    humps = _HUMP.findall(body)
    short = sum(len(hump) <= _SHORT for hump in humps)
    drawn = sum(map(len, humps)) <= _LONGEST_HUMP * len(humps) or short >= _FEWEST_SHORT
    mixed = re.search("[a-z]", body) and re.search("[A-Z]", body)
    return bool(mixed) and (drawn or (short > 0 and len(body) == _HF_LENGTH))


def _hide_value(match: re.Match[str]) -> str:
    name, sign, value = match["name"], match["sign"], match["value"]
    plain = SECRET_NAME.search(name) and not is_secret(name, value)
    return match[0] if plain else f"{name}{sign}{HIDDEN}"


def fill_in(word: str) -> str:
    """Return an override for a command that a person types, with `$SECRET` instead of each secret."""
    return hide(word).replace(HIDDEN, "$SECRET")


def hide(word: str) -> str:
    """Return an override without secrets: `logger.wandb.api_key=…` too, and a dict with such a key."""
    key, equals, value = word.partition("=")
    *above, last = key.split(".")
    named = [*((name, value) for name in above if has_secrets(name)), (last, value), *IN_DICT.findall(value)]
    secret = equals and any(is_secret(name, text) for name, text in named)
    return f"{key}={HIDDEN}" if secret else str(redact(word))
