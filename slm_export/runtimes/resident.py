"""How much of this process is in memory, as Linux counts it: /proc/<pid>/status, bytes."""

from __future__ import annotations

from pathlib import Path

PROCESS = Path("/proc/self")
FINEST = 1 << 24  # bytes: 16 MiB


def resident() -> int | None:
    """Now. None where there is no such file."""
    return _status("VmRSS")


def peak() -> int | None:
    """The most since the process began, or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """From now on, `peak` is counted anew. Does nothing where the kernel does not let a process say so."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return


def rounded_up(count: int) -> int:
    """To a multiple of FINEST, or of a quarter of the power of two below. What two runs measure differs by a hundred
    kilobytes or so of what the system happens to keep in memory: seldom do they lie on both sides of a step."""
    step = max(FINEST, 1 << max(0, count.bit_length() - 3))
    return -(-count // step) * step


def _status(key: str) -> int | None:
    try:
        lines = (PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), None)
