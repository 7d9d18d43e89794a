"""adb, the Android debug bridge: which devices it sees, and commands on one of them. Nothing here knows of bundles."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from slm_export.errors import DependencyError, DeviceError, UsageError, nearest
from slm_export.records import record

SHORT_S, LONG_S = 60, 1800  # what a question, and what a copy, may take
STATES = {  # what adb calls a device that does not answer: why, and what helps
    "unauthorized": ("it has not allowed this computer", "unlock it and accept the question about USB debugging"),
    "offline": ("adb sees it, and it does not answer", "plug it in again, or run: adb reconnect"),
    "no permissions": ("this user may not open its USB port", "install adb's udev rules, or plug it in again"),
    "recovery": ("it has not started Android", "start it"),
}
OWN_WORDS = re.compile(r"^(adb: )?error: |^adb: ", re.MULTILINE)  # how adb says that it failed, not the command


@record
class Said:
    """What a command gave: its exit code, and all that it printed."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return "\n".join(part for part in (self.out.decode(errors="replace").strip(), self.err.strip()) if part)


@record
class Device:
    """One device. Every command raises DeviceError if adb cannot reach it."""

    adb: str
    serial: str

    def run(self, *words: str, limit_s: float = SHORT_S) -> Said:
        return _said([self.adb, "-s", self.serial, *words], limit_s)

    def shell(self, *words: str) -> Said:
        """A command on the device itself, words quoted for its shell."""
        return self._reached(self.run("shell", shlex.join(words)))

    def read(self, path: str) -> Said:
        """A file's bytes as `out`."""
        return self._reached(self.run("exec-out", shlex.join(["cat", path])))

    def push(self, local: Path, remote: str) -> Said:
        return self.run("push", str(local), remote, limit_s=LONG_S)

    def install(self, apk: Path) -> Said:
        return self.run("install", "-r", str(apk), limit_s=LONG_S)

    def _reached(self, said: Said) -> Said:
        if said.code != 0 and OWN_WORDS.search(said.err):
            raise DeviceError(
                "adb lost the device", where=self.serial, why=said.err.strip(), next_step="plug it in and try again"
            )
        return said


def find(adb: str | None) -> str:
    """The adb to use: `adb`, or the one on the path. Raises DependencyError if there is none."""
    found = shutil.which(adb or "adb")
    if found is None:
        raise DependencyError(
            f"there is no program {adb}" if adb else "adb is not installed",
            where=adb,
            next_step="install Android's platform tools (Debian: apt-get install adb), or name it with --adb or $ADB",
        )
    return found


def connect(adb: str, serial: str | None) -> Device:
    """The device `serial`, or the only one there is.

    Raises DeviceError if there is none, or it does not answer, UsageError if it is not clear which is meant.
    """
    known = _devices(adb)
    if not known:
        raise DeviceError(
            "adb sees no device",
            next_step="connect a phone with USB debugging (Settings, Developer options), or start an emulator; "
            "`adb devices` must list it",
        )
    if serial is None and len(known) > 1:
        raise UsageError("adb sees several devices", where=", ".join(known), next_step="name one with --serial")
    chosen = serial or next(iter(known))
    if chosen not in known:
        raise UsageError(f"adb sees no device {chosen!r}", why=nearest(chosen, known))
    _require_answering(chosen, known[chosen])
    return Device(adb=adb, serial=chosen)


def _require_answering(serial: str, state: str) -> None:
    if state == "device":
        return
    why, mend = next((told for name, told in STATES.items() if state.startswith(name)), (f"it is {state!r}", None))
    raise DeviceError(
        f"the device is {state.partition(' (')[0]}", where=serial, why=why, next_step=mend or "see `adb devices`"
    )


def _devices(adb: str) -> dict[str, str]:
    """Serial and state of each device."""
    said = _said([adb, "devices"], SHORT_S)
    _, listed, lines = said.out.decode(errors="replace").partition("List of devices attached")
    if said.code != 0 or not listed:
        raise DeviceError("adb does not work here", where=adb, why=said.text, next_step="adb kill-server; adb devices")
    return {serial: state.strip() for line in lines.splitlines() if line.strip() for serial, state in [_halves(line)]}


def _halves(line: str) -> tuple[str, str]:
    serial, _, state = line.strip().partition("\t")
    return serial, state


def _said(command: list[str], limit_s: float) -> Said:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    except subprocess.TimeoutExpired as err:
        raise DeviceError(
            f"adb did not answer within {limit_s:.0f} seconds", where=shlex.join(command[1:]),
            next_step="adb kill-server, and plug the device in again",
        ) from err  # fmt: skip
    except OSError as err:
        raise DependencyError(f"{command[0]} does not run: {err.strerror}", next_step="name adb with --adb") from err
    return Said(code=done.returncode, out=done.stdout, err=done.stderr.decode(errors="replace"))
