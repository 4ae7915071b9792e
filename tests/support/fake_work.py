"""A stand-in for `gemma-keras-tune work`: speaks the folders' protocol, and computes nothing.

    python fake_work.py JOB_DIR
    python fake_work.py --warm data

What a job does stands in the path of its data, as words with commas between them:
`steps=N` (each has a checkpoint), `pause=S` seconds a step, `ignore-control`,
`ignore-term`, `die=N` at step N without a word, `hang=N`, `fail`, `environment` (its variables
go into `environment.txt`). Each step is appended to
`ledger.txt` in the job's folder, so that a test sees what was done, by whom, and in what order.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from gemma_keras_tune import locks


class Work:
    def __init__(self, path: Path) -> None:
        self.path = path
        job = json.loads((path / "job.json").read_text())
        self.kind = job["kind"]
        recipe = job["args"].get("recipe")
        where = recipe["data"] if recipe else job["args"]
        words = where.get("path", "").strip("/").split(",")
        self.said = {key: value for key, _, value in (word.partition("=") for word in words)}
        self.run = path
        if job["run"]:
            self.run = path.parent.parent / "runs" / job["run"]
            self.run.mkdir(parents=True, exist_ok=True)
        self.told_to_stop = False
        self.seq = sum(1 for _ in self._lines(self.run / "events.jsonl"))
        self.control_from = len(self._lines(self.run / "control.jsonl"))
        self.attempt = 0

    def main(self) -> int:
        held = [locks.take(path / "lock") for path in {self.path, self.run}]
        for handle in held:
            locks.describe(handle)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGUSR1, self._on_usr1)
        earlier = self.path / "result.json"
        if earlier.exists() and json.loads(earlier.read_text())["status"] != "stopped":
            return 0  # as `work`: what has its result is not done twice
        self._begin_attempt()
        status = self._steps()
        if status:
            result = {"status": status, "code": "MADE_UP" if status == "failed" else ""}
            temporary = self._written_beside("result", result | {"message": "", "value": {}})
            temporary.rename(self.path / "result.json")
            if status != "stopped":
                self._ledger("end")  # after it counts: a kill before is an end that never was
        for handle in held:
            locks.release(handle)
        return {"done": 0, "failed": 2, "stopped": 75}.get(status, 1)

    def _steps(self) -> str:
        if "environment" in self.said:
            variables = (f"{name}={value}\n" for name, value in sorted(os.environ.items()))
            (self.path / "environment.txt").write_text("".join(variables))
        done = self._last_checkpoint()
        self._event(kind="run_started", resumed_from=done)
        pause, total = float(self.said.get("pause", "0.01")), int(self.said.get("steps", "3"))
        for step in range(done + 1, total + 1):
            if self.said.get("die") == str(step):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.said.get("hang") == str(step):
                self._stand_still()
            time.sleep(pause)
            self._ledger(f"step {step}")
            self._event(kind="checkpoint", step=step, seconds=0.0, bytes=1, reason="asked")
            if self._must_stop(step):
                return "stopped"
        return "failed" if "fail" in self.said else "done"

    def _stand_still(self) -> None:
        """As a training whose step never ends: the thread that tells the load goes on."""
        while True:
            time.sleep(0.1)
            self._event(kind="load", cpu_percent=0.0)

    def _must_stop(self, step: int) -> bool:
        if "ignore-control" not in self.said:
            for line in self._lines(self.run / "control.jsonl")[self.control_from :]:
                command = json.loads(line)
                if command["command"] == "stop":
                    told = {"id": command["id"], "command": "stop", "step": step}
                    self._event(kind="control_applied", **told)
                    return True
        return self.told_to_stop

    def _on_term(self, *_: object) -> None:
        self._ledger("term")
        if "ignore-term" not in self.said:
            self.told_to_stop = True

    def _on_usr1(self, *_: object) -> None:
        self._ledger("usr1")

    def _begin_attempt(self) -> None:
        path = self.path / "attempt.json"
        self.attempt = json.loads(path.read_text())["attempt"] + 1 if path.exists() else 1
        self._written_beside("attempt", {"attempt": self.attempt, "token": "x"}).rename(path)
        self._ledger("start")

    def _written_beside(self, name: str, values: dict[str, Any]) -> Path:
        """A file that only needs its name: a kill leaves none that is half written."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(json.dumps(values))
        return temporary

    def _last_checkpoint(self) -> int:
        lines = self._lines(self.run / "events.jsonl")
        steps = [json.loads(line).get("step", 0) for line in lines if '"checkpoint"' in line]
        return max(steps, default=0) if self.kind == "train" else 0

    def _event(self, **fields: Any) -> None:
        self.seq += 1
        record = {"seq": self.seq, "attempt": self.attempt, "time": ""} | fields
        self._append(self.run / "events.jsonl", json.dumps(record))

    def _ledger(self, what: str) -> None:
        self._append(self.path / "ledger.txt", f"{self.attempt} {os.getpid()} {what}")

    @staticmethod
    def _append(path: Path, line: str) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, f"{line}\n".encode())
        os.close(handle)

    @staticmethod
    def _lines(path: Path) -> list[str]:
        return path.read_text().splitlines() if path.exists() else []


def warm() -> None:
    """Forks a child for each job that a line names, and says when it has ended."""
    children: dict[int, str] = {}
    os.set_blocking(0, False)
    rest = b""
    at_end = False
    while not at_end or children:
        try:
            data = os.read(0, 65536)
            at_end = not data
            rest += data
        except BlockingIOError:
            pass
        *lines, rest = rest.split(b"\n")
        for line in lines:
            pid = os.fork()
            if pid == 0:
                os._exit(Work(Path(line.decode())).main())
            children[pid] = Path(line.decode()).name
        for pid, job in list(children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                answer = {"job": job, "exit": os.waitstatus_to_exitcode(status)}
                os.write(1, json.dumps(answer).encode() + b"\n")
                del children[pid]
        time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1] == "--warm":
        warm()
        sys.exit(0)
    sys.exit(Work(Path(sys.argv[1])).main())
