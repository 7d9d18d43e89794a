"""The demo app on a device: a bundle goes there, the app tests it, and its report comes back.

The app is told a run's name and finds the bundle in a folder of that name below its own files, where it also leaves
the report: first as report.json.part, renamed when it is whole.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slm_export.devices.adb import Device, Said
from slm_export.errors import DeviceError

PACKAGE = "dev.slmexport.demo"
ACTIVITY = f"{PACKAGE}/.ui.MainActivity"
FILES = f"/sdcard/Android/data/{PACKAGE}/files"
CRASH_LINES = 4  # of what Android kept of a crash
FULL = "No space left on device"

Say = Callable[[str], None]


def install(device: Device, apk: Path) -> None:
    """Raises DeviceError with Android's own reason."""
    said = device.install(apk)
    if said.code != 0 or "Failure [" in said.text:
        raise DeviceError(
            "the device does not take the app", where=str(apk), why=_last_line(said),
            next_step=f"if another one is there: adb -s {device.serial} uninstall {PACKAGE}",
        )  # fmt: skip


def require_installed(device: Device) -> None:
    if device.shell("pm", "path", PACKAGE).out.strip():
        return
    raise DeviceError(
        f"the demo app ({PACKAGE}) is not on the device", where=device.serial,
        next_step="install it with --apk FILE; android-demo/README.md says how it is built",
    )  # fmt: skip


@contextmanager
def folder(device: Device, say: Say) -> Iterator[tuple[str, str]]:
    """A run's name, and its folder on the device, which is gone afterwards, whatever happens."""
    run = secrets.token_hex(6)
    path = f"{FILES}/selftest/{run}"
    try:
        _make(device, path)
        yield run, path
    finally:
        _remove(device, path, say)


def push(device: Device, files: Sequence[tuple[Path, str]], target: str) -> None:
    """Copy each local file to its path below `target`. Raises DeviceError, telling apart a device that is full."""
    for local, path in files:
        said = device.push(local, f"{target}/{path}")
        if said.code == 0:
            continue
        if FULL in said.text:
            needed = sum(local.stat().st_size for local, _ in files) / 1e6
            raise DeviceError(
                "the device is full", where=path, why=f"the bundle takes {needed:.0f} MB",
                next_step="free that much on it, or push a bundle with fewer artifacts",
            )  # fmt: skip
        raise DeviceError(
            f"{path} could not be copied to the device", where=f"{target}/{path}", why=_last_line(said),
            next_step=f"adb -s {device.serial} shell ls {FILES}",
        )  # fmt: skip


def start(device: Device, run: str | None = None) -> None:
    """Start the app anew: it looks for a run's name only then. Raises DeviceError if Android does not find it."""
    device.shell("am", "force-stop", PACKAGE)
    test = ("--es", "selftest", run) if run else ()
    said = device.shell("am", "start", "-W", "-n", ACTIVITY, *test)
    if said.code != 0 or "Error" in said.text:
        raise DeviceError(
            "the demo app does not start", where=ACTIVITY, why=_last_line(said),
            next_step="install the demo app that belongs to this slm-export: --apk FILE",
        )  # fmt: skip


def report(device: Device, path: str, *, timeout_s: float, poll_s: float) -> bytes:
    """The report below `path`, as soon as it is there. Raises DeviceError if the app goes, or takes too long."""
    name = f"{path}/report.json"
    ends, process = time.monotonic() + timeout_s, ""
    while not _exists(device, name):
        process, last = device.shell("pidof", PACKAGE).out.decode(errors="replace").strip(), process
        # A report may have been written between the two questions, by an app that then went.
        if not process and not _exists(device, name):
            raise DeviceError(
                "the demo app ended before it had tested the bundle", where=device.serial, why=_crash(device, last),
                next_step="run the app's own self-test, and see `adb logcat`; try one artifact with --format",
            )  # fmt: skip
        if time.monotonic() > ends:
            raise DeviceError(
                f"the device did not report within {timeout_s:g} seconds", where=name,
                why="large models on slow devices take minutes, and a locked screen may hold the app up",
                next_step="unlock the device, or give it more with --timeout",
            )  # fmt: skip
        time.sleep(poll_s)
    said = device.read(name)
    if said.code != 0:
        raise DeviceError("the report cannot be read", where=name, why=_last_line(said), next_step="run it again")
    return said.out


def _exists(device: Device, path: str) -> bool:
    return device.shell("ls", path).code == 0


def _make(device: Device, path: str) -> None:
    # Android makes the app's folder when it first starts; one that adb had made would not be the app's.
    if not _exists(device, FILES):
        start(device)
    said = device.shell("mkdir", "-p", path)
    if said.code != 0:
        full = FULL in said.text
        raise DeviceError(
            "the device is full" if full else "the app's folder on the device cannot be written", where=path,
            why=_last_line(said),
            next_step="free some space on it" if full else "start the app once by hand, and try again",
        )  # fmt: skip


def _remove(device: Device, path: str, say: Say) -> None:
    """An error here is told, and hides none that came before."""
    try:
        failed = device.shell("rm", "-rf", path).code != 0
    except DeviceError:
        failed = True
    if failed:
        say(f"left on the device: {path}; remove it with: adb -s {device.serial} shell rm -rf {path}")


def _crash(device: Device, process: str) -> str:
    """What Android kept of a crash of `process`, its number ("": not known)."""
    kept = device.shell("logcat", "-b", "crash", "-d", "-v", "raw", f"--pid={process}") if process else None
    lines = kept.out.decode(errors="replace").splitlines() if kept else []
    told = [line.strip() for line in lines if line.strip() and not line.startswith(("\tat ", "-----"))]
    return "; ".join(told[:CRASH_LINES]) or "Android kept no crash of it: it may have run out of memory"


def _last_line(said: Said) -> str | None:
    return said.text.strip().splitlines()[-1] if said.text.strip() else None
