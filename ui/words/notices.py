"""The texts that tell people of their work, and those of the settings about it."""

from __future__ import annotations

WORK = {
    "train": "training",
    "evaluate": "evaluation",
    "answer": "answering of a table",
    "export": "export",
}
TITLES = {
    "ended": "{name}: the {work} has ended",
    "failed": "{name}: the {work} failed",
    "stalled": "{name}: the {work} stands still",
}
TEXTS = {
    "ended": "It took {time}.",
    "failed": "{message}",
    "stalled": "Nothing new was heard of it for {time}. It may still go on by itself; the log of "
    "the run may say why.",
}
NO_MESSAGE = "Its log may say why."
LOOK = "Look at it: {link}"
TRIAL_TITLE = "Gemma Keras Tune can reach you here"
TRIAL_TEXT = "You asked for this message in the settings. Nothing has happened to your runs."

TITLE = "Tell me when my work ends"
TEXT = (
    "For what you start in this workspace: trainings, evaluations, answered tables and exports. "
    "Everything is sent once. Addresses are kept encrypted."
)
NONE = "You are told nowhere yet."
KIND = "How"
KINDS = {
    "browser": "This app, in any browser",
    "email": "E-mail",
    "slack": "Slack",
    "webhook": "Web hook",
}
ADDRESS = "Where"
ADDRESSES = {
    "email": "ann@example.org",
    "slack": "https://hooks.slack.com/services/…",
    "webhook": "https://example.org/hook",
}
HELP = {
    "browser": "While a page of this app is open somewhere. Your browser asks for permission once.",
    "email": "Sent by this server's mail account.",
    "slack": "The address of an incoming web hook, from Slack's page Incoming Webhooks.",
    "webhook": "A JSON object is posted there, with title, text, event, run, job and link.",
}
EVENTS = {"ended": "when it ends", "failed": "when it fails", "stalled": "when it stands still"}
WHEN = "When"
ADD = "Add"
TRY = "Try it"
TRIED = "Sent. It should be there now."
DELETE = "Delete"
NO_MAIL = "E-mail needs a mail server in the server's settings; whoever runs the server can set it."
NO_PAGE = "no page of this app is open in a browser"
TOO_LATE = "nobody had a page of this app open for a day"
LAST_SENT = "last sent {when}"
LAST_FAILED = "last one not delivered: {why}"
LOST = "The server stopped while it was sent; it may have come through."
