"""Files of settings that name code: none runs, however the setting is written, and whatever reads the plan."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import Case, Expect, words
from benchmarks.fuzz.edits import Edit

EVIL = b"from pathlib import Path\nPath('ran').touch()\nclass Game:\n    def reset(self): pass\n"
PLANTED = tuple(
    Edit("put", file, (EVIL,))
    for file in ("evil/tools.py", "evil/__init__.py", "evil/conversion/__init__.py", "evil/gguf/__init__.py")
)
HEAD = "# @package _global_\n"
OVERRIDES = {"method": "grpo", "evaluator": "[lm_eval]", "exporter": "[gguf,gguf_adapter]", "launch": "ddp"}
VALUES = {
    "plugins": ("[evil/tools.py]", "[./evil/tools.py]"),
    "model.trust_remote_code": ("true", "yes"),
    "method.environment": ("evil/tools.py:Game", "evil.tools:Game", "'${oc.env:NAMED}'", "./evil/tools.py:Nope"),
    "evaluator.lm_eval.include_path": ("evil", "'${oc.env:NAMED}'"),
    "evaluator.lm_eval.tasks": ("[evil/task.yaml]", "[general, evil/task.yaml]"),
    "exporter.gguf.llama_cpp_dir": ("evil", "./evil", "'${oc.env:NAMED}'"),
    "exporter.gguf_adapter.llama_cpp_dir": ("evil",),
    "launch.rendezvous": ("evil:29400",),
    "launch.ray.address": ("evil:6379", "'${oc.env:NAMED}'"),
    "launch.slurm.more": ("['export=PYTHONPATH=evil']", "[wrap=evil]"),
}


def _block(key: str, value: str, step: int) -> str:
    """Write a setting as a block."""
    parts = key.split(".")
    lines = [f"{' ' * step * depth}{part}:" for depth, part in enumerate(parts)]
    return "\n".join([*lines[:-1], f"{lines[-1]} {value}"]) + "\n"


def _inline(key: str, value: str) -> str:
    return ": {".join(key.split(".")) + f": {value}" + "}" * key.count(".") + "\n"


@st.composite
def _named(draw: DrawFn) -> Case:
    key = draw(st.sampled_from(sorted(VALUES)))
    value = draw(st.sampled_from(VALUES[key]))
    written = draw(st.sampled_from([_inline(key, value), *(_block(key, value, step) for step in (1, 2, 4))]))
    lists = "".join(f"  - override /{group}: {choice}\n" for group, choice in OVERRIDES.items())
    way = draw(st.sampled_from(["an experiment", "a file that it is built on", "values to try"]))
    files = {"conf/experiment/mine.yaml": f"{HEAD}defaults:\n{lists}{written}"}
    more: tuple[str, ...] = ()
    if way == "a file that it is built on":
        files["conf/experiment/mine.yaml"] = f"{HEAD}defaults:\n  - theirs\n  - _self_\nseed: 7\n"
        files["conf/experiment/theirs.yaml"] = f"{HEAD}defaults:\n{lists}{written}"
    elif way == "values to try":
        params = f'hydra:\n  sweeper:\n    params:\n      {key}: "{value.strip(chr(39))}"\n'
        files["conf/experiment/mine.yaml"] = f"{HEAD}defaults:\n{lists}{params}"
        more = ("-m",)
    stages = draw(st.sampled_from(["[plan]", "[data]", "[data,train,evaluate,export,report]"]))
    line = (*more, "+experiment=mine", *words(f"stages={stages}", "reward=[length]"))
    line = tuple(word for word in line if word.partition("=")[0] not in {"exporter", "evaluator", "metric"})
    edits = (*PLANTED, *(Edit("put", name, (text.encode(),)) for name, text in files.items()))
    env = (("NAMED", draw(st.sampled_from(["evil", "evil/tools.py:Game", "evil:1"]))),)
    names = (key, key.rpartition(".")[2], "mine.yaml", "theirs.yaml")
    return Case("named_code", way, line, Expect.REFUSED, "plan", names, edits=edits, env=env)


CASES: SearchStrategy[Case] = _named()
