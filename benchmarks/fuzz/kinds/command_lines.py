"""Command lines: commands and their options, Hydra's options, odd characters, lengths, nesting, quotes."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from benchmarks.fuzz.case import DONE, SOUND, Case, Expect, Process
from benchmarks.fuzz.edits import Edit

R, S, A = Expect.REFUSED, Expect.SAME, Expect.ANY
PLAN = SOUND["plan"].words
COMMANDS = ("plugins", "experiments", "chat", "plan-table", "reference", "rerun", "resume", "runs", "diff", "doctor")
WORD = st.text(
    st.characters(codec="utf-8", exclude_characters="\0=", categories=["L", "N", "P", "S"]), min_size=1, max_size=12
)


def _case(
    what: str, expect: Expect, line: tuple[str, ...], *names: str, sound: str = "none", edits: tuple[Edit, ...] = (),
    process: Process | None = None, why: str = "",
) -> Case:  # fmt: skip
    own = process or Process()
    return Case("command_lines", what, line, expect, sound, names, why, edits, process=own)


# ---- commands


@st.composite
def _unknown_command(draw: DrawFn) -> Case:
    """Draw a word that is almost a command."""
    name = draw(st.sampled_from([*COMMANDS, "train", "eval", "run"]))
    letters = list(name)
    at = draw(st.integers(0, len(letters) - 1))
    change = draw(st.sampled_from(["drop", "twice", "upper", "swap"]))
    if change == "drop":
        letters.pop(at)
    elif change == "twice":
        letters.insert(at, letters[at])
    elif change == "upper":
        letters[at] = letters[at].upper()
    else:
        letters[at:] = reversed(letters[at:])
    word = "".join(letters)
    if word in COMMANDS or not word[:1].isalpha():
        word = f"{name}x"
    more = tuple(draw(st.lists(st.sampled_from(["--json", "x", "seed=1", "--help"]), max_size=2)))
    return _case("an unknown command", R, (word, *more), word)


BAD_COMMANDS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("diff with one run", ("diff", "done"), ("RUN_B",)), ("diff without a run", ("diff",), ("RUN_A",)),
    ("diff with three runs", ("diff", "done", "done", "x"), ("x",)), ("rerun without a run", ("rerun",), ("RUN_DIR",)),
    ("reference without a folder", ("reference",), ("FOLDER",)),
    ("reference of an unknown package", ("reference", "r", "--package=evil"), ("evil",)),
    ("reference of an unknown package", ("reference", "r", "--package", "numpy"), ("numpy",)),
    ("reference into a file", ("reference", "rows.jsonl"), ("rows.jsonl",)),
    ("reference into a device", ("reference", "/dev/null"), ("/dev/null",)),
    ("plugins of an unknown group", ("plugins", "nope"), ("nope",)),
    ("plugins of an unknown option", ("plugins", "metric", "nope"), ("nope",)),
    ("plugins with three words", ("plugins", "metric", "bleu", "x"), ("x",)),
    ("plugins twice", ("plugins", "--json", "--yaml"), ("--yaml", "--json")),
    ("experiments that are unknown", ("experiments", "nope"), ("nope",)),
    ("experiments in a path", ("experiments", "../../etc/passwd"), ("passwd",)),
    ("runs of nothing", ("runs", "gone"), ("gone",)), ("runs of a file", ("runs", "rows.jsonl"), ("rows.jsonl",)),
    ("resume of nothing", ("resume", "gone"), ("gone",)),
    ("resume of a file", ("resume", "rows.jsonl"), ("rows.jsonl",)), ("resume of two", ("resume", "a", "b"), ("b",)),
    ("resume with an override", ("resume", "done", "seed=1"), ("seed=1",)),
    ("chat with nothing", ("chat", "gone"), ("gone",)), ("chat without runs", ("chat",), ("outputs", "run")),
    ("chat with two models", ("chat", "done", "--base", "--both"), ("--both", "--base")),
    ("chat with no tokens", ("chat", "done", "--max-new-tokens=0"), ("--max-new-tokens",)),
    ("chat with a word for a number", ("chat", "done", "--max-new-tokens", "x"), ("--max-new-tokens",)),
    ("chat too cold", ("chat", "done", "--temperature=-1"), ("--temperature",)),
    ("chat with nan", ("chat", "done", "--temperature=nan"), ("--temperature",)),
    ("chat with inf", ("chat", "done", "--temperature=inf"), ("--temperature",)),
    ("chat with a share of 2", ("chat", "done", "--top-p=2"), ("--top-p",)),
    ("chat with a share of 0", ("chat", "done", "--top-p=0"), ("--top-p",)),
    ("chat with a seed of text", ("chat", "done", "--seed=x"), ("--seed",)),
    ("chat with a seed below 0", ("chat", "done", "--seed=-1"), ("--seed",)),
    ("chat with a seed that is too large", ("chat", "done", f"--seed={10**30}"), ("--seed",)),
    ("chat with an unknown key", ("chat", "done", "nope=1"), ("nope",)),
    ("chat with a setting for an option", ("chat", "done", "max_new_tokens=99999999999"), ("max_new_tokens",)),
    ("chat with a bad override", ("chat", "done", "trainer.device=nope"), ("trainer.device",)),
    ("chat with a GGUF file that is gone", ("chat", "done", "--gguf", "gone.gguf"), ("gone.gguf",)),
    ("doctor with an unknown key", ("doctor", "nope=1"), ("nope",)),
    ("doctor of a model", ("doctor", "model=nope"), ("nope",)),
    ("plan-table with a word", ("plan-table", "x9y"), ("x9y",)), ("rerun of nothing", ("rerun", "gone"), ("gone",)),
    ("rerun with an unknown key", ("rerun", "done", "nope=1"), ("nope",)),
    ("rerun with a key twice", ("rerun", "done", "seed=1", "seed=2"), ("seed=1",)),
    ("rerun into a finished run", ("rerun", "done", "run_dir=done"), ("done",)),
)  # fmt: skip
ROWS = Edit("put", "rows.jsonl", (b"{}\n",))


def _bad_command(which: tuple[str, tuple[str, ...], tuple[str, ...]]) -> Case:
    what, line, names = which
    return _case(what, R, line, *names, edits=(DONE, ROWS))


@st.composite
def _bad_option(draw: DrawFn) -> Case:
    """Draw an option that a command does not have."""
    command = draw(st.sampled_from(COMMANDS))
    option = (
        draw(
            st.sampled_from(
                [
                    "--jsn",
                    "--nope",
                    "-x",
                    "--json=1",
                    "--",
                    "---",
                    "--=x",
                    "--anyway=x",
                    "-Z9",
                    "--ünknown",
                    "--json-",
                    "--JSON",
                    "-",
                ]
            )
        )
        if draw(st.booleans())
        else f"--x{draw(WORD)}"
    )
    given = {
        "diff": ("done", "done"),
        "rerun": ("done",),
        "resume": ("done",),
        "reference": ("r",),
        "chat": ("done",),
        "runs": (".",),
    }.get(command, ())
    if option in {"--", "-"} and command == "doctor":  # which would look at the whole machine
        command, given = "runs", (".",)
    line = (command, *given, option)
    if option in {"--", "-"}:
        return _case("a lone dash", A, line, edits=(DONE,), why="dashes end the options, or are the name of a folder")
    return _case(f"{command} with an unknown option", R, line, option, option.partition("=")[0], edits=(DONE,))


GOOD_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("plugins",), ("plugins", "metric"), ("plugins", "metric", "exact_match"), ("plugins", "--json"),
    ("plugins", "adapter", "lora", "--yaml"), ("plugins", "experiment"), ("experiments",),
    ("experiments", "quickstart"), ("experiments", "--json"), ("plan-table",), ("plan-table", "--json"), ("runs", "."),
    ("runs", ".", "--json"),
    ("diff", "done", "done"), ("diff", "done", "done", "--json"), ("diff", "./done/", "done/."), ("resume",), ("runs",),
    ("--version",), ("--help",), ("-h",), ("--cfg", "job", *PLAN), ("--info", "defaults", *PLAN), ("--hydra-help",),
    *((command, "--help") for command in COMMANDS), *((command, "-h") for command in COMMANDS),
)  # fmt: skip


def _good_command(line: tuple[str, ...]) -> Case:
    expect = A if line in {("runs",), ("resume",)} else S
    sound = "none" if expect is A else "shown"
    return _case(" ".join(line[:2]), expect, line, sound=sound, edits=(DONE,), why="there are no runs below outputs/")


# ---- options of Hydra

HYDRA: tuple[tuple[str, ...], ...] = (
    ("--cfg", "nope"), ("--cfg",), ("--cfg=",), ("--info", "nope"), ("--config-dir", "gone"), ("--config-dir",),
    ("-cd", "gone"), ("--config-name", "x"), ("--config-path", "x"), ("-cn", "x"), ("-cp", "/"), ("--resolve",),
    ("--package", "x"), ("--nope",), ("-z",), ("--multirun=x",), ("--run=x",), ("--shell-completion",),
    ("--shell-completion", "nope"),
    ("hydra.run.dir=/x",), ("hydra.output_subdir=../x",), ("hydra.job.chdir=true",), ("hydra.launcher=nope",),
    ("hydra/launcher=nope",), ("hydra/sweeper=nope",), ("hydra.mode=NOPE",),
    ("hydra.searchpath=[file:///etc]",), ("hydra.nope=1",), ("hydra=5",), ("+hydra.job_logging._target_=os.system",),
    ("hydra.callbacks={a: {_target_: os.system}}",),
    ("-m",), ("-m", "seed="), ("-m", "seed=range(0,1e18)"), ("-m", "seed=range(0,5000000)"), ("-m", "seed=choice()"),
    ("-m", "seed=glob(*)"), ("-m", "seed=interval(0,1)"), ("-m", "seed=sort(1,x)"), ("-m", "seed=range(5,1)"),
    ("-m", "seed=1,,2"), ("-m", "nope=1,2"), ("-m", "run_dir=a,b"), ("seed=1,2",), ("seed=range(1,3)",),
    ("seed=choice(1,2)",), ("plugins=[gone.py]",), ("plugins=x",),
)  # fmt: skip


def _hydra(line: tuple[str, ...]) -> Case:
    own = tuple(each.partition("=")[0] for each in line if not each.startswith("-")) + tuple(line[-1:])
    rest = tuple(word for word in PLAN if word.partition("=")[0] not in own)
    return _case(
        f"Hydra: {' '.join(line)}",
        R,
        (*line[:1], *rest, *line[1:]) if line[0] == "-m" else (*rest, *line),
        *line,
        "run_dir",
        *own,
        *(each.partition("=")[0] for each in line),
        *(each.partition("=")[2] for each in line if each.partition("=")[2]),
        sound="plan",
    )


# ---- overrides

# Not `trainer=[hf]`, a list of one option, nor `data.path=5` and `adapter.target_modules=[5]`, a file and a layer that
# may have that name: a plan reads neither.
BAD = (
    "trainer.max_steps", "=5", "==", "seed==5", "seed=", "seed=[", "seed=]", "seed={", "seed=}", "seed=(", "seed=)",
    'seed="', "seed='", "seed=${", "seed=${nope}", "seed=a:b", "seed=[1", "seed={a:1", "seed=1.5", "seed=true",
    "seed=null", "seed=[1]", "seed={a:1}", "seed=x", "seed=nan", "seed=-1", "seed=1e400", "seed=0x", "seed=１２x",
    "~seed", "~trainer", "~trainer.max_steps", "~nope", "+seed=1", "+nope=1", "++nope=1", "+trainer=hf",
    "~trainer=nope", "trainer=", "trainer=nope", "trainer={a:1}", "trainer=hf,hf", "metric=exact_match",
    "metric=[[exact_match]]", "metric=[nope]", "metric={a:1}", "metric=[exact_match,exact_match]",
    "logger=[console,nope]", "logger=5", "evaluator=[null]", "exporter=[5]",
    "adapter.target_modules=[[q_proj]]", "adapter.target_modules=5", "adapter.target_modules=[]",
    "adapter.r=0", "adapter.r=x", "adapter.r=1e3", "adapter.r=2.5", "adapter.r=[2]",
    "trainer.learning_rate=0", "trainer.learning_rate=-1", "trainer.learning_rate=nan", "trainer.learning_rate=inf",
    "trainer.learning_rate=x", "trainer.learning_rate=[1]", "trainer.learning_rate=1e-3x",
    "trainer.max_steps=-2", "trainer.max_steps=1.5", "trainer.max_steps=x", "trainer.max_steps=1e400",
    "trainer.max_steps=[1]", "trainer.lerning_rate=1", "trainer.=1", ".trainer=1", "trainer..max_steps=1",
    "trainer.max_steps.x=1", "trainer[max_steps]=x", "trainer/max_steps=1", "Trainer.max_steps=1",
    " trainer.max_steps=1", "data.path=", "data.path=null", "data.path=[]", "data.path={a: b}",
    "model.path=", "model.path=null", "model.path=gone", "model.path=[a]", "model=nope", "name=",
    "name=null", "name=[a]", "name=../x", "name=/x", "name=.", "name=..", "name=a/b", "run_dir=",
    "run_dir=[a]", "stages=plan", "stages=[]", "stages=[nope]", "stages=[plan,plan]", "stages=5", "stages=[[plan]]",
    "objective=nope", "objective=", "objective=[a]", "checkpoint=gone", "checkpoint=[a]",
    "data.validation_split=2", "data.validation_split=-1", "data.validation_split=x", "data.max_rows=-1",
    "data.max_rows=x", "plan.gpu=nope", "plan.gpu=[a]", "health=nope", "health.nan=nope", "verdict.primary=nope",
    "grace_seconds=-1", "grace_seconds=x", "share=x", "experiment=nope", "+experiment=nope", "+experiment=../x",
    "+experiment=/etc/passwd", "+experiment=", "+experiment=[a]", "trainer.dtype=nope", "trainer.device=nope",
    "trainer.device=cuda:x",
    "trainer.packing=nope", "trainer.max_seq_length=0", "trainer.max_seq_length=-5", "optimizer=nope",
    "trainer.args={}x", "trainer.args=5", "trainer.args={nope: 1}", "trainer.args.nope=1",
    "model.chat_template=gone.jinja", "model.chat_template_kwargs=5", "quantization=nope", "quantization=nf4,int8",
    "launch=nope", "audit=nope", "audit=[nope]", "format=nope", "format.columns=5", "data.mix=5",
    "data.on_bad_row=nope", "data=nope",
)  # fmt: skip


def _bad_override(word: str) -> Case:
    key, _, value = word.lstrip("~+ ").partition("=")
    line = (*(each for each in PLAN if each.partition("=")[0] != key), word)
    names = tuple(each for each in (key, word, value, key.partition(".")[2], key.partition("[")[0]) if each)
    return _case(f"override {word}", R, line, *names, sound="plan")


ALIKE = {"a": "а", "e": "е", "o": "о", "p": "р", "c": "с", "x": "х", "i": "і", "s": "ѕ"}
HIDDEN = (
    "\u200b",
    "\u200d",
    "\u2060",
    "\ufeff",
    "\u00ad",
    "\u202e",
    "\u0301",
    "\u00a0",
    "\u3000",
    "\x7f",
    "\x1b[31m",
    "\r",
    "\n",
    "\t",
    "\x01",
)


@st.composite
def _alike(draw: DrawFn) -> Case:
    """Draw a key with a letter that looks like another, or that is not seen."""
    key = draw(
        st.sampled_from(
            ["seed", "trainer.max_steps", "adapter.r", "model.path", "trainer.learning_rate", "objective", "name"]
        )
    )
    at = draw(st.integers(0, len(key) - 1))
    if draw(st.booleans()) and key[at] in ALIKE:
        wrong = key[:at] + ALIKE[key[at]] + key[at + 1 :]
    else:
        wrong = key[: at + 1] + draw(st.sampled_from(HIDDEN)) + key[at + 1 :]
    word = draw(st.sampled_from([f"{wrong}=1", f"+{wrong}=1", f"{key}＝1", f"{key}﹦1"]))
    return _case(
        "a key with a letter that looks like another",
        R,
        (*PLAN, word),
        key[:at] or key,
        key,
        "argument",
        wrong,
        ascii(wrong)[1:-1],
        "It contains the character",
        sound="plan",
    )


@st.composite
def _long(draw: DrawFn) -> Case:
    """Draw long words, deep words and many words."""
    size = draw(st.integers(1000, 60_000))
    deep = draw(st.integers(50, 5000))
    what, line = draw(
        st.sampled_from(
            [
                ("a long key", ("k" * size + "=1",)), ("a long value", (f"seed={'9' * size}",)),
                ("a long text", (f"objective={'x' * size}",)), ("open brackets", ("data.mix=" + "[" * deep,)),
                ("brackets", ("data.mix=" + "[" * deep + "]" * deep,)),
                ("braces", ("data.mix=" + "{a:" * deep + "}" * deep,)),
                ("parentheses", ("data.mix=" + "choice(" * deep + ")" * deep,)),
                ("a deep key", ("a." * deep + "b=1",)), ("quotes", ("data.mix=" + "'" * (2 * deep + 1),)),
                ("interpolations", ("data.mix=" + "${" * deep + "}" * deep,)),
                ("many unknown keys", tuple(f"k{at}=1" for at in range(min(deep, 1500)))),
                ("backslashes", ("data.mix=" + "\\" * (2 * deep + 1) + "'",)),
                ("a long list", (f"data.mix=[{'a,' * (deep - 1)}a]",)),
                ("a long path", (f"model.path={'x/' * size}",)),
                ("a long component", (f"run_dir={'x' * draw(st.integers(256, 5000))}",)),
                ("a long experiment", (f"+experiment={'x' * size}",)), ("a long option", (f"trainer={'x' * size}",)),
                ("a long word", ("w" * size,)), ("many dashes", ("-" * size,)),
            ]
        )
    )  # fmt: skip
    keys = {each.partition("=")[0] for each in line}
    rest = tuple(each for each in PLAN if each.partition("=")[0] not in keys)
    names = tuple(
        {line[0].partition("=")[0].lstrip("+")[:20], line[0][:20], line[0].partition("=")[2][:20], "data.mix"} - {""}
    )
    # Not of data.path: a plan does not read it, see the kind data_files.
    return _case(f"long: {what}", R, (*rest, *line), *names, sound="plan")


@st.composite
def _bytes(draw: DrawFn) -> Case:
    """Draw an argument that is not UTF-8."""
    byte = draw(st.integers(0xDC80, 0xDCFF))
    key = draw(
        st.sampled_from(
            ["name=", "seed=", "model.path=", "data.path=", "", "--", "+experiment=", "run_dir=", "plugins "]
        )
    )
    return _case("an argument that is not UTF-8", R, (*PLAN, f"{key}a{chr(byte)}b"), "argument", sound="plan")


# ---- the same run


@st.composite
def _same(draw: DrawFn) -> Case:
    """Draw another order, quotes and prefixes for the same words."""
    quote = draw(st.sampled_from(["", "'", '"']))
    changed = []
    for word in draw(st.permutations(PLAN)):
        key, _, value = word.partition("=")
        is_text = "." in key and "[" not in value and not value.replace(".", "").isdigit()
        prefix = draw(st.sampled_from(["", "++"])) if key.startswith(("trainer.", "adapter.")) else ""
        changed.append(f"{prefix}{key}={quote}{value}{quote}" if is_text else f"{prefix}{word}")
    return _case("the same words", S, tuple(changed), sound="plan")


@st.composite
def _named(draw: DrawFn) -> Case:
    """Draw an odd name for a run: either it is one, or it is refused."""
    name = draw(
        WORD
        | st.sampled_from(
            [
                "a b",
                "ä",
                "日本",
                "null",
                "true",
                "1",
                "1e3",
                "a" * 200,
                "a" * 300,
                "-x",
                "~x",
                "<b>x</b>",
                "CON",
                "nul.txt",
                "x\u202ey",
                "e\u0301",
            ]
        )
    )
    quoted = "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    line = (*(each for each in PLAN if not each.startswith("name=")), f"name={quoted}")
    return _case(
        "a name", Expect.EITHER, line, "name", sound="plan", why="a name that cannot be that of a folder is refused"
    )


CASES = st.one_of(
    _unknown_command(), st.sampled_from(BAD_COMMANDS).map(_bad_command), _bad_option(),
    st.sampled_from(GOOD_COMMANDS).map(_good_command), st.sampled_from(HYDRA).map(_hydra),
    *[st.sampled_from(BAD).map(_bad_override)] * 3, _alike(), _long(), _bytes(), _same(), _named(),
)  # fmt: skip
