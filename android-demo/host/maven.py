"""Libraries by Maven: its answers, the negative ones too, are kept in the cache."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steps import Options

LIST = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:list"
ALONE = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"


class OutOfReach(Exception):
    """No repository that Maven asks has it."""


def has(options: Options, coordinates: Sequence[str]) -> bool:
    try:
        return bool(resolve(options, alone=coordinates))
    except OutOfReach:
        return False


def classes(options: Options, coordinates: Sequence[str] = (), *, alone: Sequence[str] = ()) -> list[Path]:
    """Jars of what `resolve` finds."""
    found = resolve(options, coordinates, alone=alone)
    exploded = [explode(options, path) for path in found if path.suffix == ".aar"]
    return [*(path for path in found if path.suffix == ".jar"), *(folder / "classes.jar" for folder in exploded)]


def resolve(options: Options, coordinates: Sequence[str] = (), *, alone: Sequence[str] = ()) -> list[Path]:
    """Files of libraries `group:artifact:version[@aar]` with all that they need, and of those to be taken alone."""
    dependencies = [_dependency(coordinate, "") for coordinate in coordinates]
    pom = _pom("".join(dependencies + [_dependency(coordinate, ALONE) for coordinate in alone]))
    answer = options.cache / "maven" / f"{hashlib.sha256(pom.encode()).hexdigest()[:16]}.json"
    if not answer.exists() or not all(Path(path).exists() for path in json.loads(answer.read_text())["paths"]):
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text(json.dumps(_asked(options, pom, answer)))
    found = json.loads(answer.read_text())
    if found["missing"]:
        raise OutOfReach(found["missing"])
    return [Path(path) for path in found["paths"]]


def explode(options: Options, aar: Path) -> Path:
    """A folder with what is in an AAR: classes, native libraries, manifest."""
    folder = options.cache / "aar" / aar.stem
    if not folder.exists():
        zipfile.ZipFile(aar).extractall(folder)
    return folder


def _dependency(coordinate: str, exclusions: str) -> str:
    group, artifact, version = coordinate.removesuffix("@aar").split(":")
    kind = "aar" if coordinate.endswith("@aar") else "jar"
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>"
        f"<type>{kind}</type>{exclusions}</dependency>"
    )


def _pom(dependencies: str) -> str:
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>host</groupId><artifactId>resolve</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )


def _asked(options: Options, pom: str, answer: Path) -> dict[str, Any]:
    """The paths that Maven gives, or which artifact it says is missing."""
    file, listing = answer.with_suffix(".xml"), answer.with_suffix(".txt")
    file.write_text(pom)
    said = ["-DoutputAbsoluteArtifactFilename=true", f"-DoutputFile={listing}", "-DincludeScope=runtime"]
    command = ["mvn", "-q", "-B", *(["-o"] if options.offline else []), "-f", str(file), LIST, *said]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if not done.returncode:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", listing.read_text())
        return {"paths": re.findall(r":(?:jar|aar):\S+:(?:compile|runtime):(/\S+)", plain), "missing": None}
    # the second is how Maven repeats an earlier answer
    missing = re.search(r"Could not find artifact (\S+)|(\S+) was not found in", done.stdout)
    if missing:
        return {"paths": [], "missing": missing[1] or missing[2]}
    raise SystemExit(f"Maven failed, {' '.join(command)}:\n{done.stdout[:3000]}")
