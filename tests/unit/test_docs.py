"""Documents say what the code does."""

import dataclasses
import re
import runpy
import subprocess

from slm_export.artifact import Artifact
from slm_export.bundle.manifest import Golden, GoldenOutputs, GoldenSample, Manifest
from slm_export.parity.report import ParityReport
from tests.conftest import ROOT


def test_the_reference_is_what_the_code_generates():
    generated = runpy.run_path(str(ROOT / "docs/generate.py"))["reference"]()
    assert (ROOT / "docs/reference.md").read_text() == generated, "run: make docs"


def test_every_field_of_the_contracts_is_described():
    text = (ROOT / "docs/manifest.md").read_text()
    fields = [f.name for c in (Manifest, Artifact, Golden, GoldenSample, GoldenOutputs, ParityReport)
              for f in dataclasses.fields(c)]  # fmt: skip
    assert [f for f in fields if f"`{f}" not in text] == []


def test_readme_has_its_two_commands_first_and_ci_runs_the_second():
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert [kind for kind, _ in blocks[:2]] == ["sh", "sh"]
    assert "slm-export examples/banking-intents --target android-arm64" in blocks[0][1]
    assert "\n.venv/bin/python -m pytest" in blocks[1][1]
    assert "README.md" in (ROOT / ".ci/run").read_text() and "blocks[1]" in (ROOT / ".ci/run").read_text()


def test_links_in_documents_lead_somewhere():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "benchmarks/README.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_constraints_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert len(lines) > 50 and all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)


def test_rooms_do_not_ask_which_format_or_target_it_is():
    done = subprocess.run(
        ["grep", "-rnE", r"\b(if|elif) .*\b(format|target(\.name)?) (==|!=) ", "slm_export", "--include=*.py"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == ""
