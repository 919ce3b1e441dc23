"""Shell completion: `eval "$(python -m framework --shell-completion install=bash)"`; zsh after `bashcompinit`.

Hydra finds the groups, options and keys. Its own script knows neither `python -m` nor commands, and it writes the
value of an enum as Python does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum

from hydra._internal.core_plugins.bash_completion import BashCompletion
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import BooleanNode, DictConfig, EnumNode, ListConfig, OmegaConf

from framework.api.component import GROUPS
from framework.cli.arguments import is_command, load_plugins
from framework.config.compose import CONFIG_NAME, config_loader
from framework.hooks.session import Session
from framework.util.errors import FrameworkError, unknown

OPTIONS = ("--shell-completion", "-sc")
SCRIPT = r"""_framework_completion()
{
    local line=${COMP_LINE:0:COMP_POINT} word="" choice start=1 words program
    read -ra words <<< "$line"
    if [[ $line != *[[:space:]] ]]; then
        word=${words[${#words[@]}-1]}
        unset "words[${#words[@]}-1]"
    fi
    if [[ ${words[0]##*/} == python* ]]; then
        [[ ${words[1]} == -m && ${words[2]} == framework ]] || return
        start=3
    fi
    (( ${#words[@]} >= start )) || return
    program=("${words[@]:0:start}")
    program[0]=${program[0]/#\~/$HOME}
    line="framework ${words[*]:start}${words[start]:+ }$word"
    COMPREPLY=()
    while IFS= read -r choice; do
        # The shell completes what follows the last = or :, which end a word for it.
        [[ $choice != "$word"* ]] || COMPREPLY+=("${choice#"${word%"${word##*[=:]}"}"}")
    done < <(COMP_LINE=$line "${program[@]}" --shell-completion query=bash 2> /dev/null)
}
complete -o nospace -o default -F _framework_completion framework python python3"""


def complete_shell(session: Session, words: Sequence[str]) -> None:
    """Print the script of a shell, or what could follow the line in COMP_LINE, one choice per line.

    Raises:
        FrameworkError: the words are neither `install=bash`, `uninstall=bash` nor `query=bash`.
    """
    match [*words]:
        case ["install=bash"]:
            print(SCRIPT)
        case ["uninstall=bash"]:
            print("complete -r framework python python3; unset -f _framework_completion")
        case ["query=bash"]:
            line = os.environ.get("COMP_LINE", "").partition(" ")[2]
            load_plugins(session, line.split())
            if " " in line and is_command(line.split()[0]):
                return  # its arguments are mostly folders, which the shell completes
            with config_loader() as loader:
                choices = Completion(loader).choices(line)
            commands = [name for name in session.plugins.commands() if " " not in line and name.startswith(line)]
            print(*choices, *commands, sep="\n")
        case _:
            word = words[0] if words else ""
            raise FrameworkError(unknown("step of --shell-completion", word, ["install=bash", "uninstall=bash"]))


class Completion(BashCompletion):
    """Hydra's completion, with the values of enums and flags."""

    def choices(self, line: str) -> list[str]:
        """Return what the last word of a line could become."""
        *before, word = line.split(" ")
        key, equals, typed = word.partition("=")
        # Hydra completes groups itself; of an enum it offers `Dtype.bf16`, which it does not accept.
        if equals and key not in GROUPS and (names := self._values(key, [part for part in before if "=" in part])):
            return [f"{key}={name}" for name in names if name.startswith(typed)]
        choices: list[str] = self._query(CONFIG_NAME, line)
        return choices

    def _values(self, key: str, overrides: list[str]) -> list[str]:
        """Return all values of a setting, if there are only a few."""
        try:
            config = self.config_loader.load_configuration(CONFIG_NAME, overrides, RunMode.RUN)
        except ConfigCompositionException:
            return []
        parent, _, name = key.lstrip("+").rpartition(".")
        section = OmegaConf.select(config, parent) if parent else config
        if not isinstance(section, DictConfig) or name not in section:
            return []
        node = section._get_node(name)  # noqa: SLF001 - the type of a value
        if isinstance(node, EnumNode):
            return [*node.enum_type.__members__]
        if isinstance(node, BooleanNode):
            return ["true", "false"]
        if isinstance(node, ListConfig):
            kind = node._metadata.element_type  # noqa: SLF001 - as above
            names = [*kind.__members__] if isinstance(kind, type) and issubclass(kind, Enum) else []
            return [f"[{name}]" for name in names] or ["[]"]
        return []
