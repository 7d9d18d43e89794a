"""slm-export verify."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

import slm_export
from slm_export.bundle.combined import read_combined, verify_models
from slm_export.bundle.verify import Verification, find_bundles
from slm_export.errors import VerificationError
from slm_export.records import to_json
from slm_export.report.junit import Case, write_junit


def run(path: Path, *, formats: Sequence[str], as_json: bool, junit: Path | None) -> int:
    done = _verifications(path, formats)
    if as_json:
        click.echo(json.dumps(to_json(done), indent=1))
    else:
        for verification in done:
            click.echo(verification.bundle)
            for check in verification.checks:
                word = {True: "ok", False: "FAIL", None: "skip"}[check.ok]
                click.echo(f"  {word:5} {check.name}: {check.detail}")
    if junit:
        cases = [
            Case(
                name=f"{Path(v.bundle).name}: {c.name}",
                failure=c.detail if c.ok is False else None,
                skipped=c.detail if c.ok is None else None,
            )
            for v in done
            for c in v.checks
        ]
        write_junit(junit, "slm-export verify", cases)
    failed = [f"{v.bundle}: {c.name}" for v in done for c in v.failed]
    if failed:
        raise VerificationError(
            f"{len(failed)} checks failed",
            where="\n         ".join(failed),
            next_step="export the bundle again, or fetch it again from where it was built",
        )
    return 0


def _verifications(path: Path, formats: Sequence[str]) -> list[Verification]:
    combined = read_combined(path)
    if combined is None:
        return [slm_export.verify_bundle(bundle, formats=formats) for bundle in find_bundles(path)]
    listed = verify_models(path, combined)
    if listed.failed:
        return [listed]
    folders = [(path / model.manifest).parent for model in combined.models]
    return [listed, *(slm_export.verify_bundle(folder, formats=formats) for folder in folders)]
