"""What the Gradle files say, so that nothing is said twice."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app"
CATALOG: dict[str, Any] = tomllib.loads((ROOT / "gradle/libs.versions.toml").read_text())
VERSIONS: dict[str, str] = CATALOG["versions"]
BUNDLES: dict[str, list[str]] = CATALOG["bundles"]
GRADLE = (APP / "build.gradle.kts").read_text()


def setting(name: str) -> str:
    """The value of `name = ...` in app/build.gradle.kts."""
    return _found(rf'\b{name} = "?([^"\n]+)"?')


def strings(call: str) -> list[str]:
    """The strings in the brackets after `call`, such as `abiFilters += listOf`."""
    return re.findall(r'"([^"]+)"', _found(rf"{re.escape(call)}\(([^)]*)\)"))


def _found(pattern: str) -> str:
    found = re.search(pattern, GRADLE)
    if not found:
        raise SystemExit(f"app/build.gradle.kts has nothing like {pattern}: host/project.py reads it there")
    return found[1]


def coordinates(*names: str) -> list[str]:
    """Maven coordinates of the catalog's libraries."""
    libraries = [CATALOG["libraries"][name] for name in names]
    return [f"{library['module']}:{VERSIONS[library['version']['ref']]}" for library in libraries]


def sources(folder: str, pattern: str = "*.kt") -> Sequence[Path]:
    return sorted((APP / "src" / folder).rglob(pattern))


NAMESPACE = setting("namespace")
ABIS = strings("abiFilters += listOf")
NO_COMPRESS = strings("noCompress += listOf")
JVM_TARGET = setting("targetCompatibility").removeprefix("JavaVersion.VERSION_")
DROPPED = [APP / folder for folder in strings("assets.directories.add")]
