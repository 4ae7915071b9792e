"""Every broken file that we know of, made here, each with the code that it must get."""

from __future__ import annotations

import codecs
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gemma_keras_tune.data import decode
from gemma_keras_tune.data.decode import guess_encoding
from gemma_keras_tune.data.findings import raise_errors
from gemma_keras_tune.data.read import scan_table
from gemma_keras_tune.data_codes import CODES
from gemma_keras_tune.errors import DataError

HEAD = b"text,label\n"
GOOD = HEAD + b"hello,ham\nbuy now,spam\n"


@pytest.fixture
def file(tmp_path):
    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def read_table(path, **how):
    """The rows of a file in which nothing is wrong; else the error that a run would stop with."""
    table = scan_table(path, **how)
    raise_errors(table.findings)
    return table


def refusal(path, **options):
    """The finding behind the error that reading this file must raise."""
    with pytest.raises(DataError) as caught:
        read_table(path, **options)
    found = next(item for item in caught.value.findings if item.severity == "error")
    assert found.code == caught.value.code
    assert found.code in CODES
    assert found.fix
    return found


UNBALANCED = HEAD + b'"never closed,ham\n' + b"one,ham\n" * 500
MET_QUOTES = HEAD + b'"open,ham\n' + b"one,ham\n" * 500 + b'close",ham\n' + b"one,ham\n" * 5

BROKEN_CSV = {
    "unbalanced quote": (UNBALANCED, "CSV_UNBALANCED_QUOTE", 1, "data.csv:2"),
    "two stray quotes that meet": (MET_QUOTES, "CSV_UNBALANCED_QUOTE", 1, "data.csv:2"),
    "stray quote in the header": (
        b'te"xt,"label\n' + b"a,b\n" * 9,
        "CSV_UNBALANCED_QUOTE",
        1,
        "data.csv:1",
    ),
    "text after a closing quote": (HEAD + b'"a"b,ham\nc,ham\n', "CSV_BAD_QUOTE", 1, "data.csv:2"),
    "too many fields": (HEAD + b"a,ham\nb,c,ham\nd,e,ham\n", "CSV_RAGGED_ROW", 2, "data.csv:3"),
    "too few fields": (HEAD + b"a\nb,ham\n", "CSV_RAGGED_ROW", 1, "data.csv:2"),
    "last line cut off": (HEAD + b"a,ham\nb", "TRUNCATED_LAST_LINE", 1, "data.csv:3"),
    "last line cut off in quotes": (HEAD + b'a,ham\n"b', "TRUNCATED_LAST_LINE", 1, "data.csv:3"),
    "cp1252": (
        HEAD + "Grüße,ham\nnaïve,ham\nx,ham\n".encode("cp1252"),
        "UNDECODABLE_BYTES",
        2,
        "data.csv:2",
    ),
    "UTF-8, then cp1252": (
        HEAD + "Grüße,ham\n".encode() + "Grüße,ham\n".encode("cp1252"),
        "MIXED_ENCODINGS",
        1,
        "data.csv:3",
    ),
    "UTF-16 without a mark": (
        "text,label\nhello,ham\n".encode("utf-16-le"),
        "UNDECODABLE_BYTES",
        1,
        "data.csv:1",
    ),
    "UTF-16 cut in a letter": (
        codecs.BOM_UTF16_LE + "text,label\nhello,ham\n".encode("utf-16-le") + b"x",
        "UNDECODABLE_BYTES",
        1,
        "data.csv:3",
    ),
    "NUL byte": (HEAD + b"a\0b,ham\nc,ham\n", "NUL_BYTE", 1, "data.csv:2"),
    "empty": (b"", "EMPTY_DATASET", 1, "data.csv"),
    "header only": (HEAD, "EMPTY_DATASET", 1, "data.csv:1"),
    "blank rows only": (HEAD + b"\n , \n", "EMPTY_DATASET", 1, "data.csv:1"),
    "white space only": (b" \n\n\t\n", "EMPTY_DATASET", 1, None),
    "column twice": (b"text,label, text\na,b,c\n", "DUPLICATE_COLUMN", 1, "data.csv:1:text"),
    "50,000 columns": (
        ",".join(f"c{i}" for i in range(50_000)) + "\n1\n",
        "TOO_MANY_COLUMNS",
        1,
        "data.csv:1",
    ),
    "Excel under the name of CSV": (b"PK\x03\x04" + b"\0" * 30, "WRONG_FILE_TYPE", 1, "data.csv"),
    "Parquet under the name of CSV": (b"PAR1" + b"\0" * 30, "WRONG_FILE_TYPE", 1, "data.csv"),
    "JSONL under the name of CSV": (b'{"text": "a"}\n', "WRONG_FILE_TYPE", 1, "data.csv:1"),
}


@pytest.mark.parametrize("case", BROKEN_CSV)
def test_a_broken_csv_file_is_refused_with_code_count_and_place(case, file):
    content, code, count, where = BROKEN_CSV[case]
    found = refusal(file(content))
    assert (found.code, found.count) == (code, count)
    if where is not None:
        assert found.where[0] == where


LINE = '{"text": "a", "label": "ham"}\n'
BROKEN_JSONL = {
    "syntax": (LINE + '{"text": "a",}\n' + LINE, "JSON_SYNTAX", 2),
    "last line cut off": (LINE + '{"text": "a", "la', "TRUNCATED_LAST_LINE", 2),
    "no object": (LINE + '["a", "b"]\n', "JSON_NOT_OBJECT", 2),
    "a JSON array": ("[\n" + LINE + "]", "JSON_ARRAY", 1),
    "JSONL, then an array": (LINE.replace("\n", "\r\n") + "[1]\n", "JSON_NOT_OBJECT", 2),
    "key twice": ('{"role": "a", "role": "b"}\n', "JSON_DUPLICATE_KEY", 1),
    "key twice inside": ('{"messages": [{"role": 1, "role": 2}]}\n', "JSON_DUPLICATE_KEY", 1),
    "NaN": (LINE + '{"label": NaN}\n', "NON_FINITE_NUMBER", 2),
    "Infinity": ('{"label": -Infinity}\n', "NON_FINITE_NUMBER", 1),
    "1e400": ('{"label": 1e400}\n', "NON_FINITE_NUMBER", 1),
    "5,000 digits": ('{"label": ' + "9" * 5000 + "}\n", "HUGE_INTEGER", 1),
    "100,000 nested lists": ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n", "JSON_TOO_DEEP", 1),
    "65 deep": ('{"a": ' + "[" * 64 + "]" * 64 + "}\n", "JSON_TOO_DEEP", 1),
    "lone surrogate": (LINE + '{"text": "\\ud800"}\n', "LONE_SURROGATE", 2),
    "lone surrogate as a key": ('{"\\udc00": "x"}\n', "LONE_SURROGATE", 1),
    "NUL escape": ('{"text": "a\\u0000"}\n', "NUL_BYTE", 1),
    "NUL byte": (b'{"text": "a\0"}\n', "NUL_BYTE", 1),
    "invalid UTF-8": (LINE.encode() + b'{"text": "\xff"}\n', "UNDECODABLE_BYTES", 2),
    "blank": ("\n\n", "EMPTY_DATASET", 1),
    "empty": ("", "EMPTY_DATASET", None),
}


@pytest.mark.parametrize("case", BROKEN_JSONL)
def test_a_broken_jsonl_file_is_refused_with_code_and_line(case, file):
    content, code, line = BROKEN_JSONL[case]
    found = refusal(file(content, "data.jsonl"))
    assert found.code == code
    assert found.where[0] == ("data.jsonl" if line is None else f"data.jsonl:{line}")


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
def test_a_line_without_end_is_refused_after_a_bounded_read(name, file, monkeypatch):
    monkeypatch.setattr(decode, "LINE_LIMIT", 1000)
    head = GOOD if name.endswith("csv") else LINE.encode()
    found = refusal(file(head + b"x" * 5000, name))
    assert found.code == "LINE_TOO_LONG"


def test_a_text_longer_than_the_csv_modules_own_limit_is_read(file):
    text = "a" * 200_000
    assert read_table(file(f"text,label\n{text},ham\n")).rows[0]["text"] == text


def test_bad_rows_are_left_out_and_counted_only_if_that_was_chosen(file):
    path = file(HEAD + b'a,ham\nb,c,ham\n"x"y,ham\n\nd,ham\nx\0,ham\n' + b"\xff,ham\n" * 12)
    assert refusal(path).code
    table = read_table(path, bad_rows="skip")
    assert [row["text"] for row in table.rows] == ["a", "d"]
    assert table.lines == (2, 6)
    counts = {item.code: (item.severity, item.count) for item in table.findings}
    assert counts == {
        "CSV_RAGGED_ROW": ("warning", 1),
        "CSV_BAD_QUOTE": ("warning", 1),
        "BLANK_ROWS": ("info", 1),
        "NUL_BYTE": ("warning", 1),
        "UNDECODABLE_BYTES": ("warning", 12),
    }
    undecodable = table.findings[-1]
    assert undecodable.where == tuple(f"data.csv:{line}" for line in range(8, 18))


def test_a_fault_of_the_whole_file_is_never_skipped(file):
    assert refusal(file(UNBALANCED), bad_rows="skip").code == "CSV_UNBALANCED_QUOTE"


def test_skipping_every_row_leaves_an_empty_data_set(file):
    with pytest.raises(DataError) as caught:
        read_table(file(HEAD + b"a\nb\n"), bad_rows="skip")
    assert caught.value.code == "EMPTY_DATASET"
    assert [item.code for item in caught.value.findings] == ["EMPTY_DATASET", "CSV_RAGGED_ROW"]


def test_all_problems_of_a_file_are_listed_at_once(file):
    with pytest.raises(DataError, match=r"2 problems(.|\n)*CSV_RAGGED_ROW(.|\n)*NUL_BYTE"):
        read_table(file(HEAD + b"a\nb\0,ham\nc,ham\n"))


def test_the_message_names_the_first_bad_byte_and_a_likely_encoding(file):
    found = refusal(file(HEAD + "Grüße an naïve «té» – cœur,ham\n".encode("cp1252")))
    assert found.what == (
        "Line 2 has a letter that was not written as UTF-8, so it can't be read (byte 13 of the "
        "file). The file was probably saved as cp1252."
    )
    assert found.settings == {"encoding": "cp1252"}


def test_lines_that_can_be_read_are_told_beside_those_that_can_not(file):
    found = refusal(file(HEAD + "Grüße,ham\n".encode() + "Grüße,ham\n".encode("cp1252")))
    assert "In 1 other line such letters are UTF-8" in found.what


def test_a_header_in_another_encoding_is_told_with_the_likely_one(file):
    found = refusal(file("größe;straße\n1;Müllerstraße\n".encode("cp1252")))
    assert (found.code, found.where) == ("UNDECODABLE_BYTES", ("data.csv:1",))
    assert "with the names of the columns, has letters that can't be read." in found.what
    assert "The file was probably saved as cp1252." in found.what
    assert found.settings == {"encoding": "cp1252"}


GERMAN = [
    "Die Lieferung kam drei Tage zu spät, ich bin verärgert.",
    "Der Preis beträgt 49 € und ist damit zu hoch.",
    "Schöne Grüße aus München!",
    "Können Sie mir bitte den Café-Gutschein à 20 € zuschicken?",
    "Für Übergrößen berechnen wir 5 € mehr.",
]
FRENCH = [
    "Le café est très bon, mais trop cher (12 €).",
    "J’ai été déçu par la qualité du produit.",
    "Où est mon colis ? Ça fait déjà trois semaines.",
    "Le cœur du problème, c’est la façade abîmée.",
    "Noël approche et la livraison a du retard.",
]
POLISH = [
    "Proszę o zwrot pieniędzy za zamówienie.",
    "Przesyłka przyszła bardzo późno, jestem niezadowolony.",
    "Świetna obsługa, dziękuję!",
    "Produkt jest uszkodzony, chcę go odesłać.",
    "Ładny wygląd, ale słaba jakość.",
]
CZECH = [
    "Děkuji za rychlé vyřízení objednávky.",
    "Zboží přišlo poškozené, žádám o vrácení peněz.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Kdy mi přijde zásilka?",
    "Můžete mi prosím poslat účet?",
]
HUNGARIAN = [
    "Köszönöm a gyors szállítást, nagyon elégedett vagyok.",
    "A termék hibás, kérem a pénzem visszatérítését.",
    "Gyönyörű színű, tökéletes minőség.",
]
TURKISH = [
    "Ürün çok geç geldi, hiç memnun değilim.",
    "Teşekkürler, şahane bir alışveriş oldu.",
    "Kargo nerede? İki haftadır bekliyorum.",
]


@pytest.mark.parametrize(
    ("texts", "encoding"),
    [
        (GERMAN, "cp1252"),
        (FRENCH, "cp1252"),
        (GERMAN[2:3], "cp1252"),
        (FRENCH[1:2], "cp1252"),
        (["my résumé is “here” – it’s fine"], "cp1252"),
        (["a café"], "cp1252"),
        (["costs 5 €"], "cp1252"),
        (POLISH, "cp1250"),
        (POLISH[:1], "cp1250"),
        (CZECH, "cp1250"),
        (HUNGARIAN, "cp1250"),
        (TURKISH, "cp1254"),
        (["Где мой заказ?", "Спасибо, всё отлично!"], "cp1251"),
        (["今日は良い天気です。"], "cp932"),
        (["你好世界，今天天气很好。"], "gb18030"),
        (["안녕하세요 세계"], "cp949"),
        ([text.replace("€", "EUR") for text in GERMAN], "cp850"),
        (FRENCH, "mac-roman"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0][:12],
)
@pytest.mark.parametrize("times", [1, 12])
def test_the_encoding_of_a_table_from_excel_is_found(texts, encoding, times):
    rows = [f"{number};{text};Lob\r\n" for number, text in enumerate(texts * times)]
    content = "".join(rows).encode(encoding)
    assert content.decode(guess_encoding(content)) == "".join(rows)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (codecs.BOM_UTF8 + "text,label\né,ham\n".encode(), "auto"),
        (codecs.BOM_UTF8 + "text,label\né,ham\n".encode(), "utf-8"),
        ("text,label\né,ham\n".encode("utf-16"), "auto"),
        (codecs.BOM_UTF16_BE + "text,label\né,ham\n".encode("utf-16-be"), "auto"),
        ("text,label\né,ham\n".encode("utf-32"), "auto"),
        ("text,label\né,ham\n".encode("cp1252"), "cp1252"),
        ("text,label\né,ham\n".encode("utf-16-le"), "utf-16-le"),
        ("text,label\r\né,ham\r\n".encode(), "auto"),
        ("text,label\ré,ham\r".encode(), "auto"),
        ("text;label\né;ham\n".encode(), "auto"),
        ("text\tlabel\né\tham\n".encode(), "auto"),
        ("\n\ntext|label\né|ham".encode(), "auto"),
    ],
)
def test_marks_line_ends_and_delimiters_are_understood(content, encoding, file):
    table = read_table(file(content), encoding=encoding, wanted=("text", "label"))
    assert table.columns == ("text", "label")
    assert table.rows == ({"text": "é", "label": "ham"},)


def test_the_wanted_columns_decide_where_the_look_of_the_lines_misleads(file):
    path = file("text\tlabel\n2024-01-01,5,6\tham, x\n2024-01-02,7,8\tspam, y\n")
    table = read_table(path, wanted=("text", "label"))
    assert table.delimiter == "\t"
    assert table.rows[0] == {"text": "2024-01-01,5,6", "label": "ham, x"}


def test_without_wanted_columns_the_look_of_the_lines_decides(file):
    assert read_table(file("a;b\n1,5;x\n2,5;y\n")).delimiter == ";"
    assert (
        read_table(file("text\nhello, you\n", "t.csv"), delimiter=";").rows[0]["text"]
        == "hello, you"
    )


def test_an_unknown_encoding_and_a_missing_file_are_refused(file, tmp_path):
    assert refusal(file(GOOD), encoding="utf-99").code == "UNKNOWN_ENCODING"
    assert refusal(file(GOOD), encoding="hex").code == "UNKNOWN_ENCODING"
    assert refusal(tmp_path / "none.csv").code == "FILE_NOT_FOUND"
    assert refusal(tmp_path).code == "FILE_NOT_FOUND"


def test_line_numbers_are_those_of_the_file_across_texts_of_several_lines(file):
    table = read_table(file('text,label\n"one\ntwo\nthree",ham\n\nfour,spam\n'))
    assert table.lines == (2, 6)
    assert table.rows[0]["text"] == "one\ntwo\nthree"


def test_a_long_text_of_many_lines_is_no_unbalanced_quote(file):
    body = "\n".join(f"Dear Sir, line {i}, of a letter" for i in range(200))
    table = read_table(file(f'text,label\n"{body}",ham\nshort,spam\n'))
    assert [row["label"] for row in table.rows] == ["ham", "spam"]


def test_text_is_kept_byte_for_byte(file):
    text = " {{ x }} {% if %} \u202etxt\u200b \u0430\u2028 <start_of_turn> __proto__\t "
    path = file(json.dumps({":x": text, "__proto__": 5}, ensure_ascii=False) + "\n", "d.jsonl")
    assert read_table(path).rows == ({":x": text, "__proto__": 5},)
    path = file(f':x,constructor\n"{text}",1\n')
    assert read_table(path).rows[0][":x"] == text


def test_surrogate_pairs_and_written_out_escapes_are_whole_letters(file):
    line = r'{"text": "\ud83d\ude00 \\u0000 \\ud800"}'
    assert read_table(file(line, "d.jsonl")).rows[0]["text"] == "\U0001f600 \\u0000 \\ud800"


def test_sixty_four_levels_of_json_are_read(file):
    path = file('{"a": ' + "[" * 63 + "]" * 63 + ', "b": "[[[{{{' + "[" * 99 + '"}\n', "d.jsonl")
    assert read_table(path).columns == ("a", "b")


def test_jsonl_columns_are_all_keys_in_the_order_seen(file):
    table = read_table(file('{"b": 1}\n\n{"a": 2, "b": 3}\n', "d.jsonl"))
    assert table.columns == ("b", "a")
    assert table.lines == (1, 3)


def test_unnamed_columns_get_a_name(file):
    table = read_table(file(",text\n0,hello\n"))
    assert table.columns == ("column_1", "text")
    assert [item.code for item in table.findings] == ["UNNAMED_COLUMN"]


def test_a_preview_reads_only_the_first_rows(file):
    path = file(GOOD + b"x" * 10 + b"\n" + b"too,many,fields\n" * 3)
    assert len(read_table(path, limit=2).rows) == 2
    assert {item.code for item in scan_table(path).findings} == {"CSV_RAGGED_ROW"}


def test_the_hash_is_that_of_the_files_bytes(file):
    import hashlib

    assert read_table(file(GOOD)).sha256 == hashlib.sha256(GOOD).hexdigest()


def test_a_file_that_changes_while_it_is_read_is_refused(file, monkeypatch):
    from gemma_keras_tune.data import read

    path = file(GOOD)
    genuine = read.read_csv_rows

    def slow(*args, **kwargs):
        path.write_bytes(GOOD + b"more,ham\n")
        return genuine(*args, **kwargs)

    monkeypatch.setattr(read, "read_csv_rows", slow)
    assert refusal(path).code == "FILE_CHANGED"


@pytest.mark.parametrize("name", ["data.csv", "data.jsonl"])
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='",\n\r{}[]:;\t\\\\u0aé\x00', max_size=200).map(str.encode),
    ),
    bad_rows=st.sampled_from(["error", "skip"]),
)
def test_no_bytes_whatever_get_more_than_a_clear_refusal(name, content, bad_rows, file):
    path = file(content, name)
    try:
        table = read_table(path, bad_rows=bad_rows, wanted=("text",))
    except DataError as error:
        assert error.code in CODES
        assert error.findings
    else:
        assert table.rows
        assert all(set(row) <= set(table.columns) for row in table.rows)
        json.dumps(table.rows, ensure_ascii=False, allow_nan=False).encode()


def test_a_file_that_may_not_be_read_is_named(file, monkeypatch):
    from gemma_keras_tune.data import read

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(read, "known_binary", refuse)
    found = refusal(file(GOOD))
    assert found.code == "FILE_UNREADABLE"
    assert "Permission denied" in found.what


def test_reading_stays_small_in_memory_and_keeps_every_row(file):
    rows = 50_000
    path = file("text,label\n" + "a b c,ham\n" * rows)
    assert len(read_table(path).rows) == rows
