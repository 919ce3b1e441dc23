"""No secret of a config gets through, and what is none stays as it is."""

import itertools
import random
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.util.redact import HIDDEN, redact
from tests.support.examples import examples


@pytest.mark.parametrize(
    "secret",
    [
        "hf_" + "aB3" * 10,
        "sk-" + "a1-B" * 6,
        "ghp_" + "x" * 36,
        "gho_" + "x" * 36,
        "AKIA" + "ABCDEFGH12345678",
        "glpat-" + "PLANTEDxyz1234567",
        "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
        "npm_" + "aB3" * 12,
        "sk_live_" + "51HxPLANTED",
        "rk_live_" + "51HxPLANTED",
        "xoxb-" + "1234567890-abcdef",
        "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "SG." + "aB3dE6gH9jK2mN5pQ8sT1v." + "aB3dE6gH9jK2mN5pQ8sT1vaB3dE6gH9jK2mN5pQ8sT1",
        "712345678:AA" + "aB3dE6gH9jK2mN5pQ8sT1vaB3dE6gH9jK2",
        "lsv2_pt_" + "0123456789abcdef0123456789abcdef_0123456789",
        "pcsk_" + "aB3dE6_gH9jK2mN5pQ8sT1vaB3dE6gH9",
        "tgp_v1_" + "aB3dE6gH9jK2mN5pQ8sT1v",
        "fw_" + "aB3dE6gH9jK2mN5pQ8sT1v",
        "pplx-" + "aB3dE6gH9jK2mN5pQ8sT1vaB3dE6gH9jK2mN5pQ8sT1v",
        "rpa_" + "AB3DE6GH9JK2MN5PQ8ST1VAB3DE6GH9J",
        "ak-" + "aB3dE6gH9jK2mN5pQ8sT1v",
        "as-" + "aB3dE6gH9jK2mN5pQ8sT1v",
        "glsa_" + "aB3dE6gH9jK2mN5pQ8sT1vaB3dE6gH9j_01234abc",
        "ATATT3" + "xFfGF0aB3dE6gH9jK2mN5pQ8sT1v-_=ABCD",
        "shpat_" + "0123456789abcdef0123456789abcdef",
        "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8",
        "AQ." + "Ab8RN6aB3dE6gH9jK2mN5pQ8sT1vaB3dE6gH9jK2",
        "eyJhcGlfYWRkcmVzcyI6" + "Imh0dHBzOi8vYXBwLm5lcHR1bmUuYWkifQ==",
    ],
)
def test_what_looks_like_a_token_is_hidden_wherever_it_stands(secret: str) -> None:
    for around in ("{}", "see {}!", "https://hub/{}/x", "--token={} "):
        text, expected = around.format(secret), around.format(HIDDEN)
        assert redact({"notes": text, "tags": [text, {"deep": (text,)}]}) == {
            "notes": expected,
            "tags": [expected, {"deep": [expected]}],
        }


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "NaMeSeCrEtPlantedInTheRunName1234",
        "hf_" + "kQzXbTnWvRpLmJhGfDsAyUiOeZxCvBnMqW",
        "sk-proj-" + "Zz9Yy8Xx7Ww6Vv5Uu4Tt3Ss2Rr1Qq0",
        "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
        "AKIA" + "Z7PLANTED9KEY0QX",
    ],
)
def test_a_token_that_is_glued_to_a_word_is_hidden(token: str) -> None:
    words = ("x", "run_", "run") if token.startswith("AKIA") else ("x", "run_", "run", "x2_", "A")
    for before, after in itertools.product(words, ("", "_v2", ".json", "-1")):
        shown = str(redact(before + token + after))
        assert token not in shown
        assert shown.startswith(before + HIDDEN)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["", "x", "run_", "Run", "a-"]))
@settings(max_examples=examples(300))
def test_no_drawn_token_is_left(seed: int, before: str) -> None:
    token = "hf_" + "".join(random.Random(seed).choices(string.ascii_letters, k=34))  # noqa: S311 - no real one
    assert token not in redact(f"{before}{token}")


WORDS = [
    "the", "model", "answers", "quickly", "token", "weights", "are", "masked", "by", "my_hf", "task", "risk", "disk",
    "adapter", "learning", "authors", "secretary", "keyboard", "monkey", "tokenizer", "password", "ant", "or",
    "classification", "sequence", "proj", "llama", "qwen", "bearish",
]  # fmt: skip
HASHES = st.integers(0, 2**160 - 1).map(lambda number: f"{number:040x}")


def camel(words: list[str]) -> str:
    return "".join(word.capitalize() for word in words if len(word) > 3)


ORDINARY = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=8).map("_".join),
    st.lists(st.sampled_from(WORDS), max_size=8).map("-".join),
    st.lists(st.sampled_from(WORDS), max_size=8).map(camel).map("my_hf_{}".format),
    HASHES,
    HASHES.map("my_hf_{}".format),
    HASHES.map("disk-{}".format),
    st.uuids().map("task-{}".format),
    st.uuids().map(str),
)


@given(st.lists(ORDINARY, max_size=4), st.sampled_from([" ", "_", "/", "-", "."]))
@settings(max_examples=examples(300))
def test_ordinary_words_names_and_hashes_stay(parts: list[str], between: str) -> None:
    text = between.join(parts)
    assert redact(text) == text


def test_the_password_in_an_address_is_hidden() -> None:
    assert redact("https://ann:hunter2@example.org/x") == f"https://{HIDDEN}@example.org/x"


@pytest.mark.parametrize("name", ["token", "hf_token", "API_KEY", "apikey", "client_secret", "password", "auth"])
def test_text_under_a_telling_name_is_hidden(name: str) -> None:
    assert redact({name: "abc", "other": "abc"}) == {name: HIDDEN, "other": "abc"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"headers": {"Authorization": "abc", "accept": "json"}}, {"Authorization": HIDDEN, "accept": "json"}),
        ({"headers": {"X-Api-Key": "abc", "Set-Cookie": "abc"}}, {"X-Api-Key": HIDDEN, "Set-Cookie": HIDDEN}),
        ({"tokens": ["abc", 5, None]}, [HIDDEN, 5, None]),
        ({"auth": {"user": "abc", "retries": 3, "more": [{"x": "abc"}]}}, {"user": HIDDEN, "retries": 3, "more": ...}),
        ({"token_by_host": {"hub": "abc"}}, {"hub": HIDDEN}),
        ({"api_keys": ["abc"]}, [HIDDEN]),
        *[({name: "abc"}, HIDDEN) for name in ("accessToken", "privateKey", "access_key_id", "aws_secret_access_key")],
        *[({name: "abc"}, HIDDEN) for name in ("bearer", "authorization", "passphrase", "CREDENTIALS", "tokens")],
    ],
)
def test_all_text_below_a_telling_name_is_hidden(value: dict[str, Any], shown: Any) -> None:
    found = redact(value)
    assert "abc" not in str(found)
    (inner,) = found.values()
    if isinstance(shown, dict):
        assert {key: ... if key == "more" else part for key, part in inner.items()} == shown
    else:
        assert inner == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/x?token=abc&n=1", f"https://h/x?token={HIDDEN}&n=1"),
        ("https://h/x?n=1&api_key=abc", f"https://h/x?n=1&api_key={HIDDEN}"),
        ("https://h/x?key=abc&X-Amz-Signature=abc", f"https://h/x?key={HIDDEN}&X-Amz-Signature={HIDDEN}"),
        ("get https://h?hub_token=abc now", f"get https://h?hub_token={HIDDEN} now"),
        ("https://:abc@h/x", f"https://{HIDDEN}@h/x"),
        ("api_key=abc", f"api_key={HIDDEN}"),
        ("--db-password=abc&'abc\"abc", f"--db-password={HIDDEN}"),
        ("password=12345", f"password={HIDDEN}"),
        ("Authorization: Bearer abc", f"Authorization: {HIDDEN}"),
        ("X-Api-Key:abc", f"X-Api-Key:{HIDDEN}"),
        ("curl -H 'Authorization: Bearer abc' h", f"curl -H 'Authorization: {HIDDEN}' h"),
        ('curl -H "authorization: bearer abc" h', f'curl -H "authorization: {HIDDEN}" h'),
        ("authorization: bearer abc", f"authorization: {HIDDEN}"),
        ("proxy-authorization: Digest user=abc, abc=2", f"proxy-authorization: {HIDDEN}"),
        ("x-api-key: abc", f"x-api-key: {HIDDEN}"),
        ("x-api-key: abc abc abc", f"x-api-key: {HIDDEN}"),
        ("send x-api-key: abc with it", f"send x-api-key: {HIDDEN} with it"),
        ("log in with password: abc12345, please", f"log in with password: {HIDDEN}, please"),
        ("https://abc@h/x and http://abc:abc@h", f"https://{HIDDEN}@h/x and http://{HIDDEN}@h"),
        ("postgres://joe:abc@abc@h/x", f"postgres://{HIDDEN}@h/x"),
        ("n=1,token=abc", f"n=1,token={HIDDEN}"),
        ("set DB_PWD=abc and GH_PAT=abc", f"set DB_PWD={HIDDEN} and GH_PAT={HIDDEN}"),
        ("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nnow", f"{HIDDEN}\nnow"),
        ("-----BEGIN RSA PRIVATE KEY-----\\nMIIEabcabcabc", HIDDEN),
        ("key " + "MII" + "abcA/" * 20 + "==.", f"key {HIDDEN}."),
        ("with Basic YWJjOmFiYw== it is", f"with Basic {HIDDEN} it is"),
        ('{"api_key": "abc", "n": 1}', f'{{"api_key": {HIDDEN}, "n": 1}}'),
        ("(x, token=abc, n=1)", f"(x, token={HIDDEN}, n=1)"),
        ("token='abc abc' is wrong", f"token={HIDDEN} is wrong"),
    ],
)
def test_text_that_gives_a_value_to_a_telling_name_loses_it(text: str, shown: str) -> None:
    assert redact(text) == redact([text])[0] == shown
    assert redact(shown) == shown


@pytest.mark.parametrize(
    "variable",
    [
        *(
            "ACME_TOKEN",
            "WANDB_API_KEY",
            "DB_PASSWORD",
            "PGPASSWORD",
            "DB_PWD",
            "MYSQL_PWD",
            "SERVICE_KEY",
            "SIGNING_PEM",
        ),
        *(
            "GH_PAT",
            "NEW_TOKENS",
            "DB_PASS",
            "HFTOKEN",
            "KEY",
            "key",
            "db_pwd",
            "MyApiKey",
            "SESSION_KEY_2",
            "AWS_ACCESS_KEY_ID",
        ),
    ],
)
def test_the_value_of_a_telling_variable_is_hidden(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "open-sesame")
    assert redact(["say open-sesame twice: open-sesame"]) == [f"say {HIDDEN} twice: {HIDDEN}"]


@pytest.mark.parametrize(
    "variable",
    ["PWD", "OLDPWD", "KEYBOARD", "MONKEY", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "AUTHOR", "PATH", "KEYTIMEOUT"],
)
def test_the_value_of_another_variable_stays(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "open-sesame")
    assert redact("open-sesame") == "open-sesame"


def test_each_line_of_a_telling_variable_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_PEM", "open-sesame\nand-another")
    assert redact(["open-sesame\nand-another", "only and-another"]) == [HIDDEN, f"only {HIDDEN}"]


def test_of_two_secrets_that_begin_alike_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):  # in either order of the set
        monkeypatch.setenv(f"A{number}_TOKEN", "open-sesame" + "-more" * number)
    for number in range(8):
        assert redact("open-sesame" + "-more" * number) == HIDDEN


@pytest.mark.parametrize(
    "value",
    [
        {"max_new_tokens": 5, "tokenizer": "fast", "author": "ann", "keys": "q_proj", "token": None},
        {"path": "unsloth/Meta-Llama-3.1-8B-Instruct", "url": "https://example.org:80/a@b", "n": [1, 2.5, True]},
        "task-sk-short",
        {"max_new_tokens": 5, "token_budget": 7, "supervised_tokens": 1.5, "max_tokens": None, "auth": True},
        {"pad_token": "<pad>", "eos_token": "</s>", "stop_tokens": ["</s>"], "additional_special_tokens": ["<a>"]},
        {"new_tokens": ["<order>"], "overrides": ["model.new_tokens=[<order>,<a>]", "add_tokens=<a>"]},
        {"eos_token_id": 3, "num_virtual_tokens": 8, "trainable_token_indices": {"embed_tokens": [1, 2]}},
        {
            "token_type": "word",
            "tokens_per_pass": "auto",
            "auth_method": "basic",
            "tokens_column": "ids",
            "authors": ["ann"],
            "secretary": "x",
        },
        {"metric": {"token_f1": {"average": "micro"}}, "tokenizer": {"name": "x"}},
        ["max_new_tokens=99999999999: unknown key", "tokens=24,081", "SORT=KEY", "KEY=VALUE", "x-ray: show the bone"],
        [
            "Cookie: a small cake",
            "authorization: required for this page",
            "text_key: answer",
            "https://medium.com/@ann",
        ],
        ["glove-6b-300d-wiki-gigaword", "my_risk_test_classification_2", "npm_install_packages_of_the_day"],
        ["a key begins with -----BEGIN PRIVATE KEY----- and so on", "git@github.com:o/r", "ssh://git@github.com/o/r"],
        ["max_tokens=5", "trainer.token_budget=1e9", "eos_token=</s>", "auth=true", "author=ann", "tokens=[1, 2]"],
        ["https://h/x?max_tokens=5&page=2", "org/token-classification", "sha256:abc", "{{ bos_token }}"],
        ["the token: what is it?", "Unexpected token: }", "Basic English", "Bearer tokens", "token://x"],
    ],
)
def test_what_is_no_secret_stays(value: Any) -> None:
    assert redact(value) == value


def test_the_path_that_a_telling_variable_holds_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path))
    assert redact(f"{tmp_path}/run") == f"{tmp_path}/run"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", f"{tmp_path}/gone")
    assert redact(f"{tmp_path}/gone/run") == f"{HIDDEN}/run"


def test_a_short_value_of_a_telling_variable_is_hidden_as_a_word_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_TOKEN", "lora")
    assert redact(["lora", "it is lora.", "--x=lora&y", "('lora')"]) == [
        HIDDEN, f"it is {HIDDEN}.", f"--x={HIDDEN}&y", f"('{HIDDEN}')",
    ]  # fmt: skip
    kept = ["explorator", "/lora/x", "my-lora", "lora.yaml", "qlora"]
    assert redact(kept) == kept


@pytest.mark.parametrize("value", ["abc", "1", "true", "none", "12345"])
def test_a_value_that_says_nothing_is_not_hidden(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SHORT_TOKEN", value)
    assert redact(value) == value


def test_a_token_is_hidden_as_a_name_too() -> None:
    token = "hf_" + "aB3" * 10
    assert redact({token: 1}) == {HIDDEN: 1}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("curl -u joe:hunter2 https://h", f"curl -u joe:{HIDDEN} https://h"),
        ("curl --user 'joe:a b2' x", f"curl --user 'joe:{HIDDEN} b2' x"),
        ("run --token abc123 --n 5", f"run --token {HIDDEN} --n 5"),
        ("run --api-key 'abc123'", f"run --api-key '{HIDDEN}'"),
        ("`run --token abc123` or `curl -u joe:hunter2`", f"`run --token {HIDDEN}` or `curl -u joe:{HIDDEN}`"),
        ("python -u -m framework: no", None),
        ("docker run -u 1000:1000 x", None),
        ("--max-tokens 512 --token NAME", None),
        ("--secret takes the name of a variable, --secret HF_TOKEN", None),
        ("as-is, fw_config_of_the_last_layer, AQ.", None),
        ("the rate at 12:30, step 12345678:AA", None),
    ],
)
def test_a_command_line_loses_the_values_of_telling_options_only(text: str, shown: str | None) -> None:
    assert redact(text) == (text if shown is None else shown)
