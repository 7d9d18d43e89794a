"""Fast to start: what needs no model imports none of the big libraries."""

import os
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "executorch", "litert_torch", "onnxruntime", "onnx", "numpy", "tensorflow", "jax")


@pytest.mark.parametrize(
    "args",
    [["--help"], ["export", "--help"], ["targets"], ["targets", "ios-arm64"], ["verify", "--help"], ["--schema"]],
)
def test_start_imports_nothing_heavy_and_takes_no_time(args):
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('HEAVY', [m for m in {HEAVY} if m in sys.modules], file=sys.stderr))\n"
        f"sys.argv = ['slm-export', *{args}]\n"
        "from slm_export.cli import entry\nentry()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stderr


@pytest.mark.parametrize("args", [["--help"], ["targets"], ["verify", "--help"]])
def test_start_takes_less_than_three_tenths_of_a_cpu_second(args):
    spent = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, "-m", "slm_export", *args], capture_output=True, check=True)
        after = os.times()
        spent.append(after.children_user - before.children_user + after.children_system - before.children_system)
        time.sleep(0.01)
    assert min(spent) <= 0.3


def test_doctor_names_every_backend_and_what_to_type():
    done = subprocess.run([sys.executable, "-m", "slm_export", "doctor"], capture_output=True, text=True, check=True)
    for name in ("export executorch", "export tflite", "export onnx", "run onnx", "oldest tflite runtime"):
        assert name in done.stdout
