"""What can be wrong with data: one catalogue of codes, each with its severity and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Kind:
    """What the catalogue knows of a code: its severity, its advice, and whether rows have it."""

    severity: Severity
    fix: str
    by_row: bool = False


SKIP = 'or set data.bad_rows = "skip" to leave such rows out'
"""Ends the advice on a row that can be left out."""
SAME = "or say in data.same_labels which counts as which"
"""Ends the advice on labels that may be one."""
LEFT_OUT = "Nothing has to be done. Repair these rows to use them, too."
"""The advice on rows that are left out."""
_ENCODING = "Save the file as UTF-8, or name its encoding in data.encoding and look at the preview"

# One line a code: the reference page and the messages are made from it.
CODES: dict[str, Kind] = {
    # the file
    "FILE_NOT_FOUND": Kind("error", "Check the path."),
    "FILE_UNREADABLE": Kind("error", "Check the permissions of the file."),
    "FILE_CHANGED": Kind("error", "Start again once nobody writes to the file."),
    "WRONG_FILE_TYPE": Kind("error", "Save the table as CSV or JSONL."),
    "EMPTY_DATASET": Kind("error", "Give at least one row."),
    "UNKNOWN_ENCODING": Kind("error", "Use a name that Python knows, such as utf-8 or cp1252."),
    "UNDECODABLE_BYTES": Kind("error", f"{_ENCODING}, {SKIP}.", by_row=True),
    "MIXED_ENCODINGS": Kind("error", f"Convert those lines to UTF-8, {SKIP}.", by_row=True),
    "LINE_TOO_LONG": Kind("error", "Split the row, or check that the file has line breaks."),
    "NUL_BYTE": Kind("error", f"Remove the NUL bytes, {SKIP}.", by_row=True),
    "TRUNCATED_LAST_LINE": Kind("error", f"Write the file again, {SKIP}.", by_row=True),
    "BLANK_ROWS": Kind("info", "Nothing: blank rows are passed over."),
    # CSV
    "CSV_UNBALANCED_QUOTE": Kind("error", "Close the quote; write a quote inside a text twice."),
    "CSV_BAD_QUOTE": Kind("error", f'Write a quote inside a text twice (""), {SKIP}.', by_row=True),
    "CSV_RAGGED_ROW": Kind("error", f"Put texts that hold the delimiter in quotes, {SKIP}.", True),
    "DUPLICATE_COLUMN": Kind("error", "Give every column its own name."),
    "UNNAMED_COLUMN": Kind("info", "Name the column if you need it."),
    "TOO_MANY_COLUMNS": Kind("error", "Keep the columns that the task needs."),
    "MISSING_COLUMN": Kind("error", "Name the right column in data.columns."),
    # JSONL
    "JSON_ARRAY": Kind("error", "Write one JSON object a line, without [ ] and commas around."),
    "JSON_SYNTAX": Kind("error", f"Repair the line, {SKIP}.", by_row=True),
    "JSON_NOT_OBJECT": Kind("error", f"Write an object {{...}} on every line, {SKIP}.", True),
    "JSON_DUPLICATE_KEY": Kind("error", f"Keep one of them, {SKIP}.", by_row=True),
    "JSON_TOO_DEEP": Kind("error", f"Flatten the value, {SKIP}.", by_row=True),
    "NON_FINITE_NUMBER": Kind("error", f"Write a real number or a string, {SKIP}.", by_row=True),
    "HUGE_INTEGER": Kind("error", f"Write it as a string, {SKIP}.", by_row=True),
    "LONE_SURROGATE": Kind("error", f"Repair or remove the half letter, {SKIP}.", by_row=True),
    # rows as examples
    "MISSING_VALUE": Kind("error", f"Fill in the value, {SKIP}.", by_row=True),
    "WRONG_TYPE": Kind("error", f"Write a text in quotes, {SKIP}.", by_row=True),
    "EMPTY_TEXT": Kind("error", f"Fill in the text, {SKIP}.", by_row=True),
    "EMPTY_ANSWER": Kind("error", f"Fill in the answer or label, {SKIP}.", by_row=True),
    "NAN_LABEL": Kind("error", f"Write the label's name, {SKIP}.", by_row=True),
    "UNKNOWN_LABEL": Kind("error", f"Correct the label, or add it to data.labels, {SKIP}.", True),
    "BAD_MESSAGES": Kind("error", f'Write [{{"role": ..., "content": ...}}, ...], {SKIP}.', True),
    "NO_TURNS": Kind("error", f"Give at least one exchange, {SKIP}.", by_row=True),
    "NO_ANSWER": Kind("error", f"End every conversation with an answer, {SKIP}.", by_row=True),
    "EMPTY_TURN": Kind("error", f"Fill in or remove the turn, {SKIP}.", by_row=True),
    "UNKNOWN_ROLE": Kind("error", f"Use system, user and assistant, {SKIP}.", by_row=True),
    "ROLE_ORDER": Kind(
        "error", f"Let user and assistant alternate, user first, {SKIP}.", by_row=True
    ),
    # the data set as a whole
    "TRAIN_TEST_LEAKAGE": Kind("error", "Remove these rows from one of the files."),
    "TRAIN_TEST_OVERLAP": Kind("warning", "Remove these rows from one of the files."),
    "VALIDATION_TEST_OVERLAP": Kind("warning", "Remove these rows from one of the files."),
    "EMPTY_SPLIT": Kind("warning", "Add rows, or raise validation_share or test_share."),
    "DUPLICATE_ROWS": Kind("warning", "Keep one of each, unless the repetition is meant."),
    "CONTRADICTING_ROWS": Kind("warning", "Decide on one answer for the same input."),
    "SINGLE_CLASS": Kind("warning", "Add rows of another label: there is nothing to tell apart."),
    "RARE_LABEL": Kind("warning", "Add rows: a label needs at least two to be trained and tested."),
    "LABEL_IMBALANCE": Kind("warning", "Add rows of the rare labels, and look at their recall."),
    "LABEL_SPELLING": Kind("warning", f"Write each label in one way, {SAME}."),
    "SIMILAR_LABELS": Kind("warning", f"If one of them is misspelt, correct it, {SAME}."),
    "TOO_MANY_LABELS": Kind("warning", "Check that the label column is the right one."),
    "FEW_ROWS": Kind("warning", "Add rows: below about fifty a model mostly learns by heart."),
    "CONTROL_TEXT": Kind("info", "Nothing: such text is kept as text and can't steer the model."),
    "WORD_SPACE_LETTER": Kind("info", "Nothing: the letter U+2581 is read as a space."),
    "HIDDEN_LETTERS": Kind("info", "Check these rows: they hold letters that are not shown."),
    "SHORT_ANSWERS": Kind("info", "Check that the answers are whole."),
    "REPLACEMENT_LETTERS": Kind(
        "warning", "Read the file in its true encoding: letters were lost."
    ),
    # token ids
    "TOO_LONG": Kind(
        "error", 'Raise data.max_length, or set data.too_long to "truncate" or "drop".'
    ),
    "ALL_ROWS_TOO_LONG": Kind(
        "error", 'Raise data.max_length, or set data.too_long = "truncate" if cutting is meant.'
    ),
    "ANSWER_TOO_LONG": Kind("error", 'Raise data.max_length, or set data.too_long = "drop".'),
    "TRUNCATED": Kind("warning", "Raise data.max_length if the lost part matters."),
    "DROPPED": Kind("warning", "Raise data.max_length to keep them."),
    "NOTHING_SUPERVISED": Kind("error", "Give the rows answers: there is nothing to learn."),
    "UNSUPERVISED_ROWS": Kind("warning", "Give these rows answers, or leave them out."),
    "LOW_SUPERVISED_SHARE": Kind("warning", "Shorten the prompts, or check the columns."),
}
