import os
import subprocess
import sys
import time

import pytest

from slm_export.bundle.atomic import PREFIX, replace_folder, work_folder
from slm_export.errors import UsageError


def folder(path, content):
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_a_new_bundle_takes_the_old_ones_place_and_leaves_nothing_else(tmp_path):
    target = folder(tmp_path / "bundle", "old")
    replace_folder(folder(tmp_path / "new", "new"), target)
    assert (target / "file").read_text() == "new" and os.listdir(tmp_path) == ["bundle"]


def test_a_first_bundle_is_moved_in(tmp_path):
    replace_folder(folder(tmp_path / "new", "new"), tmp_path / "bundle")
    assert os.listdir(tmp_path) == ["bundle"]


def test_without_exchange_the_old_bundle_still_gives_way(tmp_path, monkeypatch):
    monkeypatch.setattr("slm_export.bundle.atomic._exchange", lambda a, b: False)
    target = folder(tmp_path / "bundle", "old")
    replace_folder(folder(tmp_path / "new", "new"), target)
    assert (target / "file").read_text() == "new" and os.listdir(tmp_path) == ["bundle"]


def test_a_work_folder_is_gone_afterwards_even_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), work_folder(tmp_path / "out") as work:
        (work / "big").write_text("x")
        raise RuntimeError
    assert os.listdir(tmp_path / "out") == []


def test_leftovers_of_killed_runs_go_and_those_of_living_runs_stay(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from slm_export.bundle.atomic import work_folder\n"
        "with work_folder(Path(sys.argv[1])) as w: print(w, flush=True); time.sleep(60)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    killed, living = (run.stdout.readline().strip() for run in runs)
    runs[0].kill()
    runs[0].wait()
    try:
        with work_folder(tmp_path):
            left = {p.name for p in tmp_path.glob(PREFIX + "*")}
        assert os.path.basename(living) in left and os.path.basename(killed) not in left
    finally:
        runs[1].kill()
        runs[1].wait()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to"), work_folder(tmp_path / "file" / "out"):
        time.sleep(0)
