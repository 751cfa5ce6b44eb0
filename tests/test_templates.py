"""Go's templates, with what Go makes of them."""

from __future__ import annotations

import pytest

from containers.engine.template import fill, titles
from containers.sandbox import CannotRun

DATA = {
    "Id": "abcdef", "State": {"Running": True, "Pid": 7, "Error": ""}, "Cmd": ["sh", "-c"], "None": None, "Timeout": 10.0,
    "Labels": {"a": "1", "b.c": "2"}, "Mounts": [{"Type": "bind", "RW": False}, {"Type": "tmpfs", "RW": True}], "Empty": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.Id}}", "abcdef"),
        ("a {{ .State.Pid }} b", "a 7 b"),
        (r"{{.Id}}\t{{.State.Running}}\n", "abcdef\ttrue\n"),
        ("{{json .State}}", '{"Running": true, "Pid": 7, "Error": ""}'),
        ("{{.State | json}}", '{"Running": true, "Pid": 7, "Error": ""}'),
        ("{{.Cmd}} {{.Labels}} {{.None}} {{.Timeout}}", "[sh -c] map[a:1 b.c:2] <nil> 10"),
        ('{{join .Cmd " "}}', "sh -c"),
        ('{{index .Labels "b.c"}}|{{index .Labels "z"}}|{{.Labels.a}}|{{.Labels.z}}', "2||1|<no value>"),
        ("{{index .Cmd 1}}{{len .Cmd}}", "-c2"),
        ("{{range .Mounts}}{{.Type}},{{end}}", "bind,tmpfs,"),
        ("{{range $i, $m := .Mounts}}{{$i}}={{$m.Type}} {{$.Id}};{{end}}", "0=bind abcdef;1=tmpfs abcdef;"),
        ("{{range $key, $value := .Labels}}{{$key}}={{$value}} {{end}}", "a=1 b.c=2 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if .State.Error}}bad{{else if eq .State.Pid 8}}eight{{else if gt .State.Pid 6}}more{{else}}less{{end}}!", "more!"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .None}}x{{else}}y{{end}}", "7y"),
        ("{{$x := .Id}}{{$x | upper | printf \"<%-8s>\"}}", "<ABCDEF  >"),
        ('{{printf "%d:%s:%v:%q" .State.Pid .Id .Cmd "x"}}', '7:abcdef:[sh -c]:"x"'),
        ("{{if and .State.Running (not .State.Error)}}ok{{end}}", "ok"),
        ('{{if or .State.Error (eq .Id "x" "abcdef")}}ok{{end}}', "ok"),
        ("{{(index .Mounts 0).Type}}", "bind"),
        ("{{println .Id}}{{truncate .Id 3}}", "abcdef\nabc"),
        ("a  {{- .State.Pid -}}  b{{/* nothing */}}", "a7b"),
        ('{{slice .Id 1 3}}{{index (split "a-b" "-") 1}}', "bcb"),
        ("no action", "no action"),
    ],
)  # fmt: skip
def test_a_template_is_filled_as_go_does(template: str, text: str):
    assert fill(template, DATA) == text


@pytest.mark.parametrize(
    "template",
    [
        "{{.Nope}}", "{{.State.Nope}}", "{{.Id.More}}", "{{.Id", "{{range .Cmd}}", "{{end}}", "{{nothing .Id}}",
        "{{index .Cmd 9}}", "{{len .State.Pid}}", "{{$x}}", "{{if}}x{{end}}", "{{.Id | .Cmd}}", "{{(.Id}}", "{{else}}", "{{'x'}}",
        "{{join}}", "{{range .Id}}x{{end}}",
    ],
)  # fmt: skip
def test_what_is_no_template_is_said(template: str):
    with pytest.raises(CannotRun, match="--format: "):
        fill(template, DATA)


def test_a_table_has_the_names_of_its_fields_above_it():
    assert titles(r"{{.ID}}\t{{.Names}} {{json .RunningFor}}") == "CONTAINER ID\tNAMES CREATED"
