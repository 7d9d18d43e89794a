"""JUnit XML, as CI servers read it: one suite a bundle or run, one case a check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from slm_export.records import record


@record
class Case:
    """`failure` is why the case failed, `skipped` why it was not looked at; neither: it passed."""

    name: str
    failure: str | None = None
    skipped: str | None = None
    seconds: float = 0.0


def write_junit(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write one test suite. Control characters, which XML cannot hold, become spaces."""
    root = ElementTree.Element("testsuites")
    element = ElementTree.SubElement(
        root,
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=str(sum(c.failure is not None for c in cases)),
        skipped=str(sum(c.skipped is not None for c in cases)),
        errors="0",
    )
    for case in cases:
        node = ElementTree.SubElement(element, "testcase", classname=suite, name=case.name, time=f"{case.seconds:.3f}")
        if case.failure is not None:
            text = _printable(case.failure)
            ElementTree.SubElement(node, "failure", message=text.split("\n")[0]).text = text
        elif case.skipped is not None:
            ElementTree.SubElement(node, "skipped", message=_printable(case.skipped))
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _printable(text: str) -> str:
    return "".join(c if c in "\n\t" or c >= " " else " " for c in text)
