"""The texts of the page that answers a whole table."""

from __future__ import annotations

TITLE = "Use on a table"
NOT_TRAINED_TITLE = "There is nothing to use yet"
NOT_TRAINED = "When the training is over, the model can answer a whole table of new rows here."
PLAIN_TITLE = "This run answers no tables"
PLAIN = (
    "It learned to go on with plain text, so the rows of a table ask it nothing. Runs that were "
    "trained on texts with a label, on questions with answers, or on conversations can do it."
)
VIEWER = "Somebody with the role editor can let the model answer a table here."

CHOOSE = "1. Choose a table"
CHOOSE_LABELS = (
    "A table like the one that you trained with, but without the labels: new mails, for example. "
    "You get it back with the label that the model chooses for each row, and how sure it is."
)
CHOOSE_TEXTS = (
    "A table like the one that you trained with, but without the answers: new questions, for "
    "example. You get it back with the answer that the model writes to each row."
)
TABLE = "Table"
EXAMPLE = "Example: {title}"
UPLOAD = "Upload a table"
READING = "Looking at the table"
LOOK_AT_IT = "Look at the table and say how it is read"
UNREADABLE_ONE = (
    "One row of this table can't be read. Repair it first, so that no row gets lost on the way."
)
UNREADABLE = (
    "{count} rows of this table can't be read. Repair them first, so that no row gets lost on the "
    "way."
)

CHECK = "2. See what the model reads"
ROWS = "{rows} rows. These are the first ones:"
ROWS_ONE = "One row:"
FIRST_ROWS = "First rows of the table"
LINE = "Row"
COLUMN = "Column that the model reads"
COLUMN_FITS = "This is the column that the model learned from."
COLUMN_GUESSED = "The model learned from a column called {name}. Is this one the right one?"
COLUMN_ASKED = (
    "The model learned from a column called {name}, and this table has none of that name. Which "
    "column has the texts to answer?"
)
NO_COLUMN = "Choose the column that the model is to read."
MAX_TOKENS = "Longest answer (tokens)"
MAX_TOKENS_HINT = "About four letters each. Longer answers are cut off, and the table says so."
DOUBT = "Mark answers as doubtful below"
DOUBT_HINT = "Left empty, none is marked."
DOUBT_SAID = (
    "Of the {rows} rows that were held back, {doubtful} would have been doubtful, and {wrong} of "
    "these were wrong; of the other {rest}, {others} were wrong."
)
START = "Answer all rows"
STARTED = "Asked. The answers appear here when they are there."

AT_WORK = "At work on “{name}”"
WAITING = "Waits for its turn"
LOADING = "Loads the model"
ANSWERING = "Answers the rows: {done} of {total}"
LEFT = "About {time} left"
MAY_LEAVE = "You may leave this page: the work goes on, and what comes of it appears here."
CANCEL = "Stop"
CANCEL_TITLE = "Stop answering this table?"
CANCEL_TEXT = "What was answered so far is not kept. You can begin again at any time."

RESULT = "The answers to “{name}”"
ANSWERED = "Rows with an answer: {answered} of {rows}."
NOT_ANSWERED = "Without an answer, because {reason}: {count}."
REASONS = {
    "EMPTY_TEXT": "there is no text",
    "MISSING_VALUE": "there is no text",
    "TOO_LONG": "the text is longer than the model was trained for",
}
OTHER_REASON = "the model can't read it"
IN_THE_FILE = "These rows keep their place in the table, and its column “{column}” says why."
DOUBTFUL = (
    "Doubtful answers: {count}. Look at them first: the column “{column}” of the table says yes."
)
DOUBTFUL_ONE = "{confidence}, doubtful"
SHORTENED = "Rows whose beginning was cut off, because they are too long: {count}."
CUT_OFF = "Answers that were cut off at the longest answer: {count}."
GUARDED = (
    "Cells that look like formulas, which a spreadsheet would compute: {count}. They have got an "
    "apostrophe before them, so that nothing happens when you open the table."
)
DOWNLOAD = "Download the whole table"
COUNTS = "How many of each"
COUNT_COLUMNS = ("Label", "Rows", "Share")
FIRST = "The first rows"
FIRST_COLUMNS = ("Row", "Text", "Label", "Confidence", "Remark")
FIRST_COLUMNS_TEXT = ("Row", "Text", "Answer", "Remark")
FAILED = "The table could not be answered. {why}"
STOPPED = "It was stopped, and nothing of it was kept."

EARLIER = "Answered before"
EARLIER_COLUMNS = ("Table", "When")
