"""Takes secrets out of text before it is written, logged, shown or uploaded.

Four things are secrets: text under a telling name and everything below it, text that gives a value to such a name
(`api_key=…`, `?token=…`, `Authorization: …`), what looks like a token, and what a telling environment variable holds.
Numbers and booleans are none, so `max_tokens=5` can be read. SECURITY.md has the rules in a user's words.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any

HIDDEN = "(hidden)"
SECRET_NAME = re.compile(
    r"(?:(?:(?<![a-zA-Z])|(?<=[a-z])(?=[A-Z]))"  # the start of a word: of snake_case, Kebab-Case and camelCase
    r"(?i:(?<!pad_|eos_|bos_|unk_|sep_|cls_|eot_)(?<!mask_|stop_)(?<!image_|audio_|video_|added_)(?<!special_)"
    r"(?<!(?-i:new|add)_(?=tokens))token"
    r"|(?:api|private|access|sign(?:ing)?|encryption|session|account|ssh|service|master|deploy|license)[_-]?key"
    r"|credential|auth|authorization|bearer|cookie|jwt)"
    r"|(?i:password|passwd|passphrase|secret|(?<=[a-z\d][_-])pwd)"  # also at the end of a word: PGPASSWORD, not PWD
    r"|(?<=[A-Z\d]_)(?:KEY|PASS|PEM|PAT)|(?<=[A-Z\d])(?:TOKEN|APIKEY))"  # of variables: `sort_key` is not a secret
    r"(?i:s?)(?:(?![a-zA-Z])|(?<=[a-z])(?=[A-Z]))"
    r"(?![_-](?i:column|field|type|level|mode|method|strategy|algorithm|sock|socket|per)s?(?![a-z]))"
)
"""Names of what is secret: not `pad_token` and `new_tokens`, nor `token_type`, `tokens_per_pass` and `auth_method`."""
_MIXED = r"(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])"
_LOOKS = tuple(
    (mark, re.compile(regex))
    for mark, regex in (
        # Hugging Face, OpenAI and others, GitHub: glued to a word, one is a token only if it was drawn at random
        ("hf_", r"\bhf_[A-Za-z0-9]{20,}\b|(?P<glued>hf_[A-Za-z0-9]{20,})"),
        ("sk-", r"\bsk-[\w-]{20,}\b|(?P<glued>sk-(?:proj|ant|or|svcacct)-[\w-]{20,})"),
        ("gh", r"\bgh[pousr]_\w{20,}\b|(?P<glued>gh[pousr]_[A-Za-z0-9]{30,})"),
        ("github_pat_", r"github_pat_[A-Za-z0-9]{20,}\w*"),
        *((f"A{kind}", rf"(?<![A-Z0-9])A{kind}[0-9A-Z]{{16}}(?![A-Z0-9])") for kind in ("KIA", "SIA")),  # AWS
        ("AIza", r"(?<![A-Za-z0-9])AIza[\w-]{20,}"),  # Google
        ("ya29.", r"\bya29\.[\w-]{20,}"),
        ("GOCSPX-", r"GOCSPX-[\w-]{20,}"),
        ("gl", r"(?<![A-Za-z0-9])gl(?:pat|dt|ft|rt|ptt|oas|cbt|imt|agent|soat|ffct)-[\w.-]{10,}"),  # GitLab
        ("npm_", r"(?<![A-Za-z0-9])npm_[A-Za-z0-9]{20,}"),
        ("pypi-", r"(?<![A-Za-z0-9])pypi-[\w-]{40,}"),
        ("dckr_pat_", r"dckr_pat_[\w-]{20,}"),
        ("k_", r"(?<![A-Za-z0-9])[rs]k_(?:live|test)_(?=\w*[\dA-Z])\w{10,}"),  # Stripe
        ("whsec_", r"whsec_[\w+/=]{20,}"),
        ("xox", r"(?<![A-Za-z0-9])xox[a-z]-[\w-]{10,}"),  # Slack
        ("xapp-", r"(?<![A-Za-z0-9])xapp-\d-[\w-]{20,}"),
        ("hooks.slack.com/", r"(?<=hooks\.slack\.com/services/)[\w/-]+"),
        ("gsk_", r"(?<![A-Za-z0-9])gsk_[A-Za-z0-9]{20,}"),  # Groq, Replicate, NVIDIA, xAI
        ("r8_", r"(?<![A-Za-z0-9])r8_[A-Za-z0-9]{20,}"),
        ("nvapi-", r"nvapi-[\w-]{20,}"),
        ("xai-", r"(?<![A-Za-z0-9])xai-[A-Za-z0-9]{40,}"),
        ("wandb_v", r"wandb_v\d_\w{20,}"),
        ("dapi", r"(?<![A-Za-z0-9])dapi[0-9a-f]{32}"),  # Databricks, Vault, DigitalOcean
        ("hvs.", r"\bhvs\.[\w-]{20,}"),
        ("dop_v1_", r"dop_v1_[0-9a-f]{20,}"),
        ("SG.", r"(?<![A-Za-z0-9])SG\.[\w-]{16,}\.[\w-]{16,}"),  # SendGrid, Telegram, LangSmith, Pinecone, Together
        (":AA", r"(?<![A-Za-z0-9])\d{8,10}:AA[\w-]{30,}"),
        ("lsv2_", r"lsv2_[a-z]{2}_[0-9a-f]{20,}(?:_[0-9a-f]+)?"),
        ("pcsk_", r"pcsk_\w{20,}"),
        ("tgp_v", r"tgp_v\d_[\w-]{20,}"),
        ("fw_", r"(?<![A-Za-z0-9_])fw_(?=[A-Za-z]*\d)[A-Za-z0-9]{20,}"),  # Fireworks, Perplexity, RunPod, Modal
        ("pplx-", r"pplx-[A-Za-z0-9]{30,}"),
        ("rpa_", r"(?<![A-Za-z0-9_])rpa_(?=[A-Z]*\d)[A-Z0-9]{20,}"),
        *((f"a{kind}-", rf"(?<![\w-])a{kind}-{_MIXED}[A-Za-z0-9]{{20,}}(?![\w-])") for kind in "ks"),
        ("glsa_", r"glsa_[A-Za-z0-9]{20,}(?:_[0-9a-fA-F]+)?"),  # Grafana, Atlassian, Shopify, age, Gemini, Neptune
        ("glc_", r"(?<![A-Za-z0-9])glc_[\w+/-]{30,}={0,2}"),
        *((f"AT{kind}", rf"(?<![A-Za-z0-9])AT{kind}[\w=-]{{20,}}") for kind in ("ATT3", "CTT3", "BB")),
        ("shp", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{20,}"),
        ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
        ("AQ.", rf"(?<![\w.])AQ\.{_MIXED}[\w-]{{30,}}"),
        ("eyJhcGlf", r"(?<![A-Za-z0-9])eyJhcGlf[\w+/-]{20,}={0,2}"),
        ("-u", r"(?P<kept>(?<![\w-])-u\s*[\"']?(?!\d+:)[\w.@+-]+:)[^\s\"'`]+"),  # of curl
        ("--user", r"(?P<kept>(?<![\w-])--user(?:=|\s+)[\"']?(?!\d+:)[\w.@+-]+:)[^\s\"'`]+"),
        ("eyJ", r"(?<![A-Za-z0-9])eyJ[\w-]{8,}(?:\.[\w-]*){2,4}"),  # a JWT: `{"` in base64
        ("PRIVATE KEY", r"-----BEGIN (?P<kind>[A-Z ]*PRIVATE KEY[A-Z ]*)-----(?s:.*?)-----END (?P=kind)-----"),  # PEM
        ("PRIVATE KEY", r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----(?:(?:\\n|\s)*[\w+/=]{12,})+"),  # without its end
        ("MII", r"(?<![\w+/])MII[\w+/]{60,}(?:(?:\\n|\s)+[\w+/=]{40,})*={0,2}"),  # the same without its first line
        ("://", r"(?<=://)[^/\s?#\"'<>]*:[^/\s?#\"'<>]+(?=@)"),  # a password, or a token instead of it
        ("http", r"(?<=http)(?P<kept>s?://)[^/\s?#:@\"'<>]+(?=@)"),
        ("earer ", r"(?<=\bBearer )(?!auth|tokens?\b)[\w.~+/=-]+|(?<=\bbearer )(?=\S*\d)[\w.~+/=-]{16,}"),
        ("Basic ", r"(?<=\bBasic )(?=\S*[\d=])[\w+/-]{8,}={0,2}"),
    )
)
"""What is secret by its looks, and a piece of text that each of them has: `in` is much faster than a pattern."""
_HUMP = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LONGEST_HUMP, _SHORT, _FEWEST_SHORT = 3.6, 2, 3
"""Characters between two changes of capitals, small letters and digits: about 2 on average in a token, 5 in a name, of
which hardly any has 2 or less."""
_HF_LENGTH = 34
_SWITCH = re.compile(r"(?i)true|false|null|none|auto")
_NUMBER = re.compile(r"[+-]?[\d.,_]+(?:[eE][+-]?\d+)?|\[[\d.,\s]*\]")
_COUNT = re.compile(r"(?i)tokens|token_")
_SCHEME = r"(?i:bearer|basic|digest|token|apikey)\s+"
_NAMED = re.compile(r"""(?<![\w-])(?P<name>[\w-]+)(?P<sign>=|["']\s*:\s*(?=["'])|:\s*(?!/))""")
"""What a value may follow within a longer text: `token=abc`, as JSON or Python prints it `"token": "abc"`, a header."""
_VALUE = re.compile(
    r"""(?P<value>"[^"]*"|'[^']*'|\[[\d.,\s]*\]|\(hidden\)(?=$|[\s&'"\])},;])|["']?[^\s&'"]*[^\s&'"\])},;:])"""
)
_HEADER = re.compile(rf"""(?P<value>(?P<scheme>{_SCHEME})?[^\s'",;]+)""")
_PARAMETER = re.compile(r"(?i)(?:.*[_-])?(?:key|sig|signature)")
"""In an address `key=` is telling too."""
_WHOLE = re.compile(rf"[+~]*(?:[\w-]*\.)*(?P<name>[\w-]+)(?:\s*=\s*|:\s*(?!/))(?P<value>(?:{_SCHEME})?\S+)")
_WHOLE_HEADER = re.compile(
    rf"(?P<name>(?i:x-[\w-]+|(?:proxy-)?authorization(?=:\s*{_SCHEME})|(?:set-)?cookie(?=:.*=))):\s*(?P<value>.+)"
)
"""A text that is nothing but a setting or a header; its value may hold what would end one within a longer text."""
_TYPED = re.compile(r"""(?P<kept>(?<![\w-])--(?P<name>[\w-]+)\s+["']?)(?P<value>[^\s"'`,;)]+)""")
"""An option of a command and its value: `--token abc123`."""
_OPTION = re.compile(r"token_(?!by_|for_)")
"""What begins the name of an option like the metric `token_f1`: the settings below it are checked one by one."""
SHORTEST, SHORTEST_WORD = 8, 4
"""The value of a secret environment variable is hidden wherever it is if it has that many characters, and a shorter one
of at least four only if it is a word of its own; one like `1` or `yes` is not hidden at all."""
_WORD = r"""(?<![^\s"'=:,;(\[{{<&?@|]){}(?![^\s"',;)\]}}>&@|.!?:]|[.!?:]\S)"""
"""A word of its own: a path and a name keep it, as `/root/x` keeps `root`."""
IN_DICT = re.compile(r"(?<![\w-])([\w-]+)['\"]?\s*:\s*(\[[^\]{}]*\]|[^,{}]*)")
"""Names and values in a dict on the command line."""


def redact(value: Any) -> Any:
    """Return `value` (plain dicts, lists and scalars) without secrets."""
    return redactor()(value)


def redactor() -> Callable[[Any], Any]:
    """Return `redact` for many values: it reads the environment once, which takes longer than most of the texts."""
    held = _held(tuple(os.environ[name] for name in os.environ if _is_variable(name)))  # `items` decodes all values
    return functools.partial(_redact, pattern=held)


@functools.cache
def _is_variable(name: str) -> bool:
    in_capitals = f"MY_{name.upper()}"  # so that KEY alone is one too
    return name != "PWD" and bool(SECRET_NAME.search(name) or SECRET_NAME.search(in_capitals))


@functools.lru_cache(maxsize=8)
def _held(values: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return what finds the values of secret variables; None if none is searched for."""
    lines = {line for text in values for line in (text, *text.splitlines()) if len(line) >= SHORTEST}
    words = {text for text in values if SHORTEST_WORD <= len(text) < SHORTEST}
    longest_first = sorted(lines - {*filter(_is_path, lines)}, key=len, reverse=True)  # one may begin with another
    plain = {word for word in words if _SWITCH.fullmatch(word) or _NUMBER.fullmatch(word)}
    patterns = [*map(re.escape, longest_first), *(_WORD.format(re.escape(word)) for word in words - plain)]
    return re.compile("|".join(patterns)) if patterns else None


def _is_path(text: str) -> bool:
    """Whether a text names a file or a folder: the path of a credential is not a secret."""
    return text.startswith("/") and os.path.exists(text)  # noqa: PTH110 - no path, perhaps


def is_secret(name: str, text: str) -> bool:
    """Whether `text`, as it is typed after `name=` or `name:`, is a secret because of that name.

    A number is none if the name speaks of tokens that are counted, `max_tokens=5`; a password may be one.
    """
    text = text.strip().removesuffix(":")  # of a message about `max_tokens=5`
    plain = _SWITCH.fullmatch(text) or (_COUNT.search(name) and _NUMBER.fullmatch(text))
    return bool(SECRET_NAME.search(name)) and not plain


def has_secrets(name: str) -> bool:
    """Whether all text below a mapping of that name is secret."""
    return bool(SECRET_NAME.search(name)) and not _OPTION.match(name)


def _redact(value: Any, pattern: re.Pattern[str] | None, *, secret: bool = False) -> Any:
    """Go through a value; below a telling name, `secret`, no text is left."""
    if isinstance(value, dict):
        parts = {}
        for key, part in value.items():
            name = _text(key, pattern) if isinstance(key, str) else key
            parts[name] = _redact(part, pattern, secret=secret or _tells(str(key), part))
        return parts
    if isinstance(value, list | tuple):
        return [_redact(part, pattern, secret=secret) for part in value]
    if isinstance(value, str):
        return HIDDEN if secret else _text(value, pattern)
    return value


def _tells(key: str, part: Any) -> bool:
    return has_secrets(key) if isinstance(part, dict) else bool(SECRET_NAME.search(key))


def _text(text: str, pattern: re.Pattern[str] | None) -> str:
    text = _by_names(text)
    if pattern:
        text = pattern.sub(HIDDEN, text)
    return _by_looks(text)


def _by_names(text: str) -> str:
    """Hide the values that a text gives to telling names."""
    match = _WHOLE_HEADER.fullmatch(text) or _WHOLE.fullmatch(text)
    if match and SECRET_NAME.search(match["name"]):
        return f"{text[: match.start('value')]}{HIDDEN}" if is_secret(match["name"], match["value"]) else text
    parts, end = [], 0
    for named in _NAMED.finditer(text):
        # A name within a value that is hidden already begins no pair of its own.
        if named.start() >= end and (value := _secret_after(named)):
            parts += [text[end : named.end()], HIDDEN]
            end = value.end()
    text = "".join([*parts, text[end:]])
    return _TYPED.sub(_hide_typed, text) if "--" in text else text


def _hide_typed(match: re.Match[str]) -> str:
    """Hide the value of an option; a word of a sentence, `--secret takes the name`, has no digits."""
    name, value = match["name"], match["value"]
    secret = SECRET_NAME.search(name) and is_secret(name, value) and _is_mixed(value)
    return f"{match['kept']}{HIDDEN}" if secret else match[0]


def _is_mixed(value: str) -> bool:
    """Whether a value has letters and digits, which text that was drawn at random has, and hardly any word."""
    return bool(re.search("[a-zA-Z]", value) and re.search(r"\d", value))


def _secret_after(named: re.Match[str]) -> re.Match[str] | None:
    """Return the secret value after a name, if there is one."""
    name, sign, text = named["name"], named["sign"], named.string
    value = (_HEADER if sign.startswith(":") else _VALUE).match(text, named.end())
    if value is None:
        return None
    if not SECRET_NAME.search(name):
        in_address = sign == "=" and text[max(named.start() - 1, 0) : named.start()] in ("?", "&")
        return value if in_address and _PARAMETER.fullmatch(name) else None
    secret = is_secret(name, value["value"])
    if sign.startswith(":"):  # a header, not a sentence like `the token: what is it?`
        is_random = len(value["value"]) >= SHORTEST and _is_mixed(value["value"])
        secret = secret and bool(value["scheme"] or is_random or name[:2].lower() == "x-")
    return value if secret else None


def _by_looks(text: str) -> str:
    for mark, pattern in _LOOKS:
        if mark in text:
            text = pattern.sub(_hide_token, text)
    return text


def _hide_token(match: re.Match[str]) -> str:
    groups = match.groupdict()
    if (token := groups.get("glued")) and not _is_drawn(token):
        return match[0]
    return f"{groups.get('kept', '')}{HIDDEN}"


def _is_drawn(token: str) -> bool:
    """Whether a token was drawn at random: a name keeps its letters together."""
    body = re.split("[_-]", token, maxsplit=1)[1]
    humps = _HUMP.findall(body)
    short = sum(len(hump) <= _SHORT for hump in humps)
    is_random = sum(map(len, humps)) <= _LONGEST_HUMP * len(humps) or short >= _FEWEST_SHORT
    mixed = re.search("[a-z]", body) and re.search("[A-Z]", body)
    return bool(mixed) and (is_random or (short > 0 and len(body) == _HF_LENGTH))


def fill_in(word: str) -> str:
    """Return an override for a command that a person types, with `$SECRET` instead of each secret."""
    return hide(word).replace(HIDDEN, "$SECRET")


def hide(word: str) -> str:
    """Return an override without secrets: `logger.wandb.api_key=…` too, and a dict with such a key."""
    key, equals, value = word.partition("=")
    *above, leaf = key.split(".")
    named = [*((name, value) for name in above if has_secrets(name)), (leaf, value), *IN_DICT.findall(value)]
    secret = equals and any(is_secret(name, text) for name, text in named)
    return f"{key}={HIDDEN}" if secret else str(redact(word))
