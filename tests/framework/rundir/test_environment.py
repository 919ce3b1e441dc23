"""What a run was made with: told where it can be, None if it cannot."""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from framework import __version__, hookimpl, testing
from framework.hooks import hookspecs
from framework.hooks.session import current
from framework.rundir import environment as module
from framework.rundir.environment import (
    Commit,
    checkouts,
    commit,
    environment,
    origin,
    packages,
    plugin_origins,
    versions,
)
from framework.util.redact import hide
from framework.util.versions import installed


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return the folder of a repository with one commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1\n", encoding="utf-8")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_packages_are_those_whose_modules_are_loaded() -> None:
    found = packages()
    assert found["framework-finetune"] == __version__
    assert {"hydra-core", "pluggy", "pytest"} <= found.keys()
    assert "pip" not in found
    assert list(found) == sorted(found, key=str.lower)
    assert versions() == {"python": platform.python_version(), **found}


def test_a_module_that_runs_from_a_checkout_is_reported_by_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "acme_tools-1.2.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tools\nVersion: 1.2\n", encoding="utf-8")
    url = (tmp_path / "source").as_uri()
    (about / "direct_url.json").write_text(json.dumps({"url": url, "dir_info": {"editable": True}}), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = types.ModuleType("acme_in_a_checkout")
    module.__file__ = str(tmp_path / "source" / "acme_in_a_checkout.py")
    checkouts.cache_clear()
    assert "acme-tools" not in packages()
    monkeypatch.setitem(sys.modules, "acme_in_a_checkout", module)
    assert packages()["acme-tools"] == "1.2"
    checkouts.cache_clear()


def test_what_is_not_installed_has_no_version() -> None:
    assert installed("framework-finetune") == __version__
    assert installed("no-such-distribution") is None


def test_the_commit_is_reported_with_whether_files_differ_from_it(repository: Path) -> None:
    number = git(repository, "rev-parse", "HEAD")
    (repository / "outputs").mkdir()
    (repository / "outputs" / "plan.json").touch()  # not tracked: no change
    assert commit(repository) == commit(repository / "outputs") == Commit(number, dirty=False)
    (repository / "code.py").write_text("2\n", encoding="utf-8")
    assert commit(repository) == Commit(number, dirty=True)


def test_the_variables_of_a_hook_of_git_do_not_name_another_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert commit(repository) is not None


def test_without_a_repository_or_a_commit_there_is_none(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    if shutil.which("git"):
        git(tmp_path, "init", "--quiet")
        assert commit(tmp_path) is None


def test_without_git_there_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository / "empty"))
    assert commit(repository) is None


def test_a_git_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(module, "GIT_SECONDS", 0.2)
    assert commit(tmp_path) is None


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("seed=1", "seed=1"),
        ("+experiment=quickstart", "+experiment=quickstart"),
        ("logger.wandb.api_key=abc", "logger.wandb.api_key=(hidden)"),
        ("data.url=https://me:pw@host/x", "data.url=https://(hidden)@host/x"),
        ("data.options={token: abc, n: 1}", "data.options=(hidden)"),
        ("data.headers={Authorization: abc}", "data.headers=(hidden)"),
        ("data.headers={more: {X-Api-Key: abc}}", "data.headers=(hidden)"),
        ("data.headers=[{tokens: [1, abc]}]", "data.headers=(hidden)"),
        ("data.tokens=[abc]", "data.tokens=(hidden)"),
        ("+data.tokens.hub=abc", "+data.tokens.hub=(hidden)"),
        ("data.password=12345", "data.password=(hidden)"),
        ("data.url=https://h/x?token=abc", "data.url=https://h/x?token=(hidden)"),
        ("data.args=['api_key=abc',b]", "data.args=['api_key=(hidden)',b]"),
        ("trainer.max_new_tokens=5", "trainer.max_new_tokens=5"),
        ("data.options={max_tokens: 5, auth: true, ids: {embed_tokens: [1, 2]}}",) * 2,
        ("metric.token_f1.average=micro", "metric.token_f1.average=micro"),
        ("model.pad_token=<pad>", "model.pad_token=<pad>"),
        ("~logger.jsonl", "~logger.jsonl"),
        ("trainer.max_seq_length=5", "trainer.max_seq_length=5"),
    ],
)
def test_a_word_is_shown_without_secrets(word: str, shown: str) -> None:
    assert hide(word) == shown


def test_the_options_of_every_group_are_reported(tmp_path: Path) -> None:
    found = testing.plan(["adapter=dora", "exporter=[]"], run_dir=tmp_path).options
    assert found["adapter"] == "dora"
    assert found["metric.exact_match"] == "exact_match"
    assert not any(place.startswith("exporter") for place in found)


def test_plugins_that_take_part_are_reported_with_their_package(tmp_path: Path) -> None:
    found = plugin_origins(testing.plan(["logger=[]"], run_dir=tmp_path).selections.values(), current().plugins)
    assert found["evals"] == f"framework-finetune {__version__}"
    assert "report" not in found
    assert "journal" not in found


def test_a_plugin_takes_part_by_hooks_that_a_run_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(current().plugins, "_packages", {"acme": "acme 1.2"})
    plan = testing.plan([], run_dir=tmp_path)
    apart = set[str]()
    for hook in (name for name in vars(hookspecs) if name.startswith("framework_")):
        acme = types.SimpleNamespace(**{hook: hookimpl(lambda: None)})
        current().plugins.manager.register(acme, name="acme")
        try:
            if "acme" not in plugin_origins(plan.selections.values(), current().plugins):
                apart.add(hook)
        finally:
            current().plugins.manager.unregister(acme)
    assert apart == {"framework_components", "framework_diagnostics", "framework_sweep_finished"}


def test_a_plugin_of_one_file_is_reported_with_what_is_in_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("1\n", encoding="utf-8")
    assert origin(str(file)) == f"{file} sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    assert origin("acme 1.2") == "acme 1.2"


def test_the_environment_names_folder_and_platform(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    plan = testing.plan(["seed=3"], run_dir=repository)
    found = environment(plan.selections, plan.overrides, plan.seed, "abc")
    assert found.options == plan.options
    assert (found.folder, found.seed, found.fingerprint) == (str(repository), 3, "abc")
    assert (found.python, found.platform) == (platform.python_version(), platform.platform())
    assert found.commit == commit(repository)
    assert "seed=3" in found.command
