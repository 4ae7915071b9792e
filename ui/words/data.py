"""The texts of the pages `/data` and `/data/ID`."""

from __future__ import annotations

from types import MappingProxyType

# the list
TITLE = "Data"
LEAD = (
    "Your examples: a table with one row for each of them. A few hundred good rows are enough to "
    "begin with."
)
ADD = "Add data"
LISTED = "Your data sets"
EMPTY_TITLE = "There is no data set yet"
EMPTY = "Upload a table above, paste some rows, or look at one of the examples below."
EMPTY_VIEWER = "Somebody with the role editor can upload one. You can look at the examples below."
NAME = "Name"
SIZE = "Size"
ADDED = "Added"
BY = "By"
NOBODY = "a former member"
DELETE = "Delete"
DELETE_ONE_TITLE = "Delete this data set?"
DELETE_TITLE = "Delete {count} data sets?"
DELETE_TEXT = (
    "{names}\n\nRuns that were trained with it stay as they are, but can't be continued. "
    "This can't be undone here."
)
DELETED = "Deleted: {names}"
MORE_NAMES = "and {count} more"
EXAMPLES = "Examples to try"
EXAMPLES_LEAD = "They ship with the app, and are small enough for any machine."
EXAMPLE_TEXTS = MappingProxyType(
    {
        "spam_train.csv": (
            "E-mails, spam or ham",
            "500 e-mails, each with its label. A model learns to tell the two apart.",
        ),
        "spam_test.csv": ("More e-mails", "320 of the same kind, to measure with."),
        "chat_train.jsonl": (
            "Questions and answers",
            "264 questions with short answers. A model learns to answer in this way.",
        ),
        "chat_test.jsonl": ("More questions", "60 of the same kind, to measure with."),
    }
)

# one data set
EXAMPLE = "Example that ships with the app"
SAME_FILE = "You have this file already: here it is. Nothing was stored twice."
CONFIGURE = "Set up a run with it"
ROWS = "Rows"
COLUMNS = "Columns"
FILE = "File"
READING = "Looking at the file"
COUNTING = "Counting tokens"
TABS = MappingProxyType(
    {
        "rows": ("Rows", "table_rows"),
        "check": ("Check-up", "fact_check"),
        "tokens": ("Tokens", "data_object"),
        "lengths": ("Lengths", "bar_chart"),
        "split": ("Split", "call_split"),
    }
)
ALL_USABLE = "all can be used"
SOME_USABLE = "{count} of them can be used"
MUST_LEAVE = "{count} rows must be repaired or left out first."
MUST_LEAVE_ONE = "1 row must be repaired or left out first."
MUST_MEND = "What the check-up found must be mended first."
SEE_CHECK = "See the check-up"
NOT_READABLE = "{count} of them can't be read"
FIRST_MAP = "Say above what the columns are; then this can be shown."

# what the columns are
MAPPING = "What the columns are"
MAPPING_LEAD = "A model has to know what it reads and what it should write."
TASK = "A row is"
TASKS = MappingProxyType(
    {
        "classification": "a text with its label (its category)",
        "instruction": "a question with its answer",
        "chat": "a whole conversation",
        "text": "plain text",
    }
)
PARTS = MappingProxyType(
    {
        "text": "Text to read",
        "label": "Label to answer with",
        "prompt": "Question",
        "response": "Answer",
        "system": "Instructions for the model (may be left out)",
        "messages": "Conversation",
    }
)
SHORT_PARTS = MappingProxyType(
    {
        "text": "text",
        "label": "label",
        "prompt": "question",
        "response": "answer",
        "system": "instructions",
        "messages": "conversation",
    }
)
NO_COLUMN = "none"
GUESSED = "We took this from the names of the columns. Change it if it isn't right."
NOT_GUESSED = "Which column should the model read, and which should it learn to answer with?"
GUESSED_BY_CONTENTS = (
    "This is a guess from what stands in the columns. Look at the rows below, and change it if it "
    "isn't right."
)
GUESS_IS_RIGHT = "That's right"
CHOOSE_ALL = "Choose a column for each part."
SAVED = "Saved"
NOT_SAVED_EXAMPLE = "This is an example: what you change is forgotten when you leave the page."
NOT_SAVED_VIEWER = "Only editors can change what the columns are."

READ_AS = "How the file is read"
LETTERS_LOST = "Not shown, since their letters can't be read: {rows}. {why}"
NAMES_LOST = "The names of the columns have letters that can't be read. {why}"
SAVED_AS = "The file was probably saved as {name}."
TRY_ANOTHER = "{what} Choose another encoding below, and look whether the rows read well."
READ_IT_AS = "Read it as {name}"
ENCODING = "Encoding (how letters are written)"
ENCODINGS = MappingProxyType(
    {
        "auto": "find it out",
        "utf-8": "UTF-8",
        "cp1252": "Windows, Western Europe (cp1252)",
        "cp1250": "Windows, Central Europe (cp1250)",
        "cp1254": "Windows, Turkish (cp1254)",
        "cp1251": "Windows, Cyrillic (cp1251)",
        "utf-16": "UTF-16",
        "mac-roman": "Mac, Western Europe (Mac Roman)",
        "cp850": "DOS, Western Europe (cp850)",
        "cp932": "Japanese (Shift JIS)",
        "gb18030": "Chinese (GB 18030)",
        "cp949": "Korean (EUC-KR)",
    }
)
DELIMITER = "Between the columns of a CSV"
DELIMITERS = MappingProxyType(
    {"auto": "find it out", ",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
)

# rows
LINE = "Row"
COLUMN_AS = "{column} ({part})"
ROWS_LABEL = "Rows of the file"
ROWS_NOT_SHOWN = (
    "{count} of {total} rows can't be read as they stand, so they aren't in this table. The "
    "check-up shows them, with the reason."
)
ROWS_NOT_SHOWN_ONE = (
    "One of {total} rows can't be read as it stands, so it isn't in this table. The check-up shows "
    "it, with the reason."
)
ROWS_LEAD = "As they stand in the file. Click a row's number to see it as the model does."

# check-up
ATTENTION = "{count} of {total} rows need attention"
ATTENTION_ONE = "1 of {total} rows needs attention"
NO_ATTENTION = "No row needs attention"
NONE_USABLE = "No row can be used yet"
USABLE = "{count} rows can be used."
USABLE_ONE = "1 row can be used."
NOT_USABLE = "{count} rows can't be used as they stand."
NOT_USABLE_ONE = "1 row can't be used as it stands."
ODD = "{count} of those that can be used should be looked at."
ODD_ONE = "1 of those that can be used should be looked at."
LEFT_OUT_ROWS = "{count} rows are left out."
LEFT_OUT_ONE = "1 row is left out."
SCORE = "Score: {score} of 100. {word}."
SCORE_WORDS = MappingProxyType({90: "Good", 70: "Usable", 40: "Needs work", 0: "Needs repair"})
FOUND = "What was found"
NOTHING_FOUND = "Nothing is wrong with these rows."
SEVERITIES = MappingProxyType(
    {
        "error": ("Stops a run", "bad"),
        "warning": ("May spoil the result", "warning"),
        "info": ("Good to know", "busy"),
    }
)
LEFT_OUT = ("Left out", "busy")
NOT_ABOUT_ROWS = ("RARE_LABEL", "DUPLICATE_COLUMN", "UNNAMED_COLUMN", "MISSING_COLUMN")
SAME_AS = "Repeats"
REPEATS = "row {line}"
NO_MODEL = "The lengths of the rows are not in this report. {why}"
SHOW_ROWS = "Show the rows"
HIDE_ROWS = "Hide the rows"
SHOWN_OF = "The first {shown} of {count}:"
UNREAD = "Can't be read as a row: {text}"
FIX = "What to do: {fix}"
SKIP_BAD = "Leave out rows that can't be used"
SKIP_BAD_HELP = MappingProxyType(
    {
        True: "On: a run learns from the other rows.",
        False: "Off: a run refuses to start until they are repaired.",
    }
)
SKIP_BAD_NOW = "Leave such rows out"
SKIP_ADVICE = "or leave such rows out"
AT_ROW = "Row {rows}{of_file}: "
AT_ROWS = "Rows {rows}{of_file}: "
AND_MORE = " and {count} more"
OF_FILE = " of {file}"
AT_FILE = "{file}: "
CODES = "Details: {codes}"
LONG_ROWS = MappingProxyType(
    {"truncate": "Cut rows that are too long", "drop": "Leave rows out that are too long"}
)
COUNT_AS = "Count “{label}” as “{meant}”"
COUNTS_AS = "“{label}” counts as “{meant}”."
COUNTS_AS_BACK = "Keep them apart"
FIXES = MappingProxyType(
    {
        "UNDECODABLE_BYTES": (
            "Choose another encoding above, under “How the file is read”, or leave such rows out."
        ),
        "DUPLICATE_ROWS": (
            "Look whether they are mistakes: the model would learn from them twice, and the result "
            "count them twice. Then delete them in your file, and upload it anew."
        ),
        "LABEL_IMBALANCE": "Add rows of the rare labels.",
        "LABEL_SPELLING": (
            "Let them count as one: otherwise the model learns them as different labels, and the "
            "result looks better or worse than it is."
        ),
        "SIMILAR_LABELS": (
            "If one of them is misspelt, let them count as one: otherwise the model learns them as "
            "different labels, and the result looks better or worse than it is."
        ),
        "TRUNCATED": "Allow longer rows, on the tab Lengths, if what is cut off matters.",
        "DROPPED": "Allow longer rows, on the tab Lengths, to keep them.",
        "TOO_LONG": "Allow longer rows, on the tab Lengths, or let them be cut or left out.",
        "ALL_ROWS_TOO_LONG": "Allow longer rows, on the tab Lengths, or let them be cut.",
        "ANSWER_TOO_LONG": "Allow longer rows, on the tab Lengths, or leave these out.",
    }
)
FIXES_ELSEWHERE = MappingProxyType(
    {
        "TOO_LONG": "Allow longer rows, or let them be cut or left out.",
        "ALL_ROWS_TOO_LONG": "Allow longer rows, or let them be cut.",
        "ANSWER_TOO_LONG": "Allow longer rows, or leave these out.",
        "TRUNCATED": "Allow longer rows if what is cut off matters.",
        "DROPPED": "Allow longer rows to keep them.",
        "LABEL_SPELLING": "The check-up of the data can let them count as one.",
        "SIMILAR_LABELS": (
            "If one of them is misspelt, the check-up of the data can let them count as one."
        ),
    }
)

# tokens
TOKENS_LEAD = (
    "A model doesn't read letters but tokens. This is the row as it will be trained, by the demo "
    "model's tokens."
)
ONE_ROW = "One row"
PACKED = "As packed for training"
PREVIOUS = "Previous"
NEXT = "Next"
ROW_TITLE = "Row {line}: {length} tokens"
ROW_CUT = "{cut} of them cut off"
ROW_UNUSED = "too long, so it isn't used"
NO_MORE_ROWS = "There is no usable row there."
LEGEND = "What the colours mean"
KINDS = MappingProxyType(
    {
        "supervised": ("Learned", "supervised"),
        "context": ("Only read", "context_tokens"),
        "truncated": ("Cut off", "truncated"),
        "special": ("Marker", "marker"),
        "padding": ("Padding", "padding"),
        "segment": ("Start of a row", "packing"),
    }
)
NOT_SHOWN = "{count} more tokens"
PADDING_TEXT = "{count} empty places"
PADDING_ONE = "1 empty place"
PACKED_TITLE = "Packed row {number} of {total}: {rows} rows in {length} places"
PACKED_TITLE_ONE = "Packed row {number} of {total}: one row in {length} places"
PACKED_NOTE = (
    "{examples} training rows go into {total} packed rows of {length} tokens; {share} of the "
    "places stay empty. They are mixed anew for each epoch."
)
SEGMENT = "row {line}"

# lengths
LENGTHS_LEAD = "How long the rows are, and what happens to those that don't fit."
MEDIAN = "Half have at most"
P95 = "95 of 100 have at most"
LONGEST = "The longest has"
OVER = "Too long"
SUPERVISED_SHARE = "Learned share"
TOKENS_UNIT = "tokens"
CHART = "Histogram of the lengths of all rows in tokens, with a line at the longest row allowed"
CHART_X = "Tokens of a row"
CHART_Y = "Rows"
FITS = "fits"
TOO_LONG = "too long"
CUT_LINE = "longest row: {length}"
MAX_LENGTH = "Longest row, in tokens"
TOO_LONG_LABEL = "Longer rows"
TOO_LONG_WAYS = MappingProxyType(
    {
        "error": "stop the run, so that nothing is lost unseen",
        "truncate": "are cut at their start, never at the answer",
        "drop": "are left out",
    }
)
ALL_FIT = "All {rows} rows fit into {length} tokens."
SOME_CUT = MappingProxyType(
    {
        "error": "Of {rows} rows, {over} would be longer than {length} tokens: no run would start.",
        "truncate": "Of {rows} rows, {over} will be cut to {length} tokens.",
        "drop": "Of {rows} rows, {over} will be left out: more than {length} tokens.",
    }
)
LENGTHS_UNKNOWN = "The lengths can't be counted before what the check-up found is repaired."

# split
SPLIT_LEAD = (
    "Some rows are kept away from learning, so that the result can be measured with rows the model "
    "has never seen. Rows with the same text stay together."
)
SPLIT_PARTS = MappingProxyType(
    {
        "train": ("To learn from", "training_rows"),
        "validation": ("To choose the best moment", "validation"),
        "test": ("Held back to measure", "held_back"),
    }
)
VALIDATION_SHARE = "Validation, in percent"
TEST_SHARE = "Held back, in percent"
SPLIT_SEED = "Seed"
SPLIT_SEED_HELP = "Another number chooses other rows."
ROWS_OF = "{rows} rows"
ROWS_OF_ONE = "1 row"
FIRST_OF = "The first {shown} of {count}:"
SPLIT_COLUMNS = MappingProxyType(
    {
        "classification": ("The model reads", "It learns to answer"),
        "instruction": ("The model reads", "It learns to answer"),
        "chat": ("The model reads", "It learns to say next"),
        "text": ("It learns to write",),
    }
)
HELD_COLUMNS = MappingProxyType(
    {
        "classification": ("The model reads", "It should answer"),
        "instruction": ("The model reads", "It should answer"),
        "chat": ("The model reads", "It should say next"),
        "text": ("It should find likely",),
    }
)
