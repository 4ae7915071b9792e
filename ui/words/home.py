"""The texts of the first page."""

from __future__ import annotations

TITLE = "Home"
NEXT = "What next?"

START_TITLE = "Tune your first model"
START_TEXT = (
    "Take the ready example to see how it goes: a small Gemma learns to tell unwanted mails from "
    "wanted ones, on this machine, in about ten minutes. Or begin with a table of your own."
)
EXAMPLE = "Run the example"
EXAMPLE_STARTED = "The example waits for its turn."
OWN_DATA = "Use my own data"
TOUR = "Show me around"

DATA_TITLE = "Your data is here"
DATA_TEXT = "Choose a model and start a run with it."
CONFIGURE = "Set up a run"

WORKING_TITLE = "{name} is at work"
WORKING_TEXT = "Watch how it learns, ask it something meanwhile, or change its settings."
WATCH = "Watch it"

STOPPED_TITLE = "{name} has not finished"
STOPPED_TEXT = (
    "It kept what it had learned so far. Look what happened, and let it go on from there."
)
LOOK = "Look at it"

DONE_TITLE = "{name} is finished"
DONE_TEXT = "See how it did, try it, and take the model with you."
RESULT = "See the result"
TRY = "Try it"
TABLE = "Use it on a table"
EXPORT = "Export it"
ANOTHER = "Set up another run"

JOBS = "At work and waiting"
NO_JOBS = "Nothing is being worked on."
JOB_COLUMNS = ("Job", "Run", "State", "Asked for")
KINDS = {
    "data": "Look at data",
    "plan": "Plan",
    "train": "Training",
    "evaluate": "Measuring",
    "answer": "Answering a table",
    "generate": "Answering",
    "export": "Export",
}
STATES = {
    "queued": "waiting",
    "running": "at work",
    "suspect": "being looked for",
    "paused": "paused",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "quarantined": "set aside",
    "new": "waiting",
    "stopped": "stopped",
    "died": "died",
    "missing": "missing",
}
"""Of jobs and of runs."""

RUNS = "Newest runs"
NO_RUNS_TITLE = "There is no run yet."
NO_RUNS = "Runs of a terminal appear here while they work, too:"
COMMAND = "gemma-keras-tune train spam_classifier --root {root}"
RUN_COLUMNS = ("Run", "State", "Steps", "Loss", "Changed")
STEPS_OF = "{step} of {total}"
OLDER = "and {count} more"

TOUR_TITLE = "How it goes"
TOUR_STEPS = (
    (
        "table_chart",
        "1. Data",
        "Bring a table: a text and its right answer in each row. The page shows what is wrong with "
        "it, and what of it the model will learn.",
    ),
    (
        "tune",
        "2. New run",
        "Choose a model and how it learns. The defaults are good; beside them stands what the run "
        "will take of memory and time.",
    ),
    (
        "show_chart",
        "3. Run",
        "Watch how it learns. Nothing is lost if you close the browser: the run goes on, and the "
        "page shows all of it when you come back.",
    ),
    (
        "fact_check",
        "4. Result",
        "The model before and after, on rows that it never saw: how often it is right, where it is "
        "wrong, and what it answers to you.",
    ),
    (
        "download",
        "5. Export",
        "Take the model with you. Each export was loaded afresh and computes what was trained.",
    ),
)
TOUR_NEXT = "Next"
TOUR_BACK = "Back"
TOUR_END = "Let's go"
TOUR_SKIP = "Skip"
TOUR_PLACE = "{place} of {total}"
