"""A layout as a Go template over `.Messages` and `.System`, in the way in which Ollama's own templates are written.

Ollama calls `text/template` with the turns that follow each other merged where they are of one role, and with all
system prompts in `.System`. Go takes white space away next to `{{-` alone, so an action after text that ends with white
space stands directly behind it.
"""

from __future__ import annotations

import re

from framework_plugins.exports.ollama.shape import Place, Shape

WHITE = " \t\r\n"
"""What Go takes away next to `{{-`."""
_UNSAFE = re.compile(r'\{+|"{3,}')
_LAST = "(len (slice $.Messages $i)) 1"


def go_template(shape: Shape) -> str:
    """Write the template.

    A conversation that ends with the assistant's words is left open after them, for the model to continue.
    """
    writer = _Writer()
    if shape.place is Place.front:
        _front(writer, shape)
    elif shape.place is not Place.turn:
        writer.text(shape.begin)
    if shape.place is Place.first_user:
        writer.line("$asked := false")
    writer.line("range $i, $_ := .Messages")
    writer.line(f"$last := eq {_LAST}")
    if shape.place is Place.turn:
        _turn(writer, shape)
    writer.line(f'{"else if" if shape.place is Place.turn else "if"} eq .Role "user"')
    _user(writer, shape)
    writer.line('else if eq .Role "assistant"')
    writer.text(shape.assistant.before)
    writer.inside(".Content")
    if shape.assistant.after:
        writer.inside("if not $last")
        writer.text(shape.assistant.after)
        writer.inside("end")
    writer.line("end")
    if shape.generation:
        writer.line('if and $last (ne .Role "assistant")')
        writer.text(shape.generation)
        writer.inside("end")
    writer.line("end")
    return writer.written


def _front(writer: _Writer, shape: Shape) -> None:
    writer.line("if .System")
    writer.text(shape.system.before)
    writer.inside(".System")
    writer.text(shape.system.after)
    if shape.begin:
        writer.line("else")
        writer.text(shape.begin)
    writer.line("end")


def _turn(writer: _Writer, shape: Shape) -> None:
    if shape.begin:
        writer.line('if and (eq $i 0) (ne .Role "system")')
        writer.text(shape.begin)
        writer.inside("end")
    writer.line('if eq .Role "system"')
    writer.text(shape.system.before)
    writer.inside(".Content")
    writer.text(shape.system.after)


def _user(writer: _Writer, shape: Shape) -> None:
    writer.text(shape.user.before)
    if shape.place in {Place.first_user, Place.last_user}:
        where = "(not $asked)" if shape.place is Place.first_user else "$last"
        writer.inside(f"if and $.System {where}")
        writer.text(shape.system.before)
        writer.inside("$.System")
        writer.text(shape.system.after)
        writer.inside("end")
    writer.inside(".Content")
    writer.text(shape.user.after)
    if shape.place is Place.first_user:
        writer.inside("$asked = true")


class _Writer:
    """Puts text and actions together; `text` stands in the result exactly as it is given."""

    def __init__(self) -> None:
        self.written = ""
        self._open = False  # whether text that ends with white space would lose it to `{{-`

    def text(self, text: str) -> None:
        self.written += "".join(map(_literal, re.split(f"({_UNSAFE.pattern})", text)))
        if text:
            self._open = text[-1] in WHITE

    def inside(self, action: str) -> None:
        """Write an action directly behind what stands there."""
        self.written += f"{{{{ {action} }}}}"
        self._open = False

    def line(self, action: str) -> None:
        """Write an action on a line of its own, where that adds nothing to the text."""
        if self._open:
            self.inside(action)
        else:
            self.written += f"{chr(10) if self.written else ''}{{{{- {action} }}}}"


def _literal(part: str) -> str:
    """Return text as it stands outside of actions; what cannot stand there becomes a constant in an action."""
    if _UNSAFE.fullmatch(part):
        return f"{{{{ {quoted(part)} }}}}"
    return "".join(letter if printed(letter) else f"{{{{ {quoted(letter)} }}}}" for letter in part)


def printed(letter: str) -> bool:
    """Whether Ollama keeps a character of a Modelfile: it drops what Go calls not printable, but for line breaks."""
    return letter.isprintable() or letter in WHITE


def quoted(text: str) -> str:
    """Return a Go string constant, in which no two quotes follow each other but at its end."""
    return '"' + "".join(_escaped(letter) for letter in text) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable() and letter != "{":
        return letter
    return f"\\U{ord(letter):08x}"
