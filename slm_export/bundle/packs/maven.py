"""A Maven repository in a folder, for Gradle and Maven: an AAR with its pom, module metadata and checksums."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from xml.sax.saxutils import escape

from slm_export.records import record

SUMS = ("md5", "sha1", "sha256", "sha512")
GRADLE_METADATA = "<!-- do_not_remove: published-with-gradle-metadata -->"


@record
class Coordinates:
    group: str
    artifact: str
    version: str

    def __str__(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"


@record
class Description:
    name: str
    summary: str
    license: str | None


def folder_of(repository: Path, at: Coordinates) -> Path:
    return repository.joinpath(*at.group.split("."), at.artifact, at.version)


def publish(repository: Path, at: Coordinates, described: Description) -> None:
    """Write what belongs to <artifact>-<version>.aar and -sources.jar, which are in their folder already."""
    folder = folder_of(repository, at)
    stem = f"{at.artifact}-{at.version}"
    (folder / f"{stem}.pom").write_text(_pom(at, described), encoding="utf-8")
    (folder / f"{stem}.module").write_text(_module(folder, at), encoding="utf-8")
    metadata = folder.parent / "maven-metadata.xml"
    metadata.write_text(_metadata(at), encoding="utf-8")
    for file in (*sorted(folder.iterdir()), metadata):
        for name, value in _sums(file).items():
            file.with_name(f"{file.name}.{name}").write_text(value, encoding="ascii")


def _sums(file: Path) -> dict[str, str]:
    found = {}
    for name in SUMS:
        with file.open("rb") as content:
            found[name] = hashlib.file_digest(content, name).hexdigest()
    return found


def _pom(at: Coordinates, described: Description) -> str:
    license = ""
    if described.license:
        license = f"  <licenses><license><name>{escape(described.license)}</name></license></licenses>\n"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<project xmlns="http://maven.apache.org/POM/4.0.0">\n'
        f"  {GRADLE_METADATA}\n"
        "  <modelVersion>4.0.0</modelVersion>\n"
        f"  <groupId>{at.group}</groupId>\n  <artifactId>{at.artifact}</artifactId>\n"
        f"  <version>{escape(at.version)}</version>\n  <packaging>aar</packaging>\n"
        f"  <name>{escape(described.name)}</name>\n  <description>{escape(described.summary)}</description>\n"
        f"{license}</project>\n"
    )


def _metadata(at: Coordinates) -> str:
    version = escape(at.version)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<metadata>\n  <groupId>{at.group}</groupId>\n  <artifactId>{at.artifact}</artifactId>\n"
        f"  <versioning>\n    <latest>{version}</latest>\n    <release>{version}</release>\n"
        f"    <versions><version>{version}</version></versions>\n  </versioning>\n</metadata>\n"
    )


def _module(folder: Path, at: Coordinates) -> str:
    """Gradle module metadata 1.1: the AAR, to compile against and to run with, and its sources."""

    def variant(name: str, suffix: str, attributes: dict[str, str]) -> dict[str, object]:
        file = folder / f"{at.artifact}-{at.version}{suffix}"
        entry = {"name": file.name, "url": file.name, "size": file.stat().st_size, **_sums(file)}
        common = {"org.gradle.dependency.bundling": "external", "org.gradle.usage": "java-runtime"}
        return {"name": name, "attributes": {**common, **attributes}, "files": [entry]}

    library = {"org.gradle.category": "library", "org.gradle.libraryelements": "aar"}
    sources = {"org.gradle.category": "documentation", "org.gradle.docstype": "sources"}
    made = {
        "formatVersion": "1.1",
        "component": {
            "group": at.group, "module": at.artifact, "version": at.version,
            "attributes": {"org.gradle.status": "release"},
        },
        "variants": [
            variant("apiElements", ".aar", {**library, "org.gradle.usage": "java-api"}),
            variant("runtimeElements", ".aar", library),
            variant("sourcesElements", "-sources.jar", sources),
        ],
    }  # fmt: skip
    return json.dumps(made, indent=2) + "\n"
