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

VERDICT_BETTER = (
    "The tuned model is better: it is right about {tuned} of the rows, and was about {base}."
)
VERDICT_WORSE = (
    "The tuned model is worse: it is right about {tuned} of the rows, and was about {base}."
)
VERDICT_SAME = "The tuned model is right as often as before, about {tuned} of the rows."
VERDICT_LOSS_BETTER = (
    "The tuned model is better: the right answers surprise it less, {tuned} instead of {base} nats "
    "a token."
)
VERDICT_LOSS_WORSE = (
    "The tuned model is worse: the right answers surprise it more, {tuned} instead of {base} nats "
    "a token."
)
VERDICT_ALONE = "The tuned model was measured alone: its loss is {tuned} nats a token."
SURE = "With {rows} rows this is more than chance would do."
UNSURE = "With {rows} rows this can be chance; measure it on more."
ROWS = "Measured on {rows} rows that the training never saw."
SHORTENED = "{count} of them were cut to the longest row."
DROPPED = "{count} rows were left out because they are too long."

FIGURES = "Before and after"
FIGURE_COLUMNS = ("Figure", "Before", "After", "Change")
FIGURE_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "loss": "Loss (nats a token)",
    "perplexity": "Perplexity",
}
BETTER = "{change} better"
WORSE = "{change} worse"
SAME = "the same"

CLASSES = "Label by label"
CLASS_COLUMNS = ("Label", "Precision", "Recall", "F1", "Rows")
CONFUSION = "Where it is wrong"
CONFUSION_TEXT = (
    "Rows: the right label. Columns: what the model said. A click shows the rows behind."
)
CONFUSION_CELL = "{count} rows with the right label {expected} were answered with {predicted}"
RIGHT_LABEL = "Right label"
WHICH = "Model"
TUNED = "Tuned"
BASE = "Base"

SAMPLES = "Answers before and after"
NEXT = "What next"
NEXT_HELP = (
    "Training further begins with what this run has learned, for example on more rows. Training "
    "anew begins with the base model again, for example with other settings."
)
FURTHER = "Train further"
ANEW = "Train anew"
QUESTION = "Question"
EXPECTED = "Right answer"
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
ROW_COLUMNS = ("Row", "Question", "Right answer", "Answer", "Confidence", "Loss", "Before")
NO_TEXT = "(not kept by this version)"
DOWNLOAD = "Download all rows"
