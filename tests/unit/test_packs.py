"""Archives, constants and Maven repositories of packs. e2e/test_pack.py makes whole ones."""

import shutil
import subprocess
import zipfile

import pytest

from slm_export.bundle.packs import archive, constants
from slm_export.bundle.packs.android import coordinates
from slm_export.errors import UsageError

CONSTANTS = {
    "NAME": "a model", "MAX_LENGTH": 128, "NEGATIVE": -1, "NONE": (),
    "LABELS": ("ja", 'nein, "danke"', "späti\n", "naïve 🙂", "nul\0", "back\\slash", "$dollar"),
}  # fmt: skip
PRINT = """
import java.util.*;
class Print {
    public static void main(String[] args) throws Exception {
        StringBuilder out = new StringBuilder();
        for (var field : Class.forName(args[0]).getFields()) {
            Object value = field.get(null);
            if (!(value instanceof String[])) value = new String[] {String.valueOf(value)};
            out.append(field.getName());
            for (String part : (String[]) value) {
                out.append("|");
                part.chars().forEach(unit -> out.append(unit).append(","));
            }
            out.append("\\n");
        }
        System.out.print(out);
    }
}
"""


def units(text):
    data = str(text).encode("utf-16-le")
    return "".join(f"{data[i] + 256 * data[i + 1]}," for i in range(0, len(data), 2))


def printed():
    parts = {k: v if isinstance(v, tuple) else (v,) for k, v in CONSTANTS.items()}
    return "".join(f"{k}{''.join('|' + units(part) for part in v)}\n" for k, v in parts.items())


@pytest.mark.skipif(not shutil.which("javac"), reason="no Java here")
@pytest.mark.parametrize("how", ["compiled", "source"])
def test_a_class_of_constants_is_read_by_java_as_it_was_meant(tmp_path, how):
    """Verified by the virtual machine, and the source compiles to the same values."""
    (tmp_path / "Print.java").write_text(PRINT)
    home = tmp_path / "com/example"
    home.mkdir(parents=True)
    sources = ["Print.java"]
    if how == "compiled":
        (home / "Known.class").write_bytes(constants.compiled("com.example", "Known", CONSTANTS))
    else:
        (home / "Known.java").write_text(constants.source("com.example", "Known", CONSTANTS))
        sources.append("com/example/Known.java")
    subprocess.run(["javac", "-cp", ".", *sources], cwd=tmp_path, check=True)
    command = ["java", "-Xverify:all", "-cp", ".", "Print", "com.example.Known"]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout == printed()


def test_what_a_class_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="4001 strings"):
        constants.compiled("a.b", "C", {"LABELS": ("x",) * 4001})
    with pytest.raises(ValueError, match="more than 65,535"):
        constants.compiled("a.b", "C", {"NAME": "x" * 70000})


@pytest.mark.parametrize(
    ("name", "made"),
    [("banking-intents", "BankingIntents"), ("7b_chat", "Model7bChat"), ("模型", "Model"), ("a.b", "AB")],
)
def test_a_models_name_gives_a_class_name(name, made):
    assert constants.class_name(name) == made


@pytest.mark.parametrize(
    ("name", "made"), [("banking-intents", "banking_intents"), ("7b-chat", "model_7b_chat"), ("new", "model_new")]
)
def test_a_models_name_gives_a_package_that_java_takes(name, made):
    assert constants.package_name(coordinates(name, "com.example", "1.0").artifact) == made


def test_labels_that_no_class_can_hold_are_told_apart():
    assert constants.can_hold(("short",) * constants.MOST_ELEMENTS)
    assert not constants.can_hold(("short",) * (constants.MOST_ELEMENTS + 1))
    assert not constants.can_hold(("ä" * 40_000,))


def test_a_group_with_a_java_keyword_is_refused():
    with pytest.raises(UsageError, match="is no Java package"):
        coordinates("model", "com.new.models", "1.0")


def test_an_archive_is_the_same_bytes_twice_and_models_begin_at_a_page(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(bytes(range(256)) * 300)
    files = {"b/model.onnx": model, "a.txt": b"text " * 99, "z/other.onnx": b"1234"}
    for name in ("one.zip", "two.zip"):
        archive.write(tmp_path / name, dict(reversed(files.items())), stored=(".onnx",))
        files = dict(reversed(files.items()))
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    data = (tmp_path / "one.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as made:
        assert made.testzip() is None and made.namelist() == ["a.txt", "b/model.onnx", "z/other.onnx"]
        for name, content in files.items():
            info = made.getinfo(name)
            assert made.read(name) == (content if isinstance(content, bytes) else content.read_bytes())
            assert info.date_time == (1980, 1, 1, 0, 0, 0) and info.external_attr >> 16 == 0o100644
            start = info.header_offset + 30 + int.from_bytes(data[info.header_offset + 26 :][:2], "little")
            start += int.from_bytes(data[info.header_offset + 28 :][:2], "little")
            assert (info.compress_type == zipfile.ZIP_STORED) == name.endswith(".onnx")
            assert not name.endswith(".onnx") or (
                start % archive.PAGE == 0 and data[start : start + 4] in (b"1234", bytes(range(4)))
            )


@pytest.mark.parametrize(
    ("group", "version"), [("models", "1.0.0"), ("Com.Example", "1"), ("a.b", ""), ("a.b", "../1")]
)
def test_coordinates_that_gradle_would_not_take_are_refused(group, version):
    with pytest.raises(UsageError):
        coordinates("a model", group, version)
