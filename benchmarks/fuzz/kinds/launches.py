"""How and where a run happens: processes, machines, Slurm, Ray, files for launchers, and an outer torchrun."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import Case, Expect, words
from benchmarks.fuzz.kinds.pieces import JSON, TEXT

A = Expect.ANY
WHY = "settings of a launch are drawn, and some go together"
NUMBERS = ("0", "1", "2", "8", "-1", "null", "1.5", "x", "99999999", "1e9", "true", "[]", "''")
SETTINGS = {
    "launch.on": ("local", "slurm", "ray", "kubernetes", "null", "''"),
    "launch.processes": NUMBERS,
    "launch.nodes": NUMBERS,
    "launch.rendezvous": (
        "null", "'127.0.0.1:29400'", "host", "':29400'", "'h:0'", "'h:99999'", "'h:x'", "'[::1]:29400'", "'h:1:2'",
        "''", "'tcp://h:1'", "'h:１２'", "'a b:1'", "'$(x):1'",
    ),
    "launch.wait_seconds": ("1", "0", "-1", "nan", "inf", "x"),
    "launch.restarts": ("0", "3", "-1", "x"),
    "launch.cpu_offload": ("true", "1", "x"),
    "launch.slurm.partition": ("gpu", "''", "--evil", "'a b'", "null", "[]"),
    "launch.slurm.minutes": NUMBERS,
    "launch.slurm.requeues": NUMBERS,
    "launch.slurm.gpus": NUMBERS,
    "launch.slurm.more": ("[]", "[exclusive]", "['constraint=a100']", "['']", "['=']", "[1]", "x", "[null]", "[[]]"),
    "launch.ray.address": ("auto", "'127.0.0.1:1'", "''", "null"),
    "launch.ray.gpus": NUMBERS,
    "launch.ray.failures": ("0", "-1", "x"),
    "launch.nope": ("1",),
    "plan.gpu": ("h100", "'24GB'", "nope", "null", "a100_80", "''"),
    "trainer.device": ("cpu", "cuda", "auto"),
    "run_dir": ("run", "memory://b/run", "s3://b/run", "null"),
    "stages": ("[plan]", "[data]", "[report]", "[evaluate]"),
    "optimizer": ("adamw_torch", "adafactor", "lion_8bit"),
    "quantization": ("none", "int8", "nf4"),
    "method": ("sft", "grpo", "dpo"),
    "name": ("x", "'日本'", "'A b'", "'-'", f"{'n' * 150}", "'1'", "null"),
}  # fmt: skip
LAUNCHES = ("single", "subprocess", "ddp", "fsdp2", "torchrun", "null", "[ddp]", "deepspeed")


@st.composite
def _settings(draw: DrawFn) -> list[str]:
    chosen = draw(st.lists(st.sampled_from(sorted(SETTINGS)), min_size=1, max_size=4, unique=True))
    launch = draw(st.sampled_from([*LAUNCHES, "ddp", "ddp", "fsdp2", "fsdp2"]))
    return [f"launch={launch}", *(f"{name}={draw(st.sampled_from(SETTINGS[name]))}" for name in chosen)]


def _named(line: tuple[str, ...], own: list[str]) -> tuple[str, ...]:
    """Return what a refusal names: a key of the line, without its group too, or what it is about."""
    keys = [word.partition("=")[0] for word in own]
    about = ("Slurm", "submitit", "Ray", "torchrun", "GPU", "s3://", *line[:1])
    return (*keys, *(key.rpartition(".")[2] for key in keys), *about)


@st.composite
def _plans(draw: DrawFn) -> Case:
    own = draw(_settings())
    line = words("stages=[plan]", *own)
    return Case("launches", "a plan", line, A, "plan", _named((), own), WHY)


@st.composite
def _elsewhere(draw: DrawFn) -> Case:
    """Draw a run that Slurm or Ray is to start, neither of which is here."""
    on = draw(st.sampled_from(["slurm", "ray"]))
    own = [each for each in draw(_settings()) if not each.startswith(("launch.on", "stages"))]
    line = words(*own, f"launch.on={on}")
    return Case("launches", f"launch.on={on}", line, A, "run", _named((), [*own, "launch.on"]), WHY)


@st.composite
def _outer(draw: DrawFn) -> Case:
    """Draw the variables of a group that torchrun, or something like it, has started."""
    rank = draw(st.sampled_from(["0", "1", "1", "5", "-1", "x", ""]))
    env: dict[str, str] = {
        "RANK": rank,
        "WORLD_SIZE": draw(st.sampled_from(["1", "2", "2", "2", "0", "-1", "x", "", "99999999"])),
        "LOCAL_RANK": draw(st.sampled_from([rank, "0", "7", "x"])),
        "LOCAL_WORLD_SIZE": draw(st.sampled_from(["1", "2", "0", "x"])),
        "MASTER_ADDR": draw(st.sampled_from(["127.0.0.1", "localhost", "no.such.host.invalid", "", "::1", "a b"])),
        "MASTER_PORT": draw(st.sampled_from(["1", "0", "29511", "99999", "x", "-1", ""])),
        "GROUP_RANK": draw(st.sampled_from(["0", "1", "x"])),
        "TORCHELASTIC_RUN_ID": draw(st.sampled_from(["none", ""])),
        "PET_NNODES": draw(st.sampled_from(["2", "1:2", "x", "1"])),
        "TORCHELASTIC_RESTART_COUNT": draw(st.sampled_from(["0", "x"])),
        "TORCHELASTIC_USE_AGENT_STORE": draw(st.sampled_from(["True", "False", "x"])),
    }
    kept = draw(st.lists(st.sampled_from(sorted(env)), unique=True, max_size=4))
    all_but = {name: value for name, value in env.items() if name not in kept}
    launch = draw(st.sampled_from(["ddp", "ddp", "ddp", "fsdp2", "single", "subprocess"]))
    own = [f"launch={launch}"]
    if launch in {"ddp", "fsdp2"}:
        sizes = st.sampled_from(["launch.nodes=2", "launch.processes=2", "launch.processes=1"])
        own += ["launch.wait_seconds=1", *draw(st.lists(sizes, max_size=1))]
    own += [f"stages={draw(st.sampled_from(['[plan]', '[data]', '[data,train]', '[report]']))}"]
    line = words(*own, draw(st.sampled_from(["run_dir=run", "run_dir=run", "run_dir=memory://b/run"])))
    names = (*all_but, "launch", "machine", "process", "MASTER")
    return Case("launches", "variables of a group", line, A, "run", names, WHY, env=(*all_but.items(),))


@st.composite
def _files(draw: DrawFn) -> Case:
    """Draw a file for a launcher."""
    kind = draw(st.sampled_from(["kubeflow", "skypilot", "dstack", "kubeflow", "skypilot", "dstack", "nomad", ""]))
    own = draw(_settings())
    options = draw(
        st.lists(
            st.sampled_from(
                ["--image=i:1", "--image", "--image=", "--secret=HF_TOKEN", "--secret=", "--secret=a b", "--secret",
                 "--x", "hf_token=hf_abcdefghijklmnopqrstuvwxyz", "data.path='${oc.env:NOPE}'"]
            ), max_size=2,
        )
    )  # fmt: skip
    image = draw(st.sampled_from([["--image=ghcr.io/me/x:1"], ["--image=ghcr.io/me/x:1"], []]))
    line = ("launch-file", kind, *(word for word in words(*own) if not word.startswith("stages")), *image, *options)
    names = ("launch-file", "--image", "KIND", "kind", *options, *_named((), own))
    return Case("launches", "launch-file", line, A, "shown", names, WHY)


@st.composite
def _anything(draw: DrawFn) -> Case:
    key = draw(st.sampled_from([key for key in SETTINGS if key.startswith("launch.")]))
    value = draw(TEXT | JSON.map(str))
    line = words("stages=[plan]", "launch=ddp", f"{key}={value}".replace("\0", ""))
    return Case("launches", "any value", line, A, "plan", why=WHY)


CASES: SearchStrategy[Case] = st.one_of(
    _plans(), _plans(), _plans(), _elsewhere(), _outer(), _outer(), _files(), _files(), _anything()
)
