"""The texts of a run's result."""

from __future__ import annotations

TITLE = "Result"
NONE_TITLE = "This run has not been measured yet"
NONE_TEXT = (
    "When its training is over, the model before and after it is measured on the rows that were "
    "held back."
)
MEASURE = "Measure it now"
MEASURING = "Asked. The result appears here when it is there."

VERDICTS_LABELS = {
    "better": (
        "The tuned model is better: of {rows} rows that the training never saw it is right on "
        "{tuned}; before its training it was on {base}."
    ),
    "worse": (
        "The tuned model is worse: of {rows} rows that the training never saw it is right on "
        "{tuned}; before its training it was on {base}."
    ),
    "same": (
        "The tuned model is right as often as before: on {tuned} of {rows} rows that the training "
        "never saw."
    ),
    "changed": (
        "Of {rows} rows that the training never saw the tuned model is right on {tuned}; before "
        "its training it was on {base}."
    ),
    "alone": (
        "The tuned model is right on {tuned} of {rows} rows that the training never saw. The model "
        "before its training was not measured."
    ),
}
VERDICTS_ANSWERS = {
    "better": (
        "The tuned model is better: to each piece of a right answer it gives a chance of {tuned} "
        "on average; before its training it gave {base}."
    ),
    "worse": (
        "The tuned model is worse: to each piece of a right answer it gives a chance of {tuned} "
        "on average; before its training it gave {base}."
    ),
    "same": "The tuned model finds the right answers as likely as before, {tuned} a piece.",
    "changed": (
        "To each piece of a right answer the tuned model gives a chance of {tuned} on average; "
        "before its training it gave {base}."
    ),
    "alone": "To each piece of a right answer the tuned model gives a chance of {tuned} on "
    "average.",
}
SURE = "That is more than chance would do."
UNSURE = "{rows} rows are too few to tell whether that is more than chance."
ROWS_TO_TELL = "If it goes on like this, about {rows} held-back rows would tell."
HOW_TO_GET_THEM = "Bring more data, or hold back a larger share of it in the next run."
FEW_ROWS = (
    "Too few rows were held back to rely on it ({rows}): of new texts it may get anything from "
    "{low} to {high} right. Until more rows have shown it, look at its answers before you use "
    "them. Bring more rows with their right answers, or hold more of them back, and train anew."
)
ENOUGH_ROWS = (
    "Of new texts like these, expect it to get {low} to {high} right. Whether you may use its "
    "answers unread depends on what a wrong one costs you."
)
MORE_ROWS = "Bring more rows"
HOLD_MORE_BACK = "Hold more rows back"
ROWS = "Measured on {rows} rows that the training never saw."
SHORTENED = "{count} of them were cut to the longest row."
DROPPED = "Left out because they are too long: {count}."
LABELS_APART = "These figures may mislead. {what}"

FIGURES = "Before and after"
BEFORE = "Before"
AFTER = "After"
RIGHT_OF = "right on {right} of {rows} rows; of new rows, {low} to {high}"
MARGIN = "Of new rows"
LIKELIHOOD = "Likelihood"
ACCURACY_TEXT = (
    "Of the rows that were held back, the share that the model gives the right label (accuracy). "
    "What counts is which label of your data it finds likeliest."
)
LIKELIHOOD_TEXT = (
    "The chance that the model gives to each piece of the right answers, on average. 100% would "
    "mean that it knows them by heart; a good answer in other words counts little here."
)
EXPERTS = "For experts"
FIGURE_FILES = {
    "Download all figures (JSON)": "report.json",
    "As a page (Markdown)": "report.md",
}
FIGURE_COLUMNS = ("Figure", "Before", "After", "Change")
FIGURE_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Mean of the labels (macro F1)",
    "loss": "Surprise a token (loss)",
    "perplexity": "Perplexity",
}
COMPARED = (
    "Better on {better} rows and worse on {worse}; the others are alike. If both models were "
    "equally good, so uneven a count would come about with a probability of {chance} (sign test)."
)
LESS_THAN = "less than {share}"
BETTER = "{change} better"
WORSE = "{change} worse"
SAME = "the same"

CLASSES = "Label by label"
CLASS_COLUMNS = ("Label", "Precision", "Recall", "F1", "Rows")
CONFUSION = "Where it is wrong"
CONFUSION_TEXT = (
    "Rows: the right label. Columns: the one that the model finds likeliest. A click on a number "
    "shows the rows behind it."
)
CONFUSION_CELL = "{count} rows with the right label {expected} were answered with {predicted}"
RIGHT_LABEL = "Right label"
TUNED = "Tuned"
BASE = "Base"

SAMPLES = "Answers before and after"
SAMPLES_TEXT = (
    "What counts is which of your labels the model finds likeliest; tables are answered in the "
    "same way. Left to itself it might write something else, as models often do before their "
    "training: then that stands below the label. It isn't counted."
)
COUNTED_RIGHT = "{label}: right"
COUNTED_WRONG = "{label}: wrong"
WRITTEN = "It would write: {text}"
NEXT = "What next"
USE_HELP = (
    "Ask the tuned model something of your own, let it answer a whole table, or take it with you "
    "as files."
)
TRY = "Try it in the playground"
TABLE = "Use it on a table"
EXPORT = "Export it"
NEXT_HELP = (
    "Training further begins with what this run has learned, for example on more rows. Training "
    "anew begins with the base model again, for example with other settings."
)
FURTHER = "Train further"
ANEW = "Train anew"
QUESTION = "Question"
EXPECTED = "Right answer"
TEXT = "Text"
ANSWER_BASE = "Before"
ANSWER_TUNED = "After"
CUT = "(cut at the longest answer)"

PREDICTIONS = "Row by row"
ORDERS = {
    "row": "In the order of the file",
    "worst": "Worst first",
    "best": "Best first",
    "sure_but_wrong": "Wrong, the most confident first",
}
ORDER = "Order"
SHOWN_CELL = "Only rows with the right label {expected} that were answered with {predicted}"
ALL_ROWS = "Show all rows"
ROW_COLUMNS = ("Row", "Question", "Right answer", "Loss", "Before")
ROW_COLUMNS_LABELS = ("Row", "Text", "Right label", "Label", "Confidence", "Loss", "Before")
ROW_NUMBERS = ("Row", "Confidence", "Loss")
NO_TEXT = "(not kept by this version)"
DOWNLOAD = "Download all rows for Excel (CSV)"
DOWNLOAD_JSON = "For programs (JSON lines)"
SHEET_COLUMNS = {
    "row": "Row",
    "prompt": "Question",
    "expected": "Right answer",
    "predicted": "Answer",
    "is_right": "Right",
    "confidence": "Confidence",
    "base_predicted": "Answer before the training",
    "loss": "Loss",
    "base_loss": "Loss before the training",
}
SHEET_COLUMNS_LABELS = SHEET_COLUMNS | {
    "prompt": "Text",
    "expected": "Right label",
    "predicted": "Label",
    "base_predicted": "Label before the training",
}
YES = "yes"
NO = "no"
