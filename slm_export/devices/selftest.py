"""run --executor adb: a bundle's golden vectors, run again by the demo app on a connected device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from slm_export.artifact import Artifact
from slm_export.bundle.manifest import Manifest, read_golden, read_manifest
from slm_export.bundle.shared import located
from slm_export.bundle.verify import changed_files
from slm_export.devices import adb as bridge
from slm_export.devices import app
from slm_export.devices import report as reports
from slm_export.devices.app import Say
from slm_export.devices.report import DeviceFacts, Outcome
from slm_export.errors import InputError, UsageError, VerificationError
from slm_export.records import record

TIMEOUT_S = 300.0


@record
class SelfTest:
    bundle: str
    serial: str
    app: str  # the demo app's version
    device: DeviceFacts
    artifacts: tuple[Outcome, ...]


def self_test(
    bundle: Path,
    *,
    format: str | None = None,
    adb: str | None = None,
    serial: str | None = None,
    apk: Path | None = None,
    timeout_s: float = TIMEOUT_S,
    poll_s: float = 1.0,
    keep: Path | None = None,
    say: Say = lambda line: None,
) -> SelfTest:
    """Push a bundle to a device, have the demo app test it there, and judge what it reports.

    `format` limits which artifacts must be in the report, `apk` is installed first, `keep` is where the report goes as
    the device wrote it, before it is judged. The bundle is not left on the device.
    Raises DependencyError without adb, DeviceError if the device cannot do it, UsageError if it is not clear which
    device is meant, InputError for a format that the bundle does not hold, VerificationError if the bundle is not what
    its manifest says, or the report not about it.
    """
    manifest = read_manifest(bundle)
    chosen = _chosen(manifest, format)
    golden = read_golden(bundle / manifest.golden)
    _require_whole(bundle, manifest)
    _require_paths(apk, keep)
    device = bridge.connect(bridge.find(adb), serial)
    if apk is not None:
        app.install(device, apk)
    app.require_installed(device)
    data = _tested(device, bundle, _files(bundle, manifest), timeout_s=timeout_s, poll_s=poll_s, say=say)
    if keep is not None:
        keep.write_bytes(data)
    report = reports.read(data, device.serial)
    sha256 = hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    return SelfTest(
        bundle=str(bundle),
        serial=device.serial,
        app=report.app,
        device=report.device,
        artifacts=reports.judge(reports.of_bundle(report, sha256), chosen, golden),
    )


def _tested(
    device: bridge.Device,
    bundle: Path,
    files: Sequence[tuple[Path, str]],
    *,
    timeout_s: float,
    poll_s: float,
    say: Say,
) -> bytes:
    with app.folder(device, say) as (run, folder):
        size = sum(local.stat().st_size for local, _ in files) / 1e6
        say(f"pushing {len(files)} files, {size:.1f} MB, to {device.serial}")
        app.push(device, files, f"{folder}/slm/{bundle.resolve().name}")
        say(f"testing on {device.serial}")
        app.start(device, run)
        return app.report(device, folder, timeout_s=timeout_s, poll_s=poll_s)


def _chosen(manifest: Manifest, format: str | None) -> list[Artifact]:
    held = [entry.artifact for entry in manifest.artifacts]
    chosen = [a for a in held if format in (None, a.format)]
    if not chosen:
        raise InputError(
            f"the bundle has no {format} artifact", why=f"it has {', '.join(a.format for a in held)}",
            next_step="leave --format out, or name one of these",
        )  # fmt: skip
    return chosen


def _require_whole(bundle: Path, manifest: Manifest) -> None:
    wrong = changed_files(bundle, manifest)
    if wrong:
        raise VerificationError(
            "the bundle is not what its manifest says", where="; ".join(wrong),
            next_step=f"slm-export verify {bundle}",
        )  # fmt: skip


def _require_paths(apk: Path | None, keep: Path | None) -> None:
    if apk is not None and not apk.is_file():
        raise UsageError(f"there is no file {apk}", next_step="give --apk the demo app, or leave it out")
    if keep is not None and not keep.absolute().parent.is_dir():
        raise UsageError(f"cannot write {keep}", why=f"there is no folder {keep.parent}")


def _files(bundle: Path, manifest: Manifest) -> list[tuple[Path, str]]:
    """Everything that belongs to the bundle: where it lies here, and its path in the bundle."""
    listed = [*manifest.files, *(f for e in manifest.artifacts for f in e.artifact.files)]
    own = (bundle / "manifest.json", "manifest.json")
    return [own, *((located(bundle, f), f.path) for f in listed)]
