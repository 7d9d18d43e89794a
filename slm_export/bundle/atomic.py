"""Work folders and whole-or-nothing replacement of a bundle."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from slm_export.errors import UsageError

PREFIX = ".slm-export-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """A folder below `out`, on the same file system as the bundle will be, gone afterwards.

    Folders that killed runs left behind are removed first; a running run holds a lock on its own.
    Raises UsageError if `out` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=out)).resolve()  # stages change their directory
    except OSError as err:
        raise UsageError(
            f"cannot write to {out}: {err.strerror}", where=str(out), next_step="choose another -o"
        ) from err
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_leftovers(out, folder)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(out: Path, mine: Path) -> None:
    for folder in out.glob(PREFIX + "*"):
        if folder.name != mine.name and _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by a run, or not there yet
        return False
    return True


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` in the place of `target`, whose old content is removed.

    On Linux the two change places in one step, so that a kill at any moment leaves the old bundle or the new one.
    Elsewhere it leaves the old one, the new one or none.
    """
    if not target.exists():
        new.rename(target)
    elif not _exchange(new, target):
        aside = new.with_name(new.name + ".old")
        target.rename(aside)
        new.rename(target)
        shutil.rmtree(aside)
    with suppress(FileNotFoundError):
        shutil.rmtree(new)


def _exchange(a: Path, b: Path) -> bool:
    if sys.platform != "linux":
        return False
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    return (
        renameat2 is not None
        and renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), ctypes.c_uint(_RENAME_EXCHANGE)) == 0
    )
