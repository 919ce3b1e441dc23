"""Queues: what Slurm's programs print and how they end, by stand-ins, and the files for other launchers."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from benchmarks.fuzz.case import PLACE, Case, Expect, words
from benchmarks.fuzz.edits import Edit
from framework_plugins.launch.slurm import SUBMIT_SECONDS

WHY = "answers of a queue are drawn, and some are right"
PLANTED = "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"
SAID = (
    "", "Submitted batch job 7", "7", "7;cluster", "Submitted batch job x", "Submitted batch job 7\\nSubmitted 8", "0",
    "-1", "7 RUNNING", "7|RUNNING|", "gpu up", "gpu* up infinite 2 idle n[1-2]", "one", "one two three", "\\xff\\xfe",
    "\\033[31mred", f"token={PLANTED}", "PENDING", "RUNNING", "COMPLETED", "FAILED", "NODE_FAIL", "CANCELLED by 0",
    "JobID|State\\n7|COMPLETED", "error: Batch job submission failed: Invalid partition name specified", "7\\n" * 3,
    "slurm 24.05.1", "slurm", "gpu 8\\ncpu 0", "gpu (null)", "gpu gpu:h100:8(S:0-1)", "x" * 5000,
)  # fmt: skip
ENDS = ("exit 0", "exit 0", "exit 0", "exit 1", "exit 127", "kill -9 $$", "exit 255", "sleep 60")
PROGRAMS = ("sbatch", "squeue", "sinfo", "sacct", "scontrol", "scancel", "srun")
SETTINGS = (
    "launch.slurm.partition=gpu", "launch.slurm.minutes=5", "launch.slurm.gpus=1", "launch.nodes=2", "name='a b'",
    "launch.slurm.more=[exclusive]", "launch.slurm.more=['constraint=a100']",
    "launch.slurm.more=['x=\"; touch evil\"']",
    "name=$(touch evil)", "launch.slurm.requeues=2", "launch.processes=2", "seed=7", "run_dir=memory://b/run",
)  # fmt: skip


@st.composite
def _program(draw: DrawFn, name: str) -> Edit:
    out, err = draw(st.sampled_from(SAID)), draw(st.sampled_from(["", "", "", *SAID]))
    end = draw(st.sampled_from(ENDS))
    text = f"#!/bin/sh\ncat > /dev/null\nprintf '{out}'\nprintf '{err}' >&2\n{end}\n"
    return Edit("script", f"bin/{name}", (text.encode(),))


@st.composite
def _slurm(draw: DrawFn) -> Case:
    here = draw(st.lists(st.sampled_from(PROGRAMS), unique=True, min_size=1))
    here = [*dict.fromkeys([*here, *(["sbatch", "squeue", "sinfo"] if draw(st.integers(0, 3)) else [])])]
    edits = tuple(draw(_program(name)) for name in here)
    own = draw(st.lists(st.sampled_from(SETTINGS), max_size=2, unique=True))
    launch = draw(st.sampled_from(["ddp", "ddp", "fsdp2", "subprocess"]))
    inside = draw(st.sampled_from([(), (), (("SLURM_JOB_ID", "7"),), (("SLURM_JOB_ID", "x"), ("SLURM_NTASKS", "2"))]))
    env = (("PATH", f"{PLACE}/bin:/usr/bin:/bin"), *inside)
    what = draw(st.sampled_from(["run", "run", "run", "doctor"]))
    if what == "doctor":
        line: tuple[str, ...] = ("doctor", *words(f"launch={launch}", "launch.on=slurm", *own))
        return Case("queues", "doctor", line, Expect.ANY, "none", (), WHY, edits, env, codes=(1,))
    line = words("stages=[data,train]", f"launch={launch}", "launch.on=slurm", *own)
    names = (
        "Slurm",
        "slurm",
        "sbatch",
        "launch",
        "submitit",
        "name",
        "memory",
        *(one.partition("=")[0] for one in own),
    )
    return Case("queues", "Slurm", line, Expect.ANY, "run", names, WHY, edits, env, waits=SUBMIT_SECONDS, trains=True)


@st.composite
def _files(draw: DrawFn) -> Case:
    kind = draw(st.sampled_from(["kubeflow", "skypilot", "dstack"]))
    odd = st.sampled_from(
        ["a b", "", "\n", "é", "'", '"', "$(x)", "{}", ": x", "- x", "#", "null", "1e5", "\x1b[1m", PLANTED]
    )
    text = draw(odd | st.text(max_size=8)).replace("\0", "")
    options = draw(
        st.lists(
            st.sampled_from([f"--secret={text}", f"--image={text}", f"name='{text}'", f"plan.gpu={text}"]), max_size=3
        )
    )
    own = draw(st.lists(st.sampled_from(SETTINGS[:6]), max_size=2, unique=True))
    line = ("launch-file", kind, *(one for one in words("launch=ddp", *own) if "stages" not in one), *options)
    names = ("launch-file", "--image", "--secret", "name", "plan.gpu", "launch", "run_dir")
    return Case("queues", "launch-file", line, Expect.ANY, "shown", names, WHY)


CASES: SearchStrategy[Case] = st.one_of(_slurm(), _slurm(), _files())
