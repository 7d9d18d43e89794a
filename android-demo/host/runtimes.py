"""The runtimes' classes and native libraries: the catalog's, else what replacements.toml has for them."""

from __future__ import annotations

import base64
import hashlib
import tarfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import maven
from project import ABIS, BUNDLES, coordinates
from steps import HOST, Options, run

REPLACEMENTS: dict[str, Any] = tomllib.loads((HOST / "replacements.toml").read_text())


@dataclass(frozen=True, kw_only=True)
class Runtimes:
    """What the app is linked with: jars, and exploded AARs, which hold native libraries and manifests too."""

    jars: Sequence[Path]
    aars: Sequence[Path]

    def natives(self, abi: str) -> list[Path]:
        return [path for aar in self.aars for path in sorted(aar.glob(f"jni/{abi}/*.so"))]


def runtimes(options: Options) -> Runtimes:
    named, alone, folders = coordinates("kotlin-stdlib"), [], []
    for name in BUNDLES["runtimes"]:
        wanted = [f"{coordinate}@aar" for coordinate in coordinates(name)]
        if maven.has(options, wanted):
            named += wanted
            continue
        replacement = REPLACEMENTS[name]
        options.say_once(replacement["note"])
        alone += [*replacement.get("maven", []), *coordinates(*replacement.get("catalog", []))]
        if "npm" in replacement:
            folders.append(_npm(options, **replacement["npm"]))
    found = maven.resolve(options, named, alone=alone)
    folders += [maven.explode(options, path) for path in found if path.suffix == ".aar"]
    jars = [path for path in found if path.suffix == ".jar"]
    return Runtimes(jars=[*jars, *(folder / "classes.jar" for folder in folders)], aars=folders)


def _npm(options: Options, *, package: str, version: str, integrity: str, files: dict[str, str]) -> Path:
    """A folder like an exploded AAR, from a package whose bytes are those that are named here."""
    folder = options.cache / "aar" / f"{package}-{version}"
    if not folder.exists():
        tarball = _packed(options, package, version)
        algorithm, _, expected = integrity.partition("-")
        found = base64.b64encode(hashlib.new(algorithm, tarball.read_bytes()).digest()).decode()
        if found != expected:
            tarball.unlink()
            raise SystemExit(f"{package} {version} from npm is {algorithm}-{found}, expected {integrity}")
        _extract(tarball, folder, {f"package/{_for(abi, a)}": _for(abi, b) for abi in ABIS for a, b in files.items()})
    return folder


def _for(abi: str, path: str) -> str:
    return path.replace("{abi}", abi)


def _packed(options: Options, package: str, version: str) -> Path:
    folder = options.cache / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    tarball = folder / f"{package}-{version}.tgz"
    if not tarball.exists():
        how = "--offline" if options.offline else "--prefer-offline"
        run("npm", "pack", "--silent", how, "--pack-destination", folder, f"{package}@{version}", capture_output=True)
    return tarball


def _extract(tarball: Path, folder: Path, files: dict[str, str]) -> None:
    partial = folder.with_suffix(".partial")
    with tarfile.open(tarball) as archive:
        for source, target in files.items():
            content = archive.extractfile(source)
            assert content, f"{source} is a folder"
            (partial / target).parent.mkdir(parents=True, exist_ok=True)
            (partial / target).write_bytes(content.read())
    partial.rename(folder)
