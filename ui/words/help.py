"""The texts of the page `/help`."""

from __future__ import annotations

from . import common

TITLE = "Help"
HOW_TO = "From a table to your own model"
STEPS = (
    (
        "Bring your table",
        "One row for each example: a text, and its right answer in another column. Save it as CSV, "
        "and upload it or paste the rows.",
        common.DATA,
        "/data",
    ),
    (
        "Say what the columns are",
        "Open your data set. Say which column the model reads and which it learns to answer with. "
        "The check-up shows which rows need attention.",
        common.DATA,
        "/data",
    ),
    (
        "Set up a run",
        "Choose your data and a small model. The settings that are there are good to begin with. "
        "Beside them stands how long it will take.",
        common.CONFIGURE,
        "/configure",
    ),
    (
        "Watch it learn",
        "The loss should fall. You may close the browser: the run goes on.",
        common.RUNS,
        "/runs",
    ),
    (
        "See how good it is, and try it",
        "Open the finished run. The result compares the model before and after on rows that it "
        "never saw. In the playground you ask it yourself, and a whole table of new rows is "
        "answered under Use on a table.",
        common.RUNS,
        "/runs",
    ),
    (
        "Take the model with you",
        "The finished run also has an export: files of your own, with a note on how to use them.",
        common.RUNS,
        "/runs",
    ),
)
OTHERS = "Let colleagues use it"
OTHERS_TEXT = (
    "At first the app answers only on the computer that it runs on: an address with 127.0.0.1 or "
    "localhost leads everybody to their own computer. So that colleagues reach it, whoever looks "
    "after your computers gives this one a name and a certificate, writes both into the file "
    "server.toml in the folder of the app's data, and starts the app again:"
)
OTHERS_FILE = """\
public_url = "https://tune.example.org"
host = "0.0.0.0"

[tls]
certificate = "/path/to/certificate.pem"
key = "/path/to/certificate_key.pem"
"""
OTHERS_MORE = (
    "Links that you make from then on work for everybody who can reach that name. Other ways, such "
    "as a proxy, are in docs/web_app.md of this app, under “Let others use it”."
)
GO_TO = "Go to {page}"
TERMS = "The terms of the trade, in plain words"
