"""The texts of the pages of runs: the list, one run as it works, and several compared."""

from __future__ import annotations

# The list
TITLE = "Runs"
COLUMNS = {
    "name": "Run",
    "state": "State",
    "step": "Steps",
    "loss": "Training loss",
    "measured_loss": "Test loss",
    "accuracy": "Accuracy",
    "size": "Size",
    "tags": "Tags",
    "created_at": "Started",
}
SEARCH = "Search by name"
STATE = "State"
TAG = "Tag"
ANY = "any"
EMPTY_TITLE = "There is no run yet"
EMPTY_TEXT = "A run is one training with all that belongs to it. Set one up, or run the example."
NOTHING_FOUND = "No run fits these filters."
COMPARE = "Compare"
COMPARE_HINT = "Choose two or more runs to compare them."
EDIT = "Rename and tag"
EDIT_SEVERAL = "Add tags to these runs"
DELETE = "Delete"
DELETE_TITLE = "Delete {count} runs?"
DELETE_ONE_TITLE = "Delete this run?"
DELETE_TEXT = (
    "Their settings, checkpoints, results and exports go into the trash, and are gone for good a "
    "week later. Whoever runs the server can bring them back until then."
)
DELETED = "Deleted."
NAME = "Name"
TAGS = "Tags, with commas between"
SAVE = "Save"
SAVED = "Saved."
CHOSEN = "{count} chosen"

# The tabs of one run
LIVE = "Run"
RESULT = "Result"
PLAYGROUND = "Playground"
TABLE = "Use on a table"
EXPORT = "Export"
PARTS = "Parts of this run"

# One run
PROGRESS = "Progress"
STAGES = {
    "data": "Reads the data",
    "model": "Loads the model",
    "training": "Trains",
    "validation": "Measures itself on unseen rows",
    "evaluation": "Measures the result",
    "generation": "Writes answers",
    "export": "Exports",
    "": "Waits to begin",
}
FIRST_STEP = "Prepares the first step. That takes up to a minute, with a large model some minutes."
SAVING = "Saves what it has learned"
PAUSED = "Paused between two steps"
WAITING = "Waits for its turn; {ahead} before it"
WAITING_NEXT = "Waits for its turn; it is the next one"
STARTING = "Starts"
DONE = "Finished"
STOPPED = "Stopped with a checkpoint; it can go on from there"
FAILED = "Failed"
DIED = "Its process is gone without a word; it can go on from its last checkpoint"
STEP_OF = "Step {step} of {total}"
EPOCH = "{share} of pass {number} over the rows"
LEFT = "{time} left"
TRAINING_LEFT = "about {time} of training left, then it is measured"
NEARLY_DONE = "nearly done"
STEPS = "Steps"
OF = "of {total}"
LOSS = "Loss"
VALIDATION = "Validation loss"
SPEED = "Tokens a second"
MEMORY = "Memory"
STORAGE = "On the disk"
PEAK = "at most {size}"
BEST = "lowest {value}"

PAUSE = "Pause"
RESUME = "Go on"
CHECKPOINT = "Save a checkpoint"
SAMPLE = "Ask it now"
CHANGE = "Change a setting"
FINISH = "Finish now"
STOP = "Stop"
CANCEL_JOB = "Cancel"
RESUME_RUN = "Go on with this run"
TRY_AGAIN = "Try again"
CHANGE_SETTINGS = "Change its settings"
REPAIR_DATA = "Repair its data, in a new run"
ANOTHER = "Another run like this"
CHANGE_SETTINGS_HINT = "A new run with the settings of this one, to change first."
SEE_RESULT = "See the result"
TRY_IT = "Ask the model"
EXPORT_IT = "Export it"
SENT = {
    "pause": "It pauses as soon as the step that it is taking is done.",
    "resume": "It goes on.",
    "checkpoint": "It saves a checkpoint as soon as the step that it is taking is done.",
    "sample": "It answers between two steps; the answer comes under Samples.",
    "stop": "It saves a checkpoint as soon as the step that it is taking is done, and stops.",
    "set": "From the next step on: {change}.",
}
GOES_ON = "It goes on from its last checkpoint as soon as it is its turn."
CHANGED_TO = "{setting} {value}"
STOP_TITLE = "Stop this run?"
STOP_TEXT = "It saves a checkpoint and ends. You can go on with it later, and lose nothing."
FINISH_TITLE = "Finish this run now?"
FINISH_TEXT = (
    "It ends the training after its next step, keeps the best state that it has seen, measures it "
    "and makes the exports."
)
CANCEL_TITLE = "Cancel this job?"
CANCEL_TEXT = "If it works already, it saves a checkpoint and ends."
SAMPLE_TITLE = "Ask the model as it is now"
SAMPLE_PROMPT = "Text to answer"
SAMPLE_HINT = "Left empty, it answers the sample prompts of its settings."
ASK = "Ask"
CHANGE_TITLE = "Change a setting of the working run"
SETTING = "Setting"
VALUE = "New value"
VALUE_NOW = "Now: {value}"
VALUE_WRONG = "Write a number, such as {example} {bounds}"
NO_VALUE = "none"
APPLY = "Apply"
SETTINGS = {
    "learning_rate": "Learning rate",
    "weight_decay": "Weight decay",
    "evaluate_every_steps": "Steps between measurements",
    "checkpoint_every_steps": "Steps between checkpoints",
    "checkpoint_every_s": "Seconds between checkpoints",
    "patience": "Patience",
    "end_step": "Last step",
}
NOTIFY = "Tell me when it ends"
NOTIFY_ON = (
    "Your browser tells you when your work ends, fails or stands still, as long as a page of this "
    "app is open. Settings has e-mail, Slack and web hooks too."
)
NOTIFY_ON_PAGES = (
    "Your browser doesn't show notifications of this page, so the pages of this app tell you. "
    "Settings has e-mail, Slack and web hooks too."
)

LEARNING = "Learning"
TRENDS = {
    "early": "It is too early to tell whether it learns.",
    "learns": "The loss falls: it is learning.",
    "no_righter": (
        "The loss falls, so it learns how answers look; but of the rows that it doesn't learn from "
        "(validation) it gets no more right than at first. If that stays so, it needs more passes, "
        "more rows, or a higher learning rate."
    ),
    "by_heart": (
        "The loss falls on the rows that it learns from, and rises on those that it doesn't "
        "(validation): it begins to learn by heart. Its best state is kept. You may finish it now."
    ),
    "flat": (
        "The loss neither falls nor rises so far. If it stays like this, try a higher learning "
        "rate, or look whether the right answers follow from the texts."
    ),
    "rises": "The loss rises: it unlearns. Stop it, and try again with a lower learning rate.",
}
TRENDS_ENDED = {
    "early": "These are too few steps to tell whether it has learned.",
    "learns": "The loss fell: it has learned.",
    "no_righter": (
        "The loss fell, so it has learned how answers look; but of the rows that it didn't learn "
        "from (validation) it got no more right than at first. More passes, more rows or a higher "
        "learning rate may help."
    ),
    "by_heart": (
        "The loss fell on the rows that it learned from, and rose on those that it didn't "
        "(validation): it began to learn by heart. Its best state was kept. Fewer passes over the "
        "rows, or more rows, would do better."
    ),
    "flat": (
        "The loss neither fell nor rose: it has learned little. Try a higher learning rate or more "
        "passes, or look whether the right answers follow from the texts."
    ),
    "rises": "The loss rose: it has unlearned. Try again with a lower learning rate.",
}
MORE_CURVES = "For experts: smoothed loss, perplexity, learning rate and gradient norm"
CHARTS_HELP = (
    "In every chart: draw over a part with the mouse to look closer, double-click to see all of "
    "it again, click a name above it to hide that line."
)
CURVES_SHEET = "Download the figures of each step (CSV)"
MACHINE = "Machine"
SAMPLES = "Samples"
RECIPE = "Settings"
RECIPE_TEXT = (
    "The run as a recipe: what isn't in it has its default. New run takes it under “As a file”, "
    "and so does the API."
)
RECIPE_COMMAND_TEXT = "In a terminal, in the folder in which the app keeps its data:"
RECIPE_COMMAND = "gemma-keras-tune train runs/{run}/recipe.json --root ."
NO_RECIPE = "This run has no settings that this version can read."
RECIPE_FILE = "With all defaults (JSON)"
LINEAGE_FILE = "What went into it: hashes, versions, device (JSON)"
LOG = "Log"
CHART_LOSS = "Loss"
CHART_LOSS_LABEL = "The loss of each step and of each measurement, over the steps."
CHART_QUALITY = "Quality on the validation rows"
CHART_QUALITY_LABEL = (
    "The share of right labels (accuracy), and the mean of the labels (macro F1), of each "
    "measurement, over the steps."
)
CHART_SMOOTH = "Loss, smoothed"
CHART_SMOOTH_LABEL = (
    "The loss of the steps as a moving average, and that of each measurement, on a logarithmic "
    "scale."
)
CHART_PERPLEXITY = "Perplexity"
CHART_PERPLEXITY_LABEL = "The perplexity of each measurement, over the steps."
CHART_CONFIDENCE = "Confidence in the right label"
CHART_CONFIDENCE_LABEL = "The mean probability of the right label, for each label, over the steps."
CHART_RATE = "Learning rate"
CHART_RATE_LABEL = "The learning rate of each step."
CHART_NORM = "Gradient norm"
CHART_NORM_LABEL = "The length of the gradient of each step."
CHART_SPEED = "Tokens a second"
CHART_SPEED_LABEL = "The tokens that each step took in a second."
CHART_CPU = "Processor and accelerator"
CHART_CPU_LABEL = "The load of the processor and of the accelerator, over time."
CHART_MEMORY = "Memory"
CHART_MEMORY_LABEL = "The memory of the process and of the accelerator, over time."
AXIS_STEP = "Step"
AXIS_TIME = "Time"
AXIS_NATS = "Surprise (loss)"
AXIS_SHARE = "Share of the rows"
AXIS_PROBABILITY = "Probability"
AXIS_PERCENT = "Percent"
AXIS_GB = "GB"
AXIS_RATE = "Rate"
AXIS_NORM = "Norm"
AXIS_SPEED = "Tokens/s"
AXIS_PERPLEXITY = "Perplexity"
TRAINING_LINE = "Training"
VALIDATION_LINE = "Validation"
ACCURACY_LINE = "Accuracy"
F1_LINE = "Mean of the labels (macro F1)"
PROCESS_CPU = "This run (100 for each core)"
MACHINE_CPU = "All cores"
DEVICE_LOAD = "Accelerator"
PROCESS_MEMORY = "This run"
DEVICE_MEMORY = "Accelerator"
MARKS = {
    "set": "{change}",
    "pause": "paused",
    "resume": "went on",
    "checkpoint": "checkpoint",
    "rolled_back": "rolled back after step {text}",
}
MARKED = "Dotted lines in the charts: {marks}."
MARKED_AT = "after step {step}: {what}"
NO_SAMPLES_TITLE = "Nothing was asked yet"
NO_SAMPLES = "Ask it something while it works, or name sample prompts when you set up a run."
SAMPLE_AT = "After {step} steps"
FIRST_ANSWER = "At first"
LAST_ANSWER = "Now"
MORE_REMARKS = "{count} more like this are in the log."
MORE_REMARKS_ONE = "1 more like this is in the log."
NO_LOG = "Nothing has happened yet."
LOG_LINE = "{time}  {text}"
LOG_STARTED = "The run began"
LOG_RESUMED = "The run went on after step {step}"
LOG_STAGE_ENDED = "{stage}: done after {time}"
LOG_MEASURED = "Measured after step {step}: loss {loss}"
LOG_ACCURACY = ", accuracy {share}"
LOG_BEST = " (the best so far)"
LOG_CHECKPOINT = "Checkpoint after step {step}: {size}"
LOG_APPLIED = {
    "pause": "Paused after step {step}, as somebody asked",
    "resume": "Went on after step {step}, as somebody asked",
    "checkpoint": "Saved a checkpoint after step {step}, as somebody asked",
    "sample": "Was asked something after step {step}; see Samples",
    "stop": "Stopped after step {step}, as somebody asked",
    "set": "Changed after step {step}, as somebody asked: {change}",
}
LOG_WARNING = "Warning: {text}"
PROGRAM_LOG = "What its programs wrote"
PROGRAM_LOG_TEXT = "Mostly of use to whoever looks for a fault."
REFUSED = "Not done: {reason}"

# Several compared
COMPARE_TITLE = "Compare runs"
COMPARE_FEW_TITLE = "Two or more runs are needed"
COMPARE_FEW = "Choose them in the list of runs."
NAMED_DATA = "{file} ({name})"
COMPARE_MANY = "You have chosen {count} runs; these are the first {most}."
TO_RUNS = "Go to the list"
CURVES = "Curves"
TRAINING_CURVES = "Training loss"
VALIDATION_CURVES = "Validation loss"
MORE_CURVES = "For experts: smoothed loss, learning rate, gradient norm and speed"
DIFFERENCES = "What is different in their settings"
NO_DIFFERENCE = "Their settings are the same."
SETTING_COLUMN = "Setting"
FIGURES = "What came out"
FIGURE_COLUMN = "Figure"
BETTER = "{value} (best)"
FIGURE_NAMES = {
    "loss": "Loss",
    "perplexity": "Perplexity",
    "accuracy": "Accuracy",
    "macro_f1": "Mean of the labels (macro F1)",
    "lowest_validation_loss": "Lowest validation loss",
}
NO_REPORTS = "None of them has been measured yet."
