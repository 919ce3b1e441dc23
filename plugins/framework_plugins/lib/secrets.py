"""Credentials and email addresses, by the formats that their issuers document."""

from __future__ import annotations

import re

from framework_plugins.lib.patterns import Pattern

SECRETS, EMAILS = "secrets", "emails"
"""What a pattern finds."""
_PLACEHOLDER = re.compile(r"(?i)example|your|xxx|\.\.\.|placeholder|changeme|dummy|<|\$\{|\*\*\*")
_COUNTING_DIGITS = re.compile(r"0?123456789?0?")
"""Digits in a row: the whole of a token in a manual, but a part of one that somebody made longer."""
_MIN_DIFFERENT_CHARACTERS = 5
"""Different characters that a real token has at least."""


def _is_token(match: re.Match[str]) -> bool:
    """Whether a match is a token, and not a placeholder as in a manual."""
    token = _COUNTING_DIGITS.sub("", match[0])
    return (
        not _PLACEHOLDER.search(match[0])
        and len(set(token)) > _MIN_DIFFERENT_CHARACTERS
        and 2 * len(token) > len(match[0])
    )


def _is_password(match: re.Match[str]) -> bool:
    """Whether a real password is in an address."""
    return match["password"].lower() not in {"password", "pass", "passwd", "pwd", "secret"} and not _PLACEHOLDER.search(
        match[0]
    )


def _has_digits(match: re.Match[str]) -> bool:
    """Whether a value is drawn at random: words are not, nor are names that end in a number."""
    return _is_token(match) and any(_RANDOM.match(part) for part in re.split(r"[_/+-]", match["value"]))


def _is_person(match: re.Match[str]) -> bool:
    """Whether an address may be a person's; addresses of manuals and of git are not."""
    before = match.string[match.start() - 1 : match.start()]
    # The pattern begins at the @, since one that began at the name would be tried at every letter.
    return bool(before) and (before.isalnum() or before in "._%+-") and not _IMPERSONAL.search(match[0])


_RANDOM = re.compile(r"(?=(?:[a-z]*\d){2})(?=\d*[a-z])[a-z0-9]{8,}")
_IMPERSONAL = re.compile(r"(?i)@(?:[\w-]+\.)*(?:example\.\w+|\w+\.example|localhost|test\.com|domain\.com|email\.com)$")


def _token(kind: str, marks: tuple[str, ...], regex: str) -> Pattern:
    return Pattern(SECRETS, kind, marks, re.compile(regex), _is_token)


PATTERNS = (
    _token("an AWS access key", ("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _token("a GitHub token", ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    _token("a GitHub token", ("github_pat_",), r"\bgithub_pat_\w{22,}"),
    _token("a GitLab token", ("glpat-",), r"\bglpat-[\w-]{20,}"),
    _token("a Hugging Face token", ("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    _token("an API key of the form sk-…", ("sk-",), r"(?<![\w-])sk-(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{20,}"),
    _token("a Slack token", ("xox",), r"\bxox[abeoprs]-[\w-]{10,}"),
    _token("a Google API key", ("AIza",), r"\bAIza[\w-]{35}"),
    _token("a Stripe key", ("_live_", "_test_"), r"\b[rs]k_(?:live|test)_\w{16,}"),
    _token("an npm token", ("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    _token("a PyPI token", ("pypi-",), r"\bpypi-[\w-]{50,}"),
    _token("a SendGrid key", ("SG.",), r"\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    _token("a JSON Web Token", ("eyJ",), r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"),
    Pattern(
        SECRETS,
        "a private key",
        ("PRIVATE KEY",),
        re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    ),
    Pattern(
        SECRETS,
        "a password in an address",
        ("://",),
        re.compile(r"(?<=://)[^/\s:@\"'<>{}]{1,80}:(?P<password>[^/\s@\"'<>{}]{3,80})@(?=[\w\[])"),
        _is_password,
    ),
    Pattern(
        SECRETS,
        "a key after its name",
        ("key", "token", "secret", "passw"),
        re.compile(
            r"(?:(?:api|access|auth|secret|private|client)[_ -]?(?:access[_ -]?)?(?:key|token|secret)|passw(?:or)?d)"
            r"\\?[\"']?[ \t]{0,8}(?:[:=]|is\b)[ \t]{0,8}\\?[\"']?(?P<value>[a-z0-9+/_-]{20,}={0,2})(?!\w|\(|\.\w)"
        ),
        _has_digits,
        small=True,
    ),
    Pattern(
        EMAILS,
        "an e-mail address",
        ("@",),
        re.compile(r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)+[A-Za-z]{2,24}\b"),
        _is_person,
    ),
)
