"""Runs every suite in a JVM of its own: a native library belongs to one class loader, and Robolectric has its own."""

from __future__ import annotations

import fnmatch
import subprocess
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import natives
from compiling import framework, resources, unit_tests, with_assets
from project import APP, BUNDLES, NAMESPACE, VERSIONS, sources
from runtimes import Runtimes
from steps import Options, fresh, java

MOST_SECONDS = 900
MOST_LINES = 200  # of a failed suite


@dataclass(frozen=True, kw_only=True)
class Result:
    suite: str
    ran: int
    failed: int
    skipped: int
    seconds: float
    ended: str = ""

    @property
    def good(self) -> bool:
        return self.ran > 0 and not self.failed and not self.ended

    def __str__(self) -> str:
        counts = f"{self.ran} tests, {self.failed} failures, {self.skipped} skipped, {self.seconds:.1f} s"
        why = self.ended or ("" if self.ran else "ran no test")
        return f"{'ok' if self.good else 'FAILED':7}{self.suite}: {counts}{why and f': {why}'}"


def run_all(options: Options, runtimes: Runtimes) -> None:
    """Raises SystemExit unless every suite ran a test and no test failed."""
    compiled, classpath = unit_tests(options, runtimes)
    _configure_robolectric(options, runtimes, compiled)
    suites = [name for name in map(class_of, sources("test", "*Test.kt")) if _wanted(name, options.only)]
    if not suites:
        raise SystemExit(f"no suite: app/src/test has none like {' or '.join(options.only) or '*Test.kt'}")
    libraries = natives.for_jvm(options, runtimes)
    fresh(options.out / "reports")
    results = []
    for suite in suites:
        results.append(_run(options, suite, [compiled, APP / "src/test/resources", *classpath], libraries))
        if not results[-1].good:
            print("\n".join(_log(options, suite).read_text(errors="replace").splitlines()[-MOST_LINES:]))
        print(results[-1], flush=True)
    if bad := [result.suite for result in results if not result.good]:
        raise SystemExit(f"{len(bad)} of {len(results)} suites failed: {', '.join(bad)}")


def class_of(source: Path) -> str:
    """The class that a file is named after, with the package that its text says."""
    package = next(line.split()[1] for line in source.read_text().splitlines() if line.startswith("package "))
    return f"{package}.{source.stem}"


def _wanted(suite: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatch.fnmatch(suite, f"*{pattern}*") for pattern in only)


def _configure_robolectric(options: Options, runtimes: Runtimes, compiled: Path) -> None:
    made = resources(options, runtimes)
    config = compiled / "com/android/tools/test_config.properties"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"android_merged_manifest={made}/AndroidManifest.xml\n"
        f"android_resource_apk={with_assets(options, made / 'binary.ap_')}\nandroid_custom_package={NAMESPACE}\n"
    )


def _arguments(options: Options, libraries: Path) -> list[str]:
    """Of a suite's JVM; tests may ask for the system properties `slm.*`."""
    properties = {
        "slm.bundles": ":".join(map(str, options.bundles)),
        "slm.tokenizers": str(options.tokenizers or ""),
        "slm.screenshots": str(options.screenshots or options.out / "screenshots"),
        "slm.runtimes": ",".join(BUNDLES["runtimes"]),
        "java.library.path": str(libraries),
        "robolectric.offline": "true",
        "robolectric.dependency.dir": str(framework(options).parent),
        "robolectric.usePreinstrumentedJars": "false",
        "robolectric.enabledSdks": VERSIONS["compileSdk"],
    }
    crash = ["-XX:-CreateCoredumpOnCrash", f"-XX:ErrorFile={options.out}/crash-%p.log"]
    return ["-Xmx2g", *crash, *(f"-D{name}={value}" for name, value in properties.items() if value)]


def _run(options: Options, suite: str, classpath: Sequence[Path], libraries: Path) -> Result:
    report, started = options.out / f"reports/TEST-{suite}.xml", time.monotonic()
    environment = {"LD_PRELOAD": f"{libraries}/{natives.PRELOAD}", "LD_LIBRARY_PATH": str(libraries)}
    command = [*_arguments(options, libraries), "RunSuite", suite, report]
    ended = ""
    try:
        with _log(options, suite).open("w") as log:
            java(classpath, *command, environment=environment, timeout=MOST_SECONDS, stdout=log, stderr=log)
    except subprocess.CalledProcessError as error:
        ended = f"the JVM ended with {error.returncode}"
    except subprocess.TimeoutExpired:
        ended = f"not done after {MOST_SECONDS} s"
    counts = _counts(report) if report.exists() else Counter()
    seconds = time.monotonic() - started
    failed, skipped = counts["failure"], counts["skipped"]
    ran = counts["passed"] + failed
    return Result(suite=suite, ran=ran, failed=failed, skipped=skipped, seconds=seconds, ended=ended)


def _log(options: Options, suite: str) -> Path:
    """What a suite printed, the runtimes' own lines too."""
    return options.out / f"reports/{suite}.txt"


def _counts(report: Path) -> Counter[str]:
    cases = ET.parse(report).getroot()
    return Counter(next((child.tag for child in case), "passed") for case in cases)
