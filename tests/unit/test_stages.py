"""How a stage that fails is told."""

import textwrap

import pytest

from slm_export import runtimes
from slm_export.errors import ExportError, InputError, OutOfMemoryError, first_line, ran_out_of_memory
from slm_export.runtimes import worker
from slm_export.stages import run_stage

FAILURES = {
    "python": "raise MemoryError",
    "torch": 'raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory: you tried to allocate 9 bytes")',
    "wrapped": textwrap.dedent("""
        try:
            raise RuntimeError("std::bad_alloc")
        except RuntimeError as err:
            raise ExportError("cannot lower this model", where=first_line(err)) from err"""),
    "refused": 'raise InputError("no such head")',
    "bug": 'raise KeyError("x")',
}


def failing(tmp_path, monkeypatch, body):
    """Run a stage whose function is `body`, in its own process."""
    lines = ["from slm_export.errors import *", "from slm_export.errors import ExportError, InputError, first_line"]
    lines += ["def run(job, progress):", textwrap.indent(body.strip(), "    ")]
    (tmp_path / "failing.py").write_text("\n".join(lines))
    (tmp_path / "sitecustomize.py").write_text("import slm_export.stages as s\ns.STAGES['prepare'] = 'failing:run'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run_stage("prepare", {}, name="prepare", folder=tmp_path)


@pytest.mark.parametrize("kind", ["python", "torch", "wrapped"])
def test_want_of_memory_is_named_whoever_says_it(tmp_path, monkeypatch, kind):
    with pytest.raises(OutOfMemoryError, match=r"out of memory in stage prepare at \d+ MB") as caught:
        failing(tmp_path, monkeypatch, FAILURES[kind])
    assert caught.value.exit_code == 4 and caught.value.next_step


def test_an_error_of_ours_comes_back_as_itself(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such head"):
        failing(tmp_path, monkeypatch, FAILURES["refused"])


def test_a_bug_in_a_stage_is_told_with_its_trace(tmp_path, monkeypatch):
    with pytest.raises(ExportError, match="stage prepare died") as caught:
        failing(tmp_path, monkeypatch, FAILURES["bug"])
    assert any("KeyError: 'x'" in note for note in caught.value.__notes__)


def test_a_runtime_without_memory_is_not_taken_for_a_damaged_artifact(monkeypatch, tmp_path):
    class Starved:
        def version(self):
            return "1"

        def load(self):
            pass

        def open(self, path, artifact):
            raise RuntimeError("Failed to allocate memory for requested buffer of size 9")

    monkeypatch.setattr(runtimes, "get", lambda format: Starved())
    monkeypatch.setattr(worker, "from_json", lambda cls, data: cls(**data))
    monkeypatch.chdir(tmp_path)
    artifact = type("A", (), {"format": "onnx"})()
    job = {
        "artifact": artifact,
        "path": "x",
        "task": "text-classification",
        "samples": (),
        "probes": (),
        "outputs": "o",
    }
    with pytest.raises(RuntimeError, match="Failed to allocate"):
        worker.run(job, lambda what, done, total: None)


def test_memory_is_looked_for_along_the_causes():
    try:
        try:
            raise MemoryError
        except MemoryError as err:
            raise ExportError("x", where=first_line(err)) from err
    except ExportError as err:
        assert ran_out_of_memory(err) and err.where == "MemoryError: no message"
    assert not ran_out_of_memory(ValueError("other")) and not ran_out_of_memory(None)
