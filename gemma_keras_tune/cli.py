"""The command line: one thin function a command. What they share is in `console/`.

Nothing heavy is imported before a command needs it, so that `--help` answers at once.
Exit codes: 0; 1 a failure of ours; 2 the user can fix it; 75 stopped with a checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from . import __version__
from .compile_cache import keep_compiled_programs
from .console import exits, operating, screen
from .recipe_files import load_recipe, parse_assignments
from .run_folder import data_root, find_run

app = typer.Typer(
    name="gemma-keras-tune",
    cls=exits.TuneGroup,
    help="Fine-tune Google's Gemma models in JAX: data, training, evaluation, checked exports.",
    epilog="Start with: gemma-keras-tune demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer()
data_app = typer.Typer(no_args_is_help=True, help="Look at data before training on it.")
app.add_typer(recipes_app, name="recipes")
app.add_typer(data_app, name="data")
app.add_typer(operating.server_app, name="server")
app.command()(operating.ui)

Root = Annotated[
    Path | None,
    typer.Option(help="Where runs are kept: ROOT/runs. By default ~/.gemma-keras-tune."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|RECIPE", help="A recipe's name or file, or a table: CSV or JSONL."
    ),
]
RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder, id, start of its id, or 'latest'.")
]
RunOrModel = Annotated[
    str, typer.Argument(metavar="RUN_OR_MODEL", help="A run, or anything a recipe may name.")
]
Task = Annotated[
    str | None, typer.Option(help="classification, instruction, chat or text; by the columns.")
]
IgnorePlan = Annotated[
    bool,
    typer.Option("--ignore-plan", help="Start even if the plan says that memory won't suffice."),
]
Column = Annotated[str | None, typer.Option(metavar="COLUMN", help="The column with this part.")]


def main() -> None:
    """Runs the command that the program was called with."""
    exits.prepare_streams()
    keep_compiled_programs()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow greets on standard error
    app(prog_name=None)


def _show_version(value: bool) -> None:
    if value:
        screen.say(screen.out(), f"gemma-keras-tune {__version__}")
        raise typer.Exit


def _named(**columns: str | None) -> dict[str, str]:
    """The columns that were named, by the part that they play."""
    return {part: name for part, name in columns.items() if name is not None}


@app.callback()
def _options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a failure.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="The version.")
    ] = False,
) -> None:
    """Read by `exits.TuneGroup`."""


@app.command()
def demo(
    root: Root = None,
    recipe: Annotated[str, typer.Option(help="A recipe that ships.")] = "spam_classifier",
    ignore_plan: IgnorePlan = False,
) -> None:
    """Tune a real Gemma on real data, measure it, export it: a few minutes, no network.

    Example: gemma-keras-tune demo
    """
    from .console import demonstration

    demonstration.show_demo(load_recipe(recipe), root=root or data_root(), ignore_plan=ignore_plan)


@app.command()
def models(json_output: Json = False) -> None:
    """List the models that can be used, and which are here already.

    Example: gemma-keras-tune models
    """
    from .console import listing

    listing.list_models(json_output=json_output)


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context, json_output: Json = False) -> None:
    """List the recipes that ship, or copy one to make it your own.

    Example: gemma-keras-tune recipes
    """
    from .console import listing

    if context.invoked_subcommand is None:
        listing.list_recipes(json_output=json_output)


@recipes_app.command("copy")
def recipes_copy(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe that ships.")],
    destination: Annotated[
        Path | None, typer.Argument(metavar="DEST", help="A folder; by default ./NAME.")
    ] = None,
) -> None:
    """Copy a recipe and the data it names into a folder; nothing is ever overwritten.

    Example: gemma-keras-tune recipes copy spam_classifier my-project
    """
    from .console import listing

    listing.copy_recipe(name, destination or Path(name))


@data_app.command("check")
def data_check(
    source: Source,
    task: Task = None,
    text: Column = None,
    label: Column = None,
    prompt: Column = None,
    response: Column = None,
    messages: Column = None,
    model: Annotated[
        str | None, typer.Option(help="Measure lengths in this model's tokens.")
    ] = None,
    settings: Sets = None,
    json_output: Json = False,
) -> None:
    """Report on the health of a data set; exit code 2 if anything is an error.

    Example: gemma-keras-tune data check messages.csv --text message --label kind
    """
    from .console import looking

    columns = _named(text=text, label=label, prompt=prompt, response=response, messages=messages)
    wish = looking.Wish(source, parse_assignments(settings or ()), task, columns, model)
    usable = looking.check(wish, json_output=json_output)
    raise typer.Exit(0 if usable else exits.USER_CAN_FIX)


@data_app.command("preview")
def data_preview(
    source: Source,
    model: Annotated[
        str | None, typer.Option(help="Whose tokens; by default the recipe's model, or demo.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 3,
    task: Task = None,
    text: Column = None,
    label: Column = None,
    prompt: Column = None,
    response: Column = None,
    messages: Column = None,
    settings: Sets = None,
    json_output: Json = False,
) -> None:
    """Show rows token by token: what is learned, what is only read, what is cut away.

    Example: gemma-keras-tune data preview spam_classifier --rows 2
    """
    from .console import looking

    columns = _named(text=text, label=label, prompt=prompt, response=response, messages=messages)
    wish = looking.Wish(source, parse_assignments(settings or ()), task, columns, model)
    looking.preview(wish, rows=rows, json_output=json_output)


@app.command()
def plan(
    source: Source,
    settings: Sets = None,
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Also ask the compiler, for the devices at hand."),
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure the time of a step on made-up weights.")
    ] = False,
    task: Task = None,
    text: Column = None,
    label: Column = None,
    prompt: Column = None,
    response: Column = None,
    messages: Column = None,
    json_output: Json = False,
) -> None:
    """Say what a run will take before it starts; exit code 2 if it can't fit.

    Example: gemma-keras-tune plan spam_classifier --set train.micro_batch_tokens=2048
    """
    from .console import planning

    planning.plan(
        source,
        parse_assignments(settings or ()),
        task=task,
        columns=_named(text=text, label=label, prompt=prompt, response=response, messages=messages),
        compile=compile,
        probe=probe,
        json_output=json_output,
    )


@app.command()
def bench(
    source: Source,
    settings: Sets = None,
    steps: Annotated[
        int, typer.Option(min=1, max=999, help="Steps to measure, after one that compiles.")
    ] = 5,
    ignore_plan: IgnorePlan = False,
    json_output: Json = False,
) -> None:
    """Measure how fast a recipe trains here and in how much memory; nothing is kept.

    Example: gemma-keras-tune bench spam_classifier --set train.remat=full --json
    """
    from .console import benchmarking

    benchmarking.bench(
        source,
        parse_assignments(settings or ()),
        steps=steps,
        ignore_plan=ignore_plan,
        json_output=json_output,
    )


@app.command()
def train(
    source: Source,
    settings: Sets = None,
    task: Task = None,
    text: Column = None,
    label: Column = None,
    prompt: Column = None,
    response: Column = None,
    messages: Column = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The run's folder, instead of a new one under ROOT.")
    ] = None,
    ignore_plan: IgnorePlan = False,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="One of several processes; JAX finds the others.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where the processes meet: at number 0.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many processes.")] = None,
    process: Annotated[int | None, typer.Option(min=0, help="This one's number, from 0.")] = None,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Train, measure and export as a recipe says, or with the defaults on a table of your own.

    Example: gemma-keras-tune train spam_classifier --set train.epochs=1
    """
    from .console import working
    from .peers import Meeting

    meeting = Meeting(coordinator=coordinator, processes=processes, process=process)

    columns = _named(text=text, label=label, prompt=prompt, response=response, messages=messages)
    working.train(
        source,
        parse_assignments(settings or ()),
        task=task,
        columns=columns,
        run_dir=run_dir,
        root=root or data_root(),
        json_output=json_output,
        ignore_plan=ignore_plan,
        meeting=meeting if distributed or meeting != Meeting() else None,
    )


@app.command()
def resume(
    run: RunName,
    settings: Sets = None,
    ignore_plan: IgnorePlan = False,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Go on with a run that was stopped, killed or failed, from its newest checkpoint.

    What may be set is how the same result is computed: train.micro_batch_tokens, train.remat,
    train.attention, train.loss_chunk, mesh.data, mesh.model and evaluate.batch_rows.

    Example: gemma-keras-tune resume latest
    """
    from .console import working

    where = root or data_root()
    working.resume(
        find_run(where, run),
        parse_assignments(settings or ()),
        root=where,
        json_output=json_output,
        ignore_plan=ignore_plan,
    )


@app.command()
def control(
    run: RunName,
    command: Annotated[str, typer.Argument(help="pause, resume, checkpoint, sample, stop or set.")],
    argument: Annotated[
        str | None,
        typer.Argument(metavar="KEY=VALUE|PROMPT", help="What to set, or what to ask."),
    ] = None,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the run's answer.")
    ] = 10.0,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Ask a working run for something; it obeys between two steps and answers.

    Settings: learning_rate, weight_decay, evaluate_every_steps, checkpoint_every_steps,
    checkpoint_every_s, patience, end_step.

    Example: gemma-keras-tune control latest set learning_rate=1e-4
    """
    from .console import controlling

    where = root or data_root()
    folder = find_run(where, run)
    controlling.control(folder, command, argument, wait_s=wait, root=where, json_output=json_output)


@app.command()
def evaluate(
    run: RunName,
    data: Annotated[
        Path | None, typer.Option(help="Other rows than those the run held back.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for the report and every prediction.")
    ] = None,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Measure a trained run and its base model on held-back rows, or on a file.

    Example: gemma-keras-tune evaluate latest --data new_messages.csv
    """
    from .console import working

    folder = find_run(root or data_root(), run)
    working.measure(folder, data=data, out=out, json_output=json_output)


@app.command()
def generate(
    name: RunOrModel,
    prompt: Annotated[str, typer.Argument(help="What to ask.")],
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, max=10, help="0 takes the most probable token.")
    ] = 0.0,
    top_k: Annotated[int | None, typer.Option(min=1, help="Choose among so many tokens.")] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.0001, max=1, help="Choose among this probability.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Changes a choice by temperature.")
    ] = 0,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Don't put the run's prompt format around the prompt.")
    ] = False,
    goes_on: Annotated[
        bool, typer.Option("--continue", help="Go on with the text; nothing is put around it.")
    ] = False,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Let a trained run, or any model, answer a prompt.

    A run's prompt format and system text are put around the prompt, as in training. A run on plain
    texts goes on with it.

    Example: gemma-keras-tune generate latest "Win a free prize, call now!"
    """
    from .console import answering

    if as_is and goes_on:
        raise typer.BadParameter("Give either --as-is, for a question, or --continue, for a text.")
    answering.answer(
        name,
        prompt,
        root=root or data_root(),
        as_is=as_is,
        goes_on=goes_on,
        json_output=json_output,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )


@app.command()
def answer(
    run: RunName,
    table: Annotated[Path, typer.Argument(help="A table without answers: CSV or JSONL.")],
    out: Annotated[Path, typer.Option(help="The file that gets the table with the answers.")],
    column: Annotated[
        str | None,
        typer.Option(help="What is read of each row; by default the column of the training."),
    ] = None,
    encoding: Annotated[
        str, typer.Option(help="The table's, such as cp1252; auto takes UTF-8 or a mark.")
    ] = "auto",
    delimiter: Annotated[
        str, typer.Option(help="Between the columns of CSV; auto finds it.")
    ] = "auto",
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest written answer, in tokens; by default the recipe's."),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Put no apostrophe before cells that look like formulas."),
    ] = False,
    doubt_below: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Mark labels whose confidence is below it in a column of their own."
        ),
    ] = None,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Answer every row of a table with a trained run, in new columns of a new file.

    A classification gets the label and how sure the model is of it, other tasks the written
    answer. Rows that can't be answered keep their place, with the reason.

    Example: gemma-keras-tune answer latest mails.csv --out answered.csv
    """
    from .console import answering

    answering.answer_a_table(
        find_run(root or data_root(), run),
        table,
        out=out,
        json_output=json_output,
        column=column,
        encoding=encoding,
        delimiter=delimiter,
        max_tokens=max_tokens,
        raw=raw,
        doubt_below=doubt_below,
    )


@app.command()
def export(
    name: RunOrModel,
    formats: Annotated[
        str, typer.Option("--format", help="hf, peft, or both with a comma between.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="A folder that gets one folder a format; by default the run's own."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Type of the weights: float32 or bfloat16.")] = (
        "float32"
    ),
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Write a model for other tools, published only once they compute the same.

    Example: gemma-keras-tune export latest --format hf,peft
    """
    from .console import working

    working.export_as(
        name,
        [part.strip() for part in formats.split(",")],
        out=out,
        dtype=dtype,
        root=root or data_root(),
        json_output=json_output,
    )


@app.command()
def doctor(
    name: Annotated[
        str | None,
        typer.Argument(metavar="RUN_OR_MODEL", help="Also look at a run, or at a model."),
    ] = None,
    root: Root = None,
    json_output: Json = False,
) -> None:
    """Check the machine, and a run or model, for known traps; exit code 2 if a check fails.

    Example: gemma-keras-tune doctor latest
    """
    from .console import looking

    healthy = looking.examine(name, root=root or data_root(), json_output=json_output)
    raise typer.Exit(0 if healthy else exits.USER_CAN_FIX)


@app.command(hidden=True)
def work(
    job: Annotated[
        Path | None, typer.Argument(metavar="JOB_DIR", help="A job's folder, with its job.json.")
    ] = None,
    warm: Annotated[
        str | None,
        typer.Option(help="Do the jobs that standard input names: 'data', 'plan' or 'generate'."),
    ] = None,
    memory_bytes: Annotated[
        int, typer.Option(min=1 << 20, help="Memory that a data job may take.")
    ] = 1536 << 20,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time that a data job may take.")] = 300,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Data jobs at once.")] = 2,
    model: Annotated[
        list[str] | None, typer.Option(help="A model whose tokenizer is kept; may be repeated.")
    ] = None,
) -> None:
    """Do one job, or be a process that waits for jobs; the web app starts these.

    Example: gemma-keras-tune work jobs/1f0c
    """
    from .console import working_on_jobs

    code = working_on_jobs.work(
        job, warm=warm, memory_bytes=memory_bytes, seconds=seconds, jobs=jobs, models=model or []
    )
    raise typer.Exit(code)
