"""The part of Go's language that proves TEMPLATEs does what Go does, and refuses what it does not know."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.records import Message
from framework_plugins.exports.ollama import go
from framework_plugins.exports.ollama.proof import written
from framework_plugins.exports.ollama.shape import Around, Place, Shape
from framework_plugins.exports.ollama.template import go_template
from tests.support.ollama import Asked, rendered

TALK = [Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "{{ .System }}")]


@pytest.mark.parametrize(
    "template",
    [
        "  {{- range $i, $_ := .Messages }}\n\t{{- $i }}{{ .Content }}\n {{ end }}",
        "{{ if .System }}{{ .System }}{{ else }}none{{ end }}",
        '{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}U{{ else if ne $i 2 }}S{{ else }}A{{ end }}{{ end }}',
        "{{ range $i, $_ := .Messages }}{{ len (slice $.Messages $i) }}{{ end }}",
        '{{ range $i, $_ := .Messages }}{{ if and $.System (not (eq $i 1)) (ne .Role "u") }}{{ $i }}{{ end }}{{ end }}',
        "{{ $x := false }}{{ range $i, $_ := .Messages }}{{ if not $x }}{{ .Role }}{{ end }}{{ $x = true }}{{ end }}",
        '{{ "\\u007b\\u007b" }}}} {"}}{{ "\\"\\"\\"\\\\" }}{{ .System }}{{ "\\U0001f642é" }}',
        "{ {x} }}} {{ .System }}}}",
    ],
)
def test_a_template_gives_what_go_gives(template: str) -> None:
    assert [written(template, TALK)] == rendered([Asked(template, TALK)])


@pytest.mark.parametrize(
    "template",
    [
        "{{ if .System }}", "{{ end }}", "{{ .System", "{{ len .System .System }}", "{{ .System | len }}",
        "{{ .Other }}", "{{ range .System }}{{ end }}", "{{ len }}",
    ],
)  # fmt: skip
def test_what_is_not_known_or_not_closed_is_refused(template: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        go.execute(template, {"System": "s"})


LITERALS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
        st.sampled_from(["{", "{{", "{{- ", "}}", " -}}", '"', '"""', "\\", "\n", " ", "\u200b", "\u00a0", "\x0b"]),
    ),
    max_size=5,
).map("".join)
AROUND = st.builds(Around, LITERALS, LITERALS)


@settings(max_examples=60, deadline=None)
@given(st.builds(Shape, LITERALS, st.sampled_from(Place), AROUND, AROUND, AROUND, LITERALS))
def test_every_layout_is_written_as_it_is_by_go_too(shape: Shape) -> None:
    template, others = go_template(shape), TALK[1:]
    plain, full = rendered([Asked(template, others), Asked(template, TALK)])
    assert [written(template, others), written(template, TALK)] == [plain, full]
    assert plain == laid_out(shape, "")
    assert full == laid_out(shape, f"{shape.system.before}s{shape.system.after}")


def laid_out(shape: Shape, system: str) -> str:
    """Return the talk as the layout says it is to be written."""
    own_turn = shape.place in {Place.front, Place.turn}
    start = system if system and own_turn else shape.begin
    first, last = (system if shape.place is place else "" for place in (Place.first_user, Place.last_user))
    turns = [
        f"{shape.user.before}{first}u{shape.user.after}",
        f"{shape.assistant.before}a{shape.assistant.after}",
        f"{shape.user.before}{last}{TALK[-1].content}{shape.user.after}",
    ]
    return start + "".join(turns) + shape.generation
