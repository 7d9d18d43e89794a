"""An adb that replays a protocol: each call must be the next one in it. See tests/unit/test_selftest.py.

    python fake_adb.py FOLDER ARGUMENTS...

FOLDER/protocol.json lists the calls: `argv`, and what such a call gives: `stdout`, `stderr`, `exit`, and an `effect` on
FOLDER/device, the device's files. `{run}` in an argument stands for a run's name, the same in all calls. A call that is
not the next one is written to FOLDER/unexpected, and fails.
"""

import json
import re
import shutil
import sys
import time
from pathlib import Path


def main(folder: Path, argv: list[str]) -> int:
    state = folder / "state.json"
    known = json.loads(state.read_text()) if state.exists() else {"at": 0, "run": None}
    protocol = json.loads((folder / "protocol.json").read_text())
    step = protocol[known["at"]] if known["at"] < len(protocol) else {"argv": ["no further call"]}
    run = matched(step["argv"], argv, known["run"])
    if run is None:
        told = f"call {known['at']} was {argv}, expected {step['argv']}\n"
        with (folder / "unexpected").open("a") as file:
            file.write(told)
        sys.stderr.write(f"error: {told}")
        return 99
    state.write_text(json.dumps({"at": known["at"] + 1, "run": run}))
    out = effect(step.get("effect"), folder, argv, run)
    sys.stdout.buffer.write(step.get("stdout", "").encode() + out)
    sys.stderr.write(step.get("stderr", ""))
    return step.get("exit", 0)


def matched(expected: list[str], argv: list[str], run: str | None) -> str | None:
    """The run's name ("" while none was seen), or None if `argv` is another call."""
    name = re.escape(run) if run else "[0-9a-f]{12}"
    pattern = re.escape("\0".join(expected)).replace(re.escape("{run}"), f"(?P<run>{name})", 1)
    pattern = pattern.replace(re.escape("{run}"), "(?P=run)")
    found = re.fullmatch(pattern, "\0".join(argv))
    return found.groupdict().get("run", run or "") if found else None


def effect(name: str | None, folder: Path, argv: list[str], run: str) -> bytes:
    device, home = folder / "device", f"sdcard/Android/data/dev.slmexport.demo/files/selftest/{run}"
    if name == "push":
        target = device / argv[-1].lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(argv[-2], target)
    elif name == "report":
        shutil.copytree(device / home, folder / "seen")  # what the app would find
        shutil.copyfile(folder / "report.json", device / home / "report.json")
    elif name == "read":
        return (device / home / "report.json").read_bytes()
    elif name == "remove":
        shutil.rmtree(device / home, ignore_errors=True)
    elif name == "hang":
        time.sleep(60)
    return b""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
