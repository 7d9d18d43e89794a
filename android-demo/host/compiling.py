"""Resources by aapt2, Kotlin by its compiler: the app, its tests and its instrumented tests."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import archive
import maven
from manifest import write_merged
from project import APP, BUNDLES, DROPPED, JVM_TARGET, NAMESPACE, VERSIONS, coordinates, setting, sources
from runtimes import Runtimes
from steps import Options, fresh, java, run, step


def framework(options: Options) -> Path:
    """Android's own classes and resources; with the code, unlike the SDK's android.jar."""
    return maven.classes(options, alone=coordinates("android-all"))[0]


def aapt2(options: Options) -> Path:
    tool = options.cache / "aapt2"
    if not tool.exists():
        (jar,) = maven.classes(options, alone=coordinates("apktool"))
        with zipfile.ZipFile(jar) as package:
            tool.write_bytes(package.read("prebuilt/linux/aapt2"))
        tool.chmod(0o755)
    return tool


def assets(options: Options) -> dict[str, Path]:
    """What the APK has under assets/: the app's, what is in the models' folders, and each bundle as slm/<its name>/."""
    folders = [("", folder) for folder in [APP / "src/main/assets", *(options.models or DROPPED)]]
    folders += [(f"slm/{bundle.name}/", bundle) for bundle in options.bundles]
    return {
        prefix + path.relative_to(folder).as_posix(): path
        for prefix, folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


def resources(options: Options, runtimes: Runtimes) -> Path:
    """A folder with the compiled manifest and resources, as an APK has them (binary.ap_) and as an AAB (proto.ap_)."""
    made = options.out / "resources"
    res, written, android = APP / "src/main/res", APP / "src/main/AndroidManifest.xml", framework(options)

    def make() -> None:
        manifest, compiled = fresh(made) / "AndroidManifest.xml", made / "compiled.zip"
        write_merged(manifest, runtimes.aars)
        run(aapt2(options), "compile", "--dir", res, "-o", compiled)
        version = ["--version-code", setting("versionCode"), "--version-name", setting("versionName")]
        link = [aapt2(options), "link", "-I", android, "--manifest", manifest, *version, compiled]
        run(*link, "-o", made / "binary.ap_", "--java", made / "gen")
        run(*link, "-o", made / "proto.ap_", "--proto-format")

    manifests = [path for aar in runtimes.aars for path in aar.glob("AndroidManifest.xml")]
    said = [VERSIONS, *(setting(name) for name in ("applicationId", "versionCode", "versionName"))]
    return step(options, "resources", [res, written, android, *manifests, *said], made, make)


def with_assets(options: Options, package: Path) -> Path:
    """Manifest, resources and assets in one file, which Robolectric reads."""
    made = options.out / "with-assets.ap_"
    entries = assets(options)

    def make() -> None:
        archive.write(made, {**archive.read(package), **{f"assets/{name}": path for name, path in entries.items()}})

    return step(options, "assets", [package, *entries, *entries.values()], made, make)


def app_classes(options: Options, runtimes: Runtimes) -> Path:
    made, generated = options.out / "classes", resources(options, runtimes) / "gen"
    classpath = [*runtimes.jars, framework(options)]

    def make() -> None:
        fresh(made)
        run("javac", "--release", JVM_TARGET, "-d", made, *generated.rglob("R.java"))
        _kotlin(options, sources("main"), [made, *classpath], made)

    return step(options, "compile", [*sources("main"), generated, *classpath], made, make)


def unit_tests(options: Options, runtimes: Runtimes) -> tuple[Path, Sequence[Path]]:
    """Classes of the tests, and what they run with."""
    made, app = options.out / "test-classes", app_classes(options, runtimes)
    jars = maven.classes(options, coordinates(*BUNDLES["test"]))
    # android-all has another org.json, and real code where the SDK has stubs: it comes last
    classpath = list(dict.fromkeys([app, *jars, *runtimes.jars, framework(options)]))
    runner = Path(__file__).with_name("RunSuite.java")

    def make() -> None:
        fresh(made)
        run("javac", "--release", JVM_TARGET, "-cp", ":".join(map(str, classpath)), "-d", made, runner)
        _kotlin(options, sources("test"), classpath, made, friend=app)

    return step(options, "compile tests", [*sources("test"), *classpath], made, make), classpath


def instrumented_tests(options: Options, runtimes: Runtimes) -> Path:
    """They need a device to run: here it is only proven that they compile."""
    made, app = options.out / "android-test-classes", app_classes(options, runtimes)
    # alone: their poms call the AARs that they need jars
    named = [f"{c}@aar" if c.startswith("androidx.") else c for c in coordinates(*BUNDLES["android-test"])]
    jars = maven.classes(options, alone=named)
    classpath = [app, *jars, *runtimes.jars, framework(options)]

    def make() -> None:
        fresh(made)
        if sources("androidTest"):
            _kotlin(options, sources("androidTest"), classpath, made, friend=app)

    return step(options, "compile androidTest", [*sources("androidTest"), *classpath], made, make)


def _kotlin(
    options: Options, files: Iterable[Path], classpath: Sequence[Path], target: Path, friend: Path | None = None
) -> None:
    arguments: list[Any] = [
        "-no-stdlib", "-no-reflect", "-jvm-target", JVM_TARGET, "-Werror", "-module-name", f"{NAMESPACE}.{target.name}",
        # the SDK's android.jar says less about null than the framework itself
        "-Xnullability-annotations=@android.annotation:ignore",
        *([f"-Xfriend-paths={friend}"] if friend else []),
        "-cp", ":".join(map(str, classpath)), "-d", target, *files,
    ]  # fmt: skip
    compiler = maven.classes(options, coordinates("kotlin-compiler"))
    java(compiler, "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", *arguments)
