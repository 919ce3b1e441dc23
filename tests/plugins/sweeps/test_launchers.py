"""Sweeps by launchers that run points in processes of their own: joblib, submitit, Ray."""

import os
import re
import subprocess
import sys
import time
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest

from framework.api import pip_command
from tests.support.forked_program import MODULE, program
from tests.support.program import environment, framework
from tests.support.sweeps import WORDS, hardware, points, prepare, sweep

GRID = ["seed=1,2,3,4", "objective=train_loss", "trainer.naps=0.5"]
TWO = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
LOCAL = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a working folder with data and the backend."""
    return prepare(tmp_path / "place")


def test_each_worker_of_joblib_sees_a_gpu_of_its_own_and_a_failed_point_ends_nothing(place: Path) -> None:
    fails = "trainer.end=none,none,mistake,none"
    done = sweep(place, "hydra/launcher=joblib", fails, *GRID[1:], CUDA_VISIBLE_DEVICES="4,5")
    assert done.code == 2
    assert "hydra.launcher.n_jobs=2: one trial for each GPU" in done.err
    assert "first line" in done.err
    assert [point["state"] for point in points(place)] == ["finished", "finished", "failed", "finished"]
    found = hardware(place)
    assert {each["sees"] for each in found} == {"4", "5"}
    assert len({(each["process"], each["sees"]) for each in found}) == 2


@pytest.mark.slow
def test_points_beyond_the_gpus_wait_for_one(place: Path) -> None:
    done = sweep(
        place, *LOCAL, "hydra.launcher.gpus_per_node=2", "seed=1,2,3", "objective=train_loss", "trainer.naps=1"
    )
    assert done.code == 0, done.err
    assert [point["state"] for point in points(place)] == ["finished"] * 3
    assert {each["sees"] for each in hardware(place)} == {"0", "1"}


def test_on_the_cpu_no_gpu_is_handed_out_and_one_process_takes_none(place: Path) -> None:
    done = sweep(place, "seed=1,2", CUDA_VISIBLE_DEVICES="4,5")
    assert done.code == 0, done.err
    assert {each["sees"] for each in hardware(place)} == {"4,5"}


@pytest.mark.slow
def test_optuna_asks_for_as_many_points_as_joblib_runs_and_prunes_in_its_workers(place: Path) -> None:
    optuna = ["hydra/sweeper=optuna5", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=median"]
    words = ["hydra.sweeper.n_startup_trials=1", "objective=train_loss", "trainer.eval_steps=3"]
    losses = "trainer.eval_losses=[1.0],[1.1],[9.0],[9.1]"
    done = sweep(place, *TWO, *optuna, *words, losses, CUDA_VISIBLE_DEVICES="")
    assert done.code == 0, done.err
    assert [point["state"] for point in points(place)] == ["finished", "finished", "pruned", "pruned"]


@pytest.mark.parametrize(
    "launcher", [pytest.param(TWO, id="joblib", marks=pytest.mark.slow), pytest.param(LOCAL, id="submitit")]
)
def test_a_password_of_the_storage_is_in_no_file_and_points_are_pruned_all_the_same(
    place: Path, launcher: list[str]
) -> None:
    optuna = ["hydra/sweeper=optuna5", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=median"]
    words = [
        "hydra.sweeper.n_startup_trials=1",
        "hydra.sweeper.n_jobs=1",
        "objective=train_loss",
        "trainer.eval_steps=3",
    ]
    url = f"sqlite:///{place.parent}/hunter2.db"
    storage = "hydra.sweeper.storage=${oc.env:STUDY}"
    done = sweep(place, *launcher, *optuna, *words, storage, "trainer.eval_losses=[1.0],[9.0]", STUDY=url)
    assert done.code == 0, done.err
    assert [point["state"] for point in points(place)] == ["finished", "pruned"]
    files = [file for file in place.rglob("*") if file.is_file()]
    assert any(file.name.endswith("_result.pkl") for file in files) is (launcher is LOCAL)
    assert [file for file in files if b"hunter2" in file.read_bytes()] == []
    assert "hunter2" not in done.out + done.err


@pytest.mark.slow
def test_resume_by_joblib_runs_only_what_is_missing(place: Path) -> None:
    assert sweep(place, *TWO, *GRID[:2], CUDA_VISIBLE_DEVICES="").code == 0
    before = {file: file.stat().st_mtime_ns for file in (place / "x").glob("*/overrides.json")}
    (place / "x" / "2" / "status.json").unlink()
    done = program("resume", "x", cwd=place, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.code == 0, done.err
    changed = [file.parent.name for file, time in before.items() if file.stat().st_mtime_ns != time]
    assert changed == ["2"]
    assert [point["state"] for point in points(place)] == ["finished"] * 4


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [pytest.param(TWO, id="joblib"), pytest.param(LOCAL, id="submitit")])
def test_points_that_outlive_the_process_that_asked_for_them_are_not_run_twice(
    place: Path, launcher: list[str]
) -> None:
    words = [*WORDS, *launcher, "seed=1,2", "objective=train_loss", "trainer.naps=8"]
    variables = environment(place.parent, CUDA_VISIBLE_DEVICES="")
    driver = subprocess.Popen(
        [*MODULE, "-m", *words], cwd=place, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not all((place / "x" / number / "status.json").exists() for number in "01"):
            assert driver.poll() is None
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
    done = program("resume", "x", cwd=place, env={"CUDA_VISIBLE_DEVICES": ""})
    assert done.code == 2
    assert re.fullmatch(rf"{place}/x/0: locked by process \d+ on .+\. Wait .+\n", done.err)


@pytest.mark.skipif(find_spec("hydra_plugins.hydra_ray_launcher") is not None, reason="the launcher of Ray is here")
def test_a_launcher_that_is_not_installed_is_reported_with_the_way_to_get_it(place: Path) -> None:
    done = sweep(place, "hydra/launcher=ray", "seed=1,2")
    assert done.code == 2
    assert done.err == f"hydra/launcher=ray needs hydra-ray-launcher: {pip_command(['framework-finetune[ray]'])}\n"


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Return a folder with Ray and its launcher; None if they are installed.

    They are not part of the extra `test`: the launcher requires cloudpickle below 3, which would hold it back for all.
    What they need besides is here, or not used on one machine; so they come alone, and behind what is installed.
    """
    if find_spec("hydra_plugins.hydra_ray_launcher") is not None:
        return None
    folder = tmp_path_factory.mktemp("ray")
    wanted = [each for each in requires("framework-finetune") or [] if "extra == 'ray'" in each.replace('"', "'")]
    names = [each.partition(";")[0].strip() for each in wanted]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*install, *names, "msgpack"], check=True, timeout=600)
    return folder


@pytest.mark.slow  # brings Ray, 70 MB, where it is not installed
def test_a_local_ray_runs_points(place: Path, ray: Path | None) -> None:
    words = [
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.include_dashboard=false",
        "+hydra.launcher.ray.init.num_cpus=2",
    ]
    env = environment(place.parent, CUDA_VISIBLE_DEVICES="", RAY_AUTH_MODE="disabled", RAY_USAGE_STATS_ENABLED="0")
    if ray:
        env["PYTHONPATH"] = os.pathsep.join([*filter(None, [env.get("PYTHONPATH")]), str(ray)])
    # Not a fork: what forks has looked for Hydra's plugins before it gets this path. Two workers import all of it.
    done = framework("-m", *WORDS, *words, "seed=1,2", GRID[1], cwd=place, env=env)
    assert done.returncode == 0, done.stderr
    assert [point["state"] for point in points(place)] == ["finished"] * 2
