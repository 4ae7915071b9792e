"""The command line: help, exit codes, clean errors, and no half-written run."""

import ast
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gemma_keras_tune import cli
from gemma_keras_tune.console import exits, screen, working
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import HOME_VARIABLE
from tests.support.command_line import (
    environment,
    run_command,
    save_tiny_model,
    write_recipe,
    write_rows,
)

NO_ANSWERS = ("--set", "evaluate.samples=0")  # they take the compiler longest
HEAVY = ("jax", "keras", "tensorflow", "torch", "transformers", "numpy")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A data root of its own, so that no test sees or leaves anything in the real one."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv(exits.DEBUG_VARIABLE, raising=False)
    return tmp_path / "home"


def call(*arguments: object):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def runs(home: Path) -> list[Path]:
    return list((home / "runs").glob("*"))


def the_group() -> Any:
    return get_command(cli.app)


def every_command(group=None, path=()):
    group = group or the_group()
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from every_command(command, (*path, name))


# A group that does nothing by itself lists its commands in the place of an example.
COMMANDS = [
    path for path, command in every_command() if not getattr(command, "no_args_is_help", False)
]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example_that_names_it(path):
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert f"Example: gemma-keras-tune {' '.join(path)}" in result.stdout


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_and_argument_says_what_it_is_for(path):
    command = dict(every_command())[path]
    silent = [one.name for one in command.params if not getattr(one, "help", None)]
    assert silent == []


def test_all_commands_stand_in_the_help_in_the_order_in_which_one_meets_them():
    listed = the_group().list_commands(None)
    assert set(listed) == set(the_group().commands)
    assert listed.index("demo") < listed.index("train") < listed.index("resume")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["recipes"], ["models"], ["--version"]]
)
def test_help_recipes_and_models_load_nothing_heavy(arguments, home):
    code = (
        "import sys\nfrom gemma_keras_tune.cli import main\n"
        f"sys.argv = ['gemma-keras-tune', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(home)
    )
    # what training takes is worked out for the list of models
    light = {"numpy"} if arguments == ["models"] else set()
    heavy = ast.literal_eval(done.stdout.splitlines()[-1].removeprefix("heavy: "))
    assert set(heavy) <= light, done.stderr


def test_the_module_runs_as_a_program(home):
    done = subprocess.run(
        [sys.executable, "-m", "gemma_keras_tune", "--version"],
        capture_output=True,
        text=True,
        env=environment(home),
    )
    assert (done.returncode, done.stdout.split()[0]) == (0, "gemma-keras-tune")


# Every case is (code, what the message must name, how the recipe or its data is spoilt).
BAD_INPUTS = {
    "a misspelt key": ("RECIPE_INVALID", ["train.epoch", "'train.epochs'"], "recipe"),
    "an empty file": ("EMPTY_DATASET", ["rows.csv"], b""),
    "a missing column": ("MISSING_COLUMN", ["rows.csv:1", "'label'"], b"text,kind\na b,ham\n"),
    "a ragged row": ("CSV_RAGGED_ROW", ["rows.csv:3"], b"text,label\na b,ham\nc,spam,x\n"),
    "undecodable bytes": ("UNDECODABLE_BYTES", ["rows.csv:3"], b"text,label\na,ham\nc\xff,spam\n"),
    "duplicate columns": ("DUPLICATE_COLUMN", ["rows.csv", "'text'"], b"text,text,label\na,b,c\n"),
    "no answer": ("EMPTY_ANSWER", ["rows.csv:3"], b"text,label\na b,ham\nc d,\n"),
    "all rows too long": ("ALL_ROWS_TOO_LONG", ["rows.csv:3", "64 tokens"], "too long"),
    "an unknown preset": ("MODEL_UNKNOWN", ["'gemma3_1bb'", "gemma3_1b"], "preset"),
    "a truncated last line": ("TRUNCATED_LAST_LINE", ["rows.jsonl:2"], "jsonl"),
}


@pytest.fixture
def recipe(tmp_path, model_folder) -> Path:
    write_rows(tmp_path / "rows.csv")
    return write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset=str(model_folder))


def spoil(recipe: Path, how: object) -> list[str]:
    """Spoils the recipe or its rows; the arguments of `train` that go with it."""
    rows = recipe.with_name("rows.csv")
    if isinstance(how, bytes):
        rows.write_bytes(how)
    elif how == "recipe":
        recipe.write_text(recipe.read_text().replace("epochs", "epoch"))
    elif how == "too long":
        rows.write_text("text,label\n" + "".join(f"{'fox ' * 90}{i},ham\n" for i in range(30)))
    elif how == "preset":
        return ["--set", "model.preset=gemma3_1bb"]
    elif how == "jsonl":
        lines = '{"text": "a b", "label": "ham"}\n{"text": "c d", "lab'
        rows.with_suffix(".jsonl").write_text(lines)
        return ["--set", f"data.path={rows.with_suffix('.jsonl')}"]
    return []


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_bad_input_is_one_clear_error_and_leaves_no_run(case, recipe, home):
    code, named, how = BAD_INPUTS[case]
    result = call("train", recipe, *spoil(recipe, how))
    assert result.exit_code == 2, result.stderr
    message = result.stderr[result.stderr.index("Error") :]
    assert message.count("Error") == 1 and "Traceback" not in result.output
    for part in (code, *named):
        assert part in message
    assert runs(home) == []


def test_a_failed_start_leaves_a_folder_that_was_there_before_alone(recipe, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep")
    spoil(recipe, b"")
    assert call("train", recipe, "--run-dir", mine).exit_code == 2
    assert (mine / "notes.txt").read_text() == "keep"


def test_all_problems_of_a_recipe_are_told_at_once(recipe):
    settings = ["--set", "train.epochs=0", "--set", "data.tusk=chat", "--set", "model.lora.rank=x"]
    result = call("train", recipe, *settings)
    assert result.exit_code == 2
    for part in ("3 problems", "train.epochs", "data.tusk", "'data.task'", "model.lora.rank"):
        assert part in result.stderr


@pytest.mark.parametrize("name", ["resume", "evaluate"])
def test_a_run_that_is_not_there_is_named_with_the_next_step(name):
    result = call(name, "nobody")
    assert result.exit_code == 2
    assert "RUN_NOT_FOUND" in result.stderr and "gemma-keras-tune train RECIPE" in result.stderr


def test_a_name_that_is_neither_run_nor_model_says_where_both_are_listed():
    result = call("generate", "nobody", "Hello")
    assert result.exit_code == 2
    assert "RUN_NOT_FOUND" in result.stderr and "models" in result.stderr


def test_a_prompt_is_either_a_question_or_a_text_to_go_on_with():
    result = call("generate", "nobody", "Hello", "--as-is", "--continue")
    assert result.exit_code == 2
    assert "--as-is" in result.output and "--continue" in result.output


def test_a_table_that_cannot_be_answered_is_one_clear_error(tmp_path, home):
    result = call("answer", "nobody", tmp_path / "t.csv", "--out", tmp_path / "o.csv")
    assert result.exit_code == 2 and "RUN_NOT_FOUND" in result.stderr
    run = home / "runs" / "r"
    (run / "adapter").mkdir(parents=True)
    recipe = load_recipe("spam_classifier")
    (run / "recipe.json").write_text(recipe.to_json())
    (tmp_path / "t.csv").write_text("mail\nhello\n")
    result = call("answer", "r", tmp_path / "t.csv", "--out", tmp_path / "o.csv")
    assert result.exit_code == 2 and "MISSING_COLUMN" in result.stderr
    assert "'message'" in result.stderr and "--column" in result.stderr
    assert not (tmp_path / "o.csv").exists()


def test_a_fault_of_ours_is_a_short_message_with_code_1(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("the very inside")

    monkeypatch.setattr(working, "train", fail)
    result = call("train", "spam_classifier")
    assert result.exit_code == 1
    assert "ZeroDivisionError: the very inside" in result.stderr
    assert "GEMMA_KERAS_TUNE_DEBUG=1" in result.stderr and "Traceback" not in result.output
    for how in (["--debug", "train", "x"], ["train", "x"]):
        monkeypatch.setenv(exits.DEBUG_VARIABLE, "" if "--debug" in how else "1")
        assert isinstance(call(*how).exception, ZeroDivisionError)


def test_ctrl_c_outside_a_run_ends_quietly(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(working, "measure", interrupt)
    monkeypatch.setattr(cli, "find_run", lambda *_: None)
    result = call("evaluate", "x")
    assert result.exit_code == 130
    assert result.stderr.strip() == "Interrupted."


def test_data_check_reports_as_json_on_the_last_line(recipe):
    result = call("data", "check", recipe, "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout.splitlines()[-1])
    assert report["rows"] == 80 and report["score"] <= 100
    assert report["tokens"]["longest"] < 64
    for finding in report["findings"]:
        assert set(finding) >= {"code", "severity", "count", "where", "fix"}


def test_data_check_counts_rows_that_need_attention_and_shows_copies_beside_their_twins(tmp_path):
    path = write_rows(tmp_path / "rows.csv", count=60)
    first = path.read_text().splitlines()[1]
    path.write_text(f"{path.read_text()}{first}\n,spam\n")
    shown = call("data", "check", path).stdout
    assert re.search(r"Need attention +2 of 62 rows *\n", shown)
    assert "rows.csv:62 (as rows.csv:2)" in shown
    shown = call("data", "check", path, "--set", "data.bad_rows=skip").stdout
    assert "1 of 62 rows; 1 more is left out" in shown


@pytest.mark.parametrize(
    "case", ["an empty file", "a ragged row", "duplicate columns", "no answer"]
)
def test_data_check_ends_with_2_for_any_error_and_still_prints_json(case, recipe):
    code, _, how = BAD_INPUTS[case]
    spoil(recipe, how)
    for source in (recipe, recipe.with_name("rows.csv")):
        result = call("data", "check", source, "--json")
        assert result.exit_code == 2
        found = json.loads(result.stdout.splitlines()[-1])["findings"]
        assert code in [one["code"] for one in found if one["severity"] == "error"]


def test_data_check_takes_a_file_with_columns_of_any_name(tmp_path):
    path = tmp_path / "mail.csv"
    rows = write_rows(tmp_path / "rows.csv").read_text()
    path.write_text(rows.replace("text,label", "body of mail,kind", 1))
    assert "MISSING_COLUMN" in call("data", "check", path).stdout
    result = call("data", "check", path, "--text", "body of mail", "--label", "kind", "--json")
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)["labels"]) == {"ham", "spam"}
    unclear = call("data", "check", path, "--text", "body of mail")
    assert unclear.exit_code == 2 and "--task" in unclear.stderr


def test_a_setting_that_is_wrong_for_a_file_is_told_as_for_a_recipe(tmp_path):
    path = write_rows(tmp_path / "rows.csv")
    result = call("data", "check", path, "--set", "data.max_length=2")
    assert result.exit_code == 2
    assert "data.max_length" in result.stderr and "8" in result.stderr


def test_text_from_a_file_can_neither_steer_the_terminal_nor_rich(tmp_path):
    path = tmp_path / "evil.csv"
    path.write_text('text,label\n"hello\x1b]0;title\x07",[bold red]spam[/]\n"x y",\x1b[2Jham\n')
    result = call("data", "check", path)
    assert "[bold red]spam[/]" in result.stdout
    assert "\x1b" not in result.output and "\\x1b[2Jham" in result.stdout


def test_a_recipe_is_copied_with_its_data_and_can_be_used_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("recipes", "copy", "spam_classifier").exit_code == 0
    copied = load_recipe(tmp_path / "spam_classifier" / "spam_classifier.toml")
    shipped = load_recipe("spam_classifier")
    assert copied.train == shipped.train
    for mine, theirs in ((copied.data.path, shipped.data.path),):
        assert Path(mine).is_relative_to(tmp_path)
        assert Path(mine).read_bytes() == Path(theirs).read_bytes()
    assert call("data", "check", "spam_classifier/spam_classifier.toml").exit_code == 0


def test_copying_never_overwrites_and_then_copies_nothing(tmp_path):
    mine = tmp_path / "mine" / "data" / "spam_test.csv"
    mine.parent.mkdir(parents=True)
    mine.write_text("my work")
    result = call("recipes", "copy", "spam_classifier", tmp_path / "mine")
    assert result.exit_code == 2 and "COPY_EXISTS" in result.stderr
    assert mine.read_text() == "my work"
    assert [path.name for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine.name]


def test_models_say_what_is_here(monkeypatch):
    monkeypatch.setattr("gemma_keras_tune.catalogue.demo_is_here", lambda: False)
    found = {one["name"]: one for one in json.loads(call("models", "--json").stdout)["models"]}
    assert found["demo"]["here"] is False
    assert found["gemma3_instruct_1b"]["instruct"] is True
    assert found["gemma2_2b_en"]["memory_to_train_bytes"]["lora"] > 2 * 2_614_341_888
    assert found["gemma4_instruct_2b"]["licence"] == "apache-2.0"


def test_a_preview_shows_every_token_with_what_becomes_of_it(recipe):
    shown = call("data", "preview", recipe, "--rows", 1).stdout
    assert "<bos>" in shown and "<eos>+]" in shown and "[-" in shown.split("\n")[0]
    result = call("data", "preview", recipe, "--rows", 2, "--json")
    rows = json.loads(result.stdout.splitlines()[-1])["rows"]
    assert len(rows) == 2
    assert rows[0]["tokens"][0] == {
        "id": 2, "text": "<bos>", "kind": "context", "special": True,
    }  # fmt: skip
    assert rows[0]["tokens"][-1] == {
        "id": 1, "text": "<eos>", "kind": "supervised", "special": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--format", "gguf"], "EXPORT_FORMAT"),
        (["--format", "hf,"], "EXPORT_FORMAT"),
        (["--format", "hf", "--dtype", "float16"], "EXPORT_DTYPE"),
    ],
)
def test_an_export_that_cannot_be_is_refused_before_anything_is_loaded(arguments, code):
    result = call("export", "demo", *arguments)
    assert result.exit_code == 2 and code in result.stderr


def test_an_export_replaces_only_what_an_export_made(tmp_path, model_folder):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "thesis.txt").write_text("years of work")
    result = call("export", model_folder, "--format", "hf", "--out", tmp_path)
    assert result.exit_code == 2 and "EXPORT_EXISTS" in result.stderr
    assert (tmp_path / "hf" / "thesis.txt").exists()


def test_a_run_without_held_back_rows_trains_resumes_and_passes_the_doctor(recipe, home):
    few = ("--set", "data.test_share=0", "--set", "train.max_steps=2")
    trained = call("train", recipe, *few)
    assert trained.exit_code == 0, trained.output
    assert "Before and after" not in trained.stdout and "What to do next" in trained.stdout
    (run,) = runs(home)
    resumed = call("resume", "tiny", "--json")
    assert resumed.exit_code == 0 and "done already" in resumed.stderr
    assert json.loads(resumed.stdout.splitlines()[-1])["report"] is None
    measured = call("evaluate", "latest")
    assert measured.exit_code == 2 and "EMPTY_SPLIT" in measured.stderr
    checks = {one["name"]: one["status"] for one in doctor_checks("latest")}
    assert checks["Adapter"] == checks["Run"] == "ok"
    assert checks["Better than the base"] == "skip"


def test_a_held_back_row_that_is_too_long_is_refused_before_anything_is_trained(recipe, home):
    recipe.with_name("test.csv").write_text(f"text,label\na fox,ham\n{'fox ' * 90},ham\n")
    refused = call("train", recipe, "--set", f"data.test_path={recipe.with_name('test.csv')}")
    assert refused.exit_code == 2 and "TOO_LONG (1x: test.csv:3)" in refused.stderr
    assert "1 of 82 rows is longer" in refused.stderr
    assert runs(home) == [], "nothing was trained that would have to be kept"


def doctor_checks(name: str) -> list[dict[str, str]]:
    return json.loads(call("doctor", name, "--json").stdout.splitlines()[-1])["checks"]


@pytest.mark.slow
def test_a_small_run_from_training_to_the_doctor(recipe, home):
    trained = call("train", recipe, *NO_ANSWERS, "--json")
    assert trained.exit_code == 0, trained.output
    result = json.loads(trained.stdout.splitlines()[-1])
    assert result["report"]["tuned"]["confusion"]["labels"] == ["ham", "spam"]
    assert [run.name for run in runs(home)] == [result["run"]]

    resumed = call("resume", "latest")
    assert resumed.exit_code == 0 and "done already" in resumed.stderr
    assert "Before and after" in resumed.stdout

    measured = call("evaluate", "latest", "--json")
    assert measured.exit_code == 0, measured.output
    again = json.loads(measured.stdout.splitlines()[-1])
    assert again["tuned"] == result["report"]["tuned"]
    other = write_rows(recipe.with_name("other.csv"), seed=5)
    elsewhere = call("evaluate", "latest", "--data", other, "--out", home / "out", "--json")
    assert json.loads(elsewhere.stdout.splitlines()[-1])["rows"] == 80
    assert len((home / "out" / "predictions.jsonl").read_text().splitlines()) == 80
    assert "learned from" not in elsewhere.stderr
    learned = call("evaluate", "latest", "--data", recipe.with_name("rows.csv"))
    assert "The run learned from 64 of these 80 rows" in learned.stderr

    answer = call("generate", "latest", "free prize", "--max-tokens", 4, "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout.splitlines()[-1])
    assert set(found) == {"prompt_ids", "ids", "text", "stop_reason"}
    assert found["prompt_ids"][0] == 2 and 1 <= len(found["ids"]) <= 4
    goes_on = call("generate", "latest", "free prize", "--continue", "--max-tokens", 4, "--json")
    text_ids = json.loads(goes_on.stdout.splitlines()[-1])["prompt_ids"]
    assert text_ids[0] == 2 and 1 < len(text_ids) < len(found["prompt_ids"])

    out = home / "answered.csv"
    told = call("answer", "latest", other, "--out", out, "--doubt-below", 1)
    assert told.exit_code == 0, told.output
    assert "80 of 80 rows" in told.stdout and "answered.csv" in told.stdout
    assert out.read_text("utf-8-sig").splitlines()[0] == (
        "text,label,label (2),confidence,doubtful,remark"
    )

    checks = {one["name"]: one for one in doctor_checks("latest")}
    for name in ("Run", "One <bos>", "End of turn", "Learned share", "Lengths", "Adapter"):
        assert checks[name]["status"] == "ok", checks[name]


def test_a_run_that_was_stopped_names_the_command_that_goes_on(recipe, home, monkeypatch):
    from gemma_keras_tune import pipeline
    from gemma_keras_tune.errors import StoppedWithCheckpoint

    def stop(recipe, run_dir, **_):
        (Path(run_dir) / "recipe.json").write_text(recipe.to_json())
        raise StoppedWithCheckpoint("Stopped after step 3 of 9 with a checkpoint.", step=3)

    monkeypatch.setattr(pipeline, "run", stop)
    monkeypatch.setattr(sys, "argv", ["gemma_keras_tune/__main__.py"])
    result = call("train", recipe)
    assert result.exit_code == 75
    (run,) = runs(home)
    assert f"-m gemma_keras_tune resume {run.name}\n" in result.stderr
    elsewhere = call("train", recipe, "--root", home / "other")
    (run,) = runs(home / "other")
    assert f"resume {run}" in elsewhere.stderr


@pytest.mark.slow
def test_the_whole_way_through_the_real_command(tmp_path, model_folder):
    """train -> resume -> generate -> evaluate -> export -> doctor, each a process of its own."""
    home = tmp_path / "home"
    write_rows(tmp_path / "rows.csv")
    recipe = write_recipe(
        tmp_path / "tiny.toml",
        data="rows.csv",
        preset=str(model_folder),
        more='[[export]]\nformat = "hf"',
    )

    def call(*arguments: str):
        done = run_command(*arguments, home=home)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    trained = call("train", str(recipe)).stdout
    for part in ("Before and after", "Accuracy", "Exports", "What to do next", "GFLOP/s"):
        assert part in trained
    (run,) = runs(home)
    assert json.loads((run / "artifacts/hf/parity.json").read_text())["passed"]
    assert "done already" in call("resume", run.name).stderr

    ours = json.loads(call("generate", "latest", "free prize", "--json").stdout.splitlines()[-1])
    theirs = json.loads(
        call("generate", str(run / "artifacts/hf"), "free prize", "--json").stdout.splitlines()[-1]
    )
    assert ours == theirs
    assert screen.plain(ours["text"]) in call("generate", "latest", "free prize").stdout
    assert "Tuned" in call("evaluate", "latest").stdout
    exported = call(
        "export", run.name, "--format", "peft", "--out", str(tmp_path / "mine"), "--json"
    )
    (artifact,) = json.loads(exported.stdout.splitlines()[-1])["artifacts"]
    assert artifact["parity"]["passed"] and (tmp_path / "mine/peft/adapter_config.json").is_file()
    base = call("export", str(model_folder), "--format", "hf", "--out", str(tmp_path / "base"))
    assert "base/hf" in base.stdout
    assert "Exported stop ids" in call("doctor", run.name).stdout


@pytest.fixture(scope="module")
def long_recipe(tmp_path_factory, model_folder) -> Path:
    folder = tmp_path_factory.mktemp("long")
    write_rows(folder / "rows.csv", count=120)
    return write_recipe(folder / "tiny.toml", data="rows.csv", preset=str(model_folder), epochs=12)


@pytest.fixture(scope="module")
def whole_run(long_recipe) -> Path:
    """The long recipe's run that nobody disturbed."""
    run, home = long_recipe.with_name("whole"), long_recipe.with_name("home")
    done = run_command("train", str(long_recipe), "--run-dir", str(run), *NO_ANSWERS, home=home)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_a_checkpoint_and_the_resumed_run_ends_as_if_nothing_was(
    number, tmp_path, long_recipe, whole_run
):
    home, stopped = tmp_path / "home", tmp_path / "stopped"
    command = [sys.executable, "-m", "gemma_keras_tune", "train", long_recipe, *NO_ANSWERS]
    child = subprocess.Popen(
        [*command, "--run-dir", stopped],
        env=environment(home),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for_steps(stopped, 5, child)
    child.send_signal(number)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 75, err
    assert f"resume {stopped}" in err and out == ""
    assert not (stopped / "adapter").exists()
    again = run_command("resume", str(stopped), home=home)
    assert again.returncode == 0, again.stderr
    adapters = [run / "adapter/adapter_model.safetensors" for run in (whole_run, stopped)]
    assert adapters[0].read_bytes() == adapters[1].read_bytes()


def test_a_run_goes_on_computed_otherwise_but_not_with_another_result(recipe, home, monkeypatch):
    from gemma_keras_tune import pipeline
    from gemma_keras_tune.errors import StoppedWithCheckpoint

    def stop_after_training(*_, **__):
        raise StoppedWithCheckpoint("Stopped.", step=2)

    few = ("--set", "train.max_steps=2", "--set", "train.micro_batch_tokens=128")
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "keep_report", stop_after_training)
        assert call("train", recipe, *few).exit_code == 75
    (run,) = runs(home)
    refused = call("resume", "latest", "--set", "train.learning_rate=0.1")
    assert refused.exit_code == 2 and "RESUME_SETTING" in refused.stderr
    assert "train.micro_batch_tokens" in refused.stderr
    resumed = call("resume", "latest", "--set", "train.micro_batch_tokens=64")
    assert resumed.exit_code == 0, resumed.output
    assert json.loads((run / "recipe.json").read_text())["train"]["micro_batch_tokens"] == 64
    told = "train.micro_batch_tokens: 128 -> 64. The result may differ in the last bits."
    assert told in (run / "events.jsonl").read_text()


def test_a_setting_that_can_not_be_gone_on_with_leaves_the_recipe_as_it_was(
    recipe, home, monkeypatch
):
    from gemma_keras_tune import pipeline
    from gemma_keras_tune.errors import StoppedWithCheckpoint

    def stop_after_training(*_, **__):
        raise StoppedWithCheckpoint("Stopped.", step=2)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "keep_report", stop_after_training)
        assert call("train", recipe, "--set", "train.max_steps=2").exit_code == 75
    (run,) = runs(home)
    before = (run / "recipe.json").read_bytes()
    for setting, code in (
        ("mesh.model=3", "MESH_SHAPE"),
        ("train.micro_batch_tokens=192", "CKPT_OTHER_RUN"),  # three rows a step, not four
    ):
        refused = call("resume", "latest", "--set", setting)
        assert refused.exit_code == 2 and code in refused.stderr, refused.output
        assert (run / "recipe.json").read_bytes() == before
    assert call("resume", "latest").exit_code == 0


def test_several_processes_need_a_folder_to_come_back_to(recipe, home):
    refused = call("train", recipe, "--coordinator", "127.0.0.1:1", "--processes", "2")
    assert refused.exit_code == 2 and "RUN_DIR_NEEDED" in refused.stderr
    assert runs(home) == []


def test_ctrl_c_before_a_run_has_begun_leaves_nothing(recipe, home, monkeypatch):
    from gemma_keras_tune import pipeline

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run", interrupt)
    result = call("train", recipe)
    assert result.exit_code == 130 and "resume" not in result.stderr
    assert runs(home) == []


def test_an_error_after_training_says_that_the_work_is_kept(recipe, home, monkeypatch):
    from gemma_keras_tune import pipeline
    from gemma_keras_tune.errors import ExportError

    def fail(recipe, run_dir, **_):
        (Path(run_dir) / "adapter").mkdir()
        raise ExportError("The disk is full.", code="NEEDS_SPACE")

    monkeypatch.setattr(pipeline, "run", fail)
    result = call("train", recipe)
    (run,) = runs(home)
    assert result.exit_code == 2 and "NEEDS_SPACE" in result.stderr
    assert f"resume {run.name}" in result.stderr


def wait_for_steps(run: Path, count: int, child: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and child.poll() is None:
        events = run / "events.jsonl"
        if events.exists() and events.read_text().count('"kind":"step"') >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} steps; the child ended with {child.poll()}")
