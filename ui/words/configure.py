"""The texts of the page on which a run is set up."""

from __future__ import annotations

TITLE = "New run"
LEAD = "The defaults are good. Choose your data, look at the plan, and start."

LAST = "These are your last settings."
RESET = "Reset"

DATA = "Data"
DATA_FIELD = "Rows to learn from"
DATA_LOOK = "Look at it"
DATA_EMPTY = "You have no data set yet; the examples that ship are here to try."
SHIPPED = "Example: {name}"
TASK = "What a row is"
TASKS = {
    "classification": "a text with its label",
    "instruction": "a question with its answer",
    "chat": "a conversation",
    "text": "plain text",
}
COLUMN = "{part}: column \u201c{column}\u201d"
NO_MAPPING = "Say on its page what its columns are."

MODEL = "Model"
MODEL_TEXT = "Small ones are quick and fit everywhere; large ones know more."
MODEL_LABELS = (
    "To sort texts into labels, take the one that is recommended: every model learns labels from "
    "rows."
)
MODEL_ANSWERS = (
    "To answer questions, take one with “instruct” in its name: it can already answer, and only "
    "has to learn what your answers are like."
)
PARAMETERS = "{count} parameters"
CONTEXT = "up to {count} tokens"
RECOMMENDED = "Recommended"
DEMO_IS = "The smallest Gemma 3, to try things out with"
NOT_INSTALLED = "Not installed: it comes with the extra “demo” of this app"
IS_HERE = "Already here, no account needed"
NEEDS_ACCOUNT = "Needs a Kaggle account: it is fetched when the run starts"
FETCHED = "Is fetched from Kaggle when the run starts"
INSTRUCT = "can already answer questions"
PRETRAINED = "can't answer yet, only go on with a text"
GEMMA_TERMS = "Gemma Terms of Use"
FITS = "fits this machine"
TOO_LARGE = "larger than this machine's memory"
MORE_MODELS = "Other models"
CHOSEN = "Chosen"
CHOOSE = "Choose"
OTHER_MODEL = "A Hugging Face or Kaggle model, or model:ID of an uploaded one"

PICTURE = "What is trained"
PICTURE_TEXT = "The model stays as it is; beside the coloured parts of every layer, LoRA learns."
PICTURE_LABEL = "Trained in every layer: {targets}. Everything else stays as it is."
EMBEDDING = "Tokens become numbers"
LAYER = "One layer"
LAYERS = "One layer, {count} times"
ATTENTION = "Attention"
FEED_FORWARD = "Feed-forward"
OUTPUT = "The next token"
TRAINED = "trained"
FROZEN = "stays as it is"

PRESETS = "In one click"
PRESET_TEXT = "Each changes a few settings; you can change them again."
PRESET_GROUPS = {"effort": "How long it learns", "memory": "How much memory it takes"}
PRESET_NAMES = {
    "quick": ("Quick try", "Ten steps, to see that everything works. It learns very little."),
    "balanced": ("Balanced", "What works for most data."),
    "thorough": ("Thorough", "More passes, more room to learn, and an early end if that helps."),
    "usual": ("As usual", "Quick, and fits most machines."),
    "little": ("Little memory", "The same result in less memory, and slower."),
}
PRESET_SET = "{name}: {changes}"
PRESET_ONE = "{setting} {value}"
PRESET_NOTHING = "everything is set so already"
RAISED = "Your table is small, so the model {changes}: {steps} steps."
RAISED_NOW = "The model now {changes}."
RAISED_HOW = {
    "train.batch_tokens": "learns in smaller portions",
    "train.micro_batch_tokens": "learns in smaller portions",
    "train.epochs": "goes over all rows {after} times instead of {before}",
}
RAISED_DETAILS = "Details: the settings that were changed"
AND = " and "
RAISED_ONE = "{setting} {after} instead of {before}"
TAKE_BACK = "Take this back"

SETTINGS = "Settings"
UNNAMED = "my-run"
NAME_FIELD = "Name of the run"
MORE = {
    "data": "More about the data",
    "model": "More about the model",
    "model.lora": "More about LoRA",
    "train": "More about the training",
    "mesh": "Several devices",
    "evaluate": "More about measuring",
}
NO_VALUE = "none"
LIST_HINT = "One a line."
TABLE_HINT = "One a line, such as: complain = complaint"
EXPORTS = "Exports at the end"
EXPORT_NAMES = {"hf": "Hugging Face folder (the whole model)", "peft": "PEFT adapter (a few MB)"}

PLAN = "Plan"
PLANNING = "Is being worked out"
PLAN_NO_DATA = "Choose data first."
PLAN_FIX = "Correct the settings first."
REFUSED = "This can't start yet: the data has to be repaired, or rows left out."
LABELS_APART = "{what} They count as different labels."
KEPT_WITH_DATA = "Kept with the data set."
PLAN_MEMORY = "Memory"
PLAN_OF = "{used} of {free} that are free"
PLAN_STEPS = "Steps"
PLAN_STEPS_RAISED = "more than usual, for a small table"
PLAN_TIME = "Training time"
PLAN_STEP_TIME = "{time} a step, {source}"
PLAN_SOURCES = {
    "probe": "measured",
    "past runs": "as in earlier runs",
    "operations": "a rough guess",
}
PLAN_MEASURING = "Measuring the result"
PLAN_MEASURING_NOTE = "about; exports come on top"
PLAN_FEW = "It has only {steps} steps, so it learns very little."
PLAN_RATHER_FEW = "It has only {steps} steps, so it may learn too little."
PLAN_MAY_MORE = "It has {steps} steps, and may have more: it ends when it gets no better."
PLAN_FEW_ONE = "It has only one step, so it learns very little."
PLAN_FEW_ROWS = "{rows} rows to learn from are few; a few hundred are a good beginning."
PLAN_MORE_STEPS = "Take {steps} steps"
PLAN_DETAILS = "What takes the memory"
PLAN_REST = "everything else"
BETWEEN = " \u00b7 "
PLAN_SHORT = "{name}: {value}"
PLAN_FITS = {
    "fits": "It fits.",
    "tight": "It fits, but only just.",
    "too_big": "It doesn't fit into this machine's memory.",
}
HUBS = {"kaggle": "Kaggle", "hf": "Hugging Face"}
FETCH = (
    "{name} isn't on this machine yet. The run fetches it from {hub} first{size}, and fails if it "
    "can't reach {hub}."
)
FETCH_SIZE = " (about {size})"
FETCH_UNPLANNED = "Nobody can say before how much memory and time it takes."
FETCH_KEY = (
    "The key of an account at {hub} is stored; that account must have agreed to the terms of this "
    "model there."
)
FETCH_NO_KEY = (
    "That takes an account at {hub}, and no key of one is stored here, so the run is likely to "
    "fail at once. An administrator can store a key on the page Admin, as the secret {secret}."
)
TAKE_HERE = "Take the model that is here instead: {name}"
PLAN_CHANGE = "{setting}: {value}"
PLAN_TAKES = "{change} (takes {size})"
PLAN_CHANGES = "What would make it fit, each by itself:"
PLAN_CHECK = "Check it more exactly"
PLAN_CHECKED = "Checked by compiling the real programs for {device}."
PLAN_FORMULA = "By a formula. Compiling the real programs is more exact, and takes a while."
PLAN_PAST_ONE = "The last plan here was off by {error}."
PLAN_PAST = "The last {count} plans here were off by {error} on average."

START = "Start the run"
STARTED = "The run waits for its turn."
TOO_BIG_TITLE = "Start it although it may not fit?"
TOO_BIG_TEXT = (
    "The plan says that it needs more memory than there is. The system may end it in the middle, "
    "and other programs on this machine with it."
)
START_ANYWAY = "Start it anyway"
PROBLEMS = "This must be corrected first:"

TOML = "As a file"
TOML_TEXT = (
    "The same settings as a recipe. Change them here, or keep them: a recipe is all that it takes "
    "to do the run again."
)
TOML_APPLY = "Take these settings"
TOML_APPLIED = "The form now says the same."
TOML_DATA_STAYS = (
    "The form now says the same, but for the data: the file that it names isn't here, so the data "
    "that you have chosen stay."
)
TOML_CHOOSE_DATA = (
    "The form now says the same, but for the data: the file that it names isn't here. Choose your "
    "data at the top."
)
COMMAND_TEXT = "In a terminal, with the path of your file as data.path:"
COMMAND = "gemma-keras-tune train recipe.toml"
