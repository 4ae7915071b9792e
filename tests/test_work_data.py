"""What `data` jobs give back to pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune.errors import DataError
from gemma_keras_tune.job_spec import DataArgs
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.work_data import look_at_data
from tests.support.command_line import write_rows


@pytest.fixture
def look(tmp_path, tiny_tokenizer):
    templates = {"demo": template_for("plain", tiny_tokenizer)}

    def ask(path: Path, action: str, **args: Any) -> Any:
        values = {"action": action, "path": str(path), **args}
        found = look_at_data(DataArgs.model_validate_json(json.dumps(values)), templates)
        return json.loads(json.dumps(found))

    return ask


def test_a_table_shows_the_rows_of_some_lines_also_those_that_are_no_rows(tmp_path, look):
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,x\nb,x\nc,x,too,many\nd,x\n")
    found = look(path, "columns", lines=[5, 4, 2, 90])
    assert [(row["row"], row["cells"]["c0"]) for row in found["rows"]] == [(2, "a"), (5, "d")]
    assert found["unread"] == [{"row": 4, "text": "c,x,too,many"}]
    assert found["next_offset"] is None
    assert look(path, "columns", rows=1, offset=1)["rows"][0]["row"] == 3
    assert look(path, "columns")["unread"] == []


def test_a_table_counts_the_rows_of_all_pages_only_when_asked(tmp_path, look):
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,x\nb,x\nc,x,too,many\nd,x\n")
    found = look(path, "columns", rows=1, count=True)
    assert (len(found["rows"]), found["total"]) == (1, 3)
    assert look(path, "columns", rows=1)["total"] is None


def test_columns_are_guessed_by_their_names_else_by_what_stands_in_them(tmp_path, look):
    path = tmp_path / "d.csv"
    rows = [
        f"this is what customer number {n} wrote,{'yes' if n % 2 else 'no'}\n" for n in range(20)
    ]
    for header, by in (("text,label", "names"), ("a,b", "contents")):
        path.write_text(f"{header}\n{''.join(rows)}")
        text, label = header.split(",")
        columns = [{"part": "text", "column": text}, {"part": "label", "column": label}]
        guess = {"task": "classification", "columns": columns, "by": by}
        assert look(path, "columns", rows=1)["guess"] == guess
    path.write_text(f"Text,Kategorie\n{''.join(rows)}")  # only one of the names says something
    columns = [{"part": "text", "column": "Text"}, {"part": "label", "column": "Kategorie"}]
    guess = {"task": "classification", "columns": columns, "by": "contents"}
    assert look(path, "columns")["guess"] == guess
    path.write_text("text,day\n" + "".join(f"this is a text number {n},{n}\n" for n in range(20)))
    columns = [{"part": "text", "column": "text"}]
    assert look(path, "columns")["guess"] == {"task": "text", "columns": columns, "by": "names"}
    path.write_text("a,b\n1,2\n")
    assert look(path, "columns")["guess"] is None


def test_a_table_says_how_many_rows_it_does_not_show_and_which_encoding_may_mend_it(tmp_path, look):
    path = tmp_path / "d.csv"
    rows = [f"{'Grüße aus München' if n % 3 else 'Hello'};{n}\r\n" for n in range(61)]
    path.write_bytes(f"Text;Nummer\r\n{''.join(rows)}".encode("cp1252"))
    found = look(path, "columns", rows=5, count=True)
    assert (found["total"], found["unreadable"]) == (21, 40)
    assert found["findings"][0]["settings"] == {"encoding": "cp1252"}
    found = look(path, "columns", rows=5, count=True, data={"encoding": "cp1252"})
    assert (found["total"], found["unreadable"], found["findings"]) == (61, 0, [])


def test_a_split_tells_rows_and_labels_of_each_part(tmp_path, look):
    path = tmp_path / "d.csv"
    write_rows(path, count=40)
    settings = {"task": "classification", "test_share": 0.25, "validation_share": 0.0}
    found = look(path, "split", rows=2, data=settings)
    parts = {part["part"]: part for part in found["parts"]}
    assert {name: part["rows"] for name, part in parts.items()} == {
        "train": 30,
        "validation": 0,
        "test": 10,
    }
    assert [len(part["first"]) for part in found["parts"]] == [2, 0, 2]
    for part in parts.values():
        assert sum(one["rows"] for one in part["labels"]) == part["rows"]
    first = parts["train"]["first"][0]
    line = path.read_text().splitlines()[first["row"] - 1]
    assert first["given"] in line and line.endswith(first["answer"])
    other = look(path, "split", rows=2, data={**settings, "split_seed": 1})
    assert other["parts"] != found["parts"]


def test_a_split_has_no_row_that_a_run_leaves_out(tmp_path, look):
    path = tmp_path / "d.csv"
    write_rows(path, count=40)
    path.write_text(f"{path.read_text()}{'n' * 200},ham\n")
    settings = {"task": "classification", "max_length": 64, "too_long": "drop"}
    found = look(path, "split", rows=2, data=settings, model="demo")
    checked = look(path, "check", data=settings, model="demo")
    rows = {part["part"]: part["rows"] for part in found["parts"]}
    assert rows == checked["splits"] and sum(rows.values()) == checked["rows"] == 40
    assert sum(one["rows"] for part in found["parts"] for one in part["labels"]) == 40
    with pytest.raises(DataError, match="1 of 41 rows is longer"):
        look(path, "split", data={**settings, "too_long": "error"}, model="demo")


def test_packed_rows_hold_whole_rows_and_padding(tmp_path, look):
    path = tmp_path / "d.csv"
    write_rows(path, count=40)
    settings = {"task": "classification", "max_length": 128}
    found = look(path, "pack", rows=2, data=settings)
    assert found["row_length"] == 128 and found["examples"] == 32 and len(found["rows"]) == 2
    for row in found["rows"]:
        used = sum(segment["length"] for segment in row["segments"])
        assert used + row["padding"] == 128
        assert len(row["segments"]) > 1
