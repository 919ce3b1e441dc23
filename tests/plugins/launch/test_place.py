"""`launch.on=slurm`, with stand-ins for the commands of Slurm: what is submitted, and what is refused."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import time
from pathlib import Path

import pytest

import framework
from framework import FrameworkError, Plan, testing
from framework_plugins.launch import job, slurm
from framework_plugins.launch.config import GroupConfig
from framework_plugins.launch.job import work_of
from framework_plugins.launch.slurm import Job, submit
from tests.support.project import Project, project

ROWS = "".join(f'{{"instruction": "{n}?", "output": "{n}"}}\n' for n in range(8))
WORDS = ["data=local_file", "data.path=rows.jsonl", "launch.on=slurm", "run_dir=run"]
SBATCH = """#!/bin/sh
cp "$1" {folder}/script.sh
grep -q partition=nowhere "$1" && {{ echo "sbatch: error: invalid partition specified: nowhere" >&2
echo "sbatch: error: Batch job submission failed: Invalid partition name specified" >&2; exit 1; }}
grep -q -- --bogus "$1" && {{ echo "sbatch: unrecognized option '--bogus'" >&2; exit 1; }}
echo "Submitted batch job 12"
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Project:
    """Return a folder on a machine with stand-ins."""
    programs = {
        "sbatch": SBATCH.format(folder=tmp_path),
        "srun": "",
        "squeue": "#!/bin/sh\necho 'PENDING (Resources)'\n",
        "sinfo": "#!/bin/sh\ncase $2 in *=short) ;; *) echo 'days* 2-00:00:00';; esac; echo short 30:00\n",
    }
    for name, text in programs.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text or "#!/bin/sh\n", encoding="utf-8")
        file.chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    return project(tmp_path / "place", {"rows.jsonl": ROWS}, {"PATH": path})


def test_a_run_becomes_a_job_of_its_plan_and_a_plan_does_not(cluster: Project) -> None:
    asked = ["launch=ddp", "launch.processes=2", "launch.slurm.partition=gpu", "launch.slurm.minutes=30"]
    more = ["launch.slurm.memory_gb=8", "launch.slurm.cpus=4", "launch.slurm.more=['constraint=a100',exclusive]"]
    planned = cluster.echo(*WORDS[:-1], "run_dir=planned", *asked, "stages=[plan]")
    assert planned.code == 0, planned.err
    assert not (cluster.folder / "outputs").exists()
    done = cluster.echo(*WORDS, *asked, *more)
    assert done.code == 0, done.err
    (own,) = (cluster.folder / "outputs" / "slurm").iterdir()
    assert done.out.splitlines()[:3] == [
        "Slurm job 12: PENDING (Resources)",
        "  folder   run",
        f"  output   outputs/slurm/{own.name}/12_0_log.out, and errors beside it",
    ]
    script = (cluster.folder.parent / "script.sh").read_text(encoding="utf-8")
    options = set(re.findall(r"^#SBATCH --(\S+)", script, re.MULTILINE))
    assert {
        "partition=gpu", "time=30", "nodes=1", "ntasks-per-node=1", "gpus-per-node=2", "cpus-per-task=4", "mem=8GB",
        "constraint=a100", "exclusive", "signal=USR2@85", "job-name=run",
    } <= options  # fmt: skip
    assert (own.stat().st_mode & 0o077, own.parent.stat().st_mode & 0o077) == (0, 0)
    submitted = pickle.loads((own / "12_submitted.pkl").read_bytes())  # noqa: S301 - ours
    assert isinstance(submitted.function, Job)
    plan = pickle.loads(submitted.function.work.packed).load()  # noqa: S301 - ours
    assert (plan.launch.config.on.value, plan.launch.component.name) == ("local", "ddp")
    assert plan.run_dir == cluster.folder / "run"
    assert not (cluster.folder / "run").exists()


def test_what_slurm_refuses_and_a_machine_without_it_are_told_in_two_lines(cluster: Project) -> None:
    refused = cluster.echo(*WORDS, "launch.slurm.partition=nowhere")
    assert (refused.code, refused.err.splitlines()[-2:]) == (
        2,
        [
            "Slurm refuses the job: invalid partition specified: nowhere",
            "`sinfo` lists the partitions and their limits: change launch.slurm",
        ],
    )
    assert not (cluster.folder / "outputs").exists()
    for words, told in {
        ("launch.slurm.more=[bogus]",): "Slurm refuses the job: unrecognized option '--bogus'\n",
        ("launch.slurm.partition=short",): "minutes=720: the partition short allows 30 minutes, and Slurm would keep",
        ("launch.slurm.minutes=2881",): "minutes=2881: the default partition allows 2880 minutes, and Slurm would ke",
        ("launch.slurm.minutes=1",): "the job 85 seconds before that, which are grace_seconds and 60 more. Set launc",
    }.items():
        done = cluster.echo(*WORDS, *words)
        assert (done.code, told in done.err) == (2, True), done.err
    assert [*cluster.folder.iterdir()] == [cluster.folder / "rows.jsonl"]
    empty = cluster.folder.parent / "empty"
    empty.mkdir()
    for command in ("srun", "sbatch"):
        absent = project(cluster.folder, env={"PATH": str(empty)}).echo(*WORDS)  # this machine may have Slurm
        assert (absent.code, absent.err.splitlines()[-2:]) == (
            2,
            [
                f"launch.on=slurm needs Slurm, whose command {command} is not on this machine",
                "Submit on a login node of the cluster, or leave launch.on out",
            ],
        )
        (empty / command).symlink_to("/bin/true")
    unknown = cluster.echo(*WORDS, "launch=ddp")
    assert unknown.code == 2
    assert "launch.processes has to be given with launch.on=slurm: launch.processes=8" in unknown.err


def test_programs_of_slurm_that_say_odd_things_or_nothing(cluster: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of sinfo that is not two words, a state that is not UTF-8, an error with a secret, and no answer."""
    programs, secret = cluster.folder.parent / "bin", "hf_Aq1Zx9Lm2Wn8Er3Ty7Ui4Op6Pk5SdFgHj2"
    odd = {"sinfo": "echo 'down for now'; echo 'days* x y'", "squeue": r"printf '\377\033[31m (None)\n'"}
    for name, text in odd.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    done = cluster.echo(*WORDS)
    assert (done.code, done.out.splitlines()[0]) == (0, "Slurm job 12: \N{REPLACEMENT CHARACTER}\\x1b[31m"), done.err
    (programs / "squeue").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    done = cluster.echo(*WORDS)
    assert (done.code, done.out.splitlines()[0]) == (0, "Slurm job 12: submitted; squeue does not list it"), done.err
    taken = sorted((cluster.folder / "outputs").rglob("*"))
    (programs / "sbatch").write_text("#!/bin/sh\necho 'Submitted batch task 0x12'\n", encoding="utf-8")
    unread = cluster.echo(*WORDS)
    assert (unread.code, "sbatch answers 'Submitted batch task 0x12', which names no job" in unread.err) == (2, True)
    (programs / "sbatch").write_text(f"#!/bin/sh\necho 'sbatch: error: no {secret}' >&2; exit 1\n", encoding="utf-8")
    refused = cluster.echo(*WORDS)
    assert (refused.code, secret in refused.err) == (2, False)
    assert "Slurm refuses the job: no (hidden)" in refused.err
    (programs / "sbatch").write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    monkeypatch.setattr(slurm, "SUBMIT_SECONDS", 0.3)
    began = time.monotonic()
    silent = cluster.echo(*WORDS)
    assert time.monotonic() - began < 30
    assert (silent.code, "sbatch has not answered for 0.3 s: `squeue --me` shows" in silent.err) == (2, True)
    assert sorted((cluster.folder / "outputs").rglob("*")) == taken  # of the jobs that Slurm has


def test_a_trial_of_a_sweep_is_not_submitted(data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match=r"set hydra/launcher=submitit_slurm"):
        next(submit(dataclasses.replace(plan, sweep="rates"), plan.launch.config))


def test_a_node_of_several_starts_processes_of_the_plan(
    tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["data=local_file", f"data.path={data_file}", "launch=ddp", "launch.processes=2", "launch.nodes=2",
             "launch.on=slurm"]  # fmt: skip
    plan = testing.plan([*words, f"run_dir={tmp_path / 'run'}"], run_dir=tmp_path / "run")
    packed, started = pickle.loads(work_of(plan).packed), list[object]()  # noqa: S301 - ours

    def start_node(_: Plan, config: GroupConfig, module: str, given: list[str]) -> None:
        read = pickle.loads(Path(given[1]).read_bytes()).load()  # noqa: S301 - ours
        started.extend([config.rendezvous, config.nodes, module, given[0], read.run_dir, read.launch.config.on.value])

    monkeypatch.setattr(job, "start_node", start_node)
    job.on_node(packed.load(), packed, "n1:29400")
    assert started == ["n1:29400", 2, job.__name__, "--plan", tmp_path / "run", "local"]


def test_a_job_or_a_part_of_a_group_has_no_report_for_python(tmp_path: Path, data_file: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", f"run_dir={tmp_path / 'run'}", "model=echo", "trainer=echo"]
    several = ["launch=ddp", "launch.processes=2", "launch.nodes=2", "launch.rendezvous=n1:29400"]
    cases = [(["launch.on=slurm"], "launch.on=slurm only submits the run"), (several, "another process of its group")]
    for more, told in cases:
        with pytest.raises(FrameworkError, match=f"train returns the report, but {told}.* python -m framework"):
            framework.train([*words, *more])
    assert not (tmp_path / "run").exists()
