"""run --executor adb, against an adb that replays a protocol and fails on any other call (tests/fake_adb.py)."""

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import slm_export
from slm_export.devices import adb as bridge
from slm_export.errors import DependencyError, DeviceError, InputError, UsageError, VerificationError
from slm_export.records import read_json
from tests.conftest import ROOT, Cli
from tests.devices import FILES, report_of, write_bundle

PROTOCOL = read_json(ROOT / "tests/adb/protocol.json")
HOME = "/sdcard/Android/data/dev.slmexport.demo/files/selftest"


@pytest.fixture
def bundle(tmp_path):
    write_bundle(tmp_path / "tiny-android-arm64")
    return tmp_path / "tiny-android-arm64"


@dataclass
class Fake:
    folder: Path
    bundle: Path

    @property
    def path(self):
        return str(self.folder / "adb")

    def plays(self, *steps, report=None):
        """Replays `steps`: by default all of the protocol, at whose end `report` is on the device."""
        text = json.dumps(list(steps or PROTOCOL)).replace("{bundle}", str(self.bundle))
        (self.folder / "protocol.json").write_text(text)
        text = report if isinstance(report, str) else json.dumps(report or report_of(self.bundle))
        (self.folder / "report.json").write_text(text)
        return self

    def test(self, **options):
        settings = {"adb": self.path, "serial": None, "poll_s": 0.01, "timeout_s": 20.0, **options}
        return slm_export.self_test(self.bundle, **settings)

    def ended(self):
        """Every call was expected, all were made, and nothing is left on the device."""
        assert not (self.folder / "unexpected").exists(), (self.folder / "unexpected").read_text()
        assert read_json(self.folder / "state.json")["at"] == len(read_json(self.folder / "protocol.json"))
        assert not list((self.folder / "device" / HOME.lstrip("/")).glob("*"))


@pytest.fixture
def fake(tmp_path, bundle):
    folder = tmp_path / "fake"
    folder.mkdir()
    script = shlex.join([sys.executable, "-S", str(ROOT / "tests/fake_adb.py"), str(folder)])
    (folder / "adb").write_text(f'#!/bin/sh\nexec {script} "$@"\n')
    (folder / "adb").chmod(0o755)
    return Fake(folder, bundle)


def named(name):
    return next(step for step in PROTOCOL if step["name"] == name)


def until(name, *instead, cleaned=True):
    """The protocol up to the call `name`, then other ones, then what tidies up."""
    at = PROTOCOL.index(named(name))
    return [*PROTOCOL[:at], *instead, *([named("remove")] if cleaned else [])]


def other(name, **answer):
    """The call `name`, answered otherwise: without an exit code it fails."""
    return {"argv": named(name)["argv"], "exit": 1, **answer}


def shell(command, **answer):
    return {"argv": ["-s", "emulator-5554", "shell", command], **answer}


def test_a_bundle_is_pushed_tested_and_gone_from_the_device(fake):
    done = fake.plays().test()
    assert done.serial == "emulator-5554" and done.app == "1.0" and done.device.model == "Pixel 8"
    assert [(o.path, o.passed) for o in done.artifacts] == [(path, True) for path in FILES.values()]
    pushed = fake.folder / "seen/slm/tiny-android-arm64"
    held = {p.relative_to(fake.bundle): p.read_bytes() for p in fake.bundle.rglob("*") if p.is_file()}
    assert {p.relative_to(pushed): p.read_bytes() for p in pushed.rglob("*") if p.is_file()} == held
    fake.ended()


def test_the_command_prints_a_table_and_keeps_the_report(fake, tmp_path):
    done = Cli(tmp_path).ok("run", fake.plays().bundle, "--executor", "adb", "--adb", fake.path, "--report", "r.json")
    assert "Google Pixel 8 (emulator-5554), Android 15 (API 35), arm64-v8a; demo app 1.0" in done.stdout
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith("onnx/"))
    assert row == [
        "onnx/model.onnx",
        "w8a8-dynamic",
        "onnx",
        "1.2.3",
        "2/2",
        "0.998700",
        "0.010000",
        "42",
        "3.2",
        "pass",
    ]
    assert "pushing 5 files" in done.stderr
    assert read_json(tmp_path / "r.json") == report_of(fake.bundle)
    fake.ended()


def test_adb_and_the_device_may_be_named_in_the_environment(fake, tmp_path):
    both = {**named("devices"), "stdout": "List of devices attached\nR3\tdevice\nemulator-5554\tdevice\n\n"}
    fake.plays(both, *PROTOCOL[1:])
    env = {"ADB": fake.path, "ANDROID_SERIAL": "emulator-5554"}
    done = Cli(tmp_path).ok("run", fake.bundle, "--executor", "adb", "--json", "--format", "onnx", env=env)
    told = json.loads(done.stdout)
    assert told["serial"] == "emulator-5554" and told["device"]["sdk"] == 35
    assert [(a["path"], a["verdict"], a["report"]["cases"]) for a in told["artifacts"]] == [
        ("onnx/model.onnx", "pass", 2)
    ]
    fake.ended()


@pytest.mark.parametrize(
    ("changes", "verdict", "code", "why"),
    [
        ({"min_cosine": 0.98}, "fail", 5, "cosine to the recorded output 0.980000, must be >= 0.99"),
        ({"files": []}, "not proven", 7, "the device does not tell the SHA-256 of onnx/model.onnx"),
    ],
)
def test_what_fails_is_printed_and_has_its_exit_code(fake, tmp_path, changes, verdict, code, why):
    fake.plays(report=report_of(fake.bundle, **changes))
    done = Cli(tmp_path)("run", fake.bundle, "--executor", "adb", "--adb", fake.path)
    assert done.returncode == code and f"FAIL onnx/model.onnx: {why}" in done.stdout, done.stdout + done.stderr
    assert next(line for line in done.stdout.splitlines() if line.startswith("onnx/")).endswith(verdict)
    assert "where: onnx/model.onnx" in done.stderr
    fake.ended()


def test_options_of_another_executor_are_refused(cli):
    done = cli("run", "b", "a text", "--executor", "adb", "--most", "3")
    assert done.returncode == 2 and "--executor adb knows no TEXT, --most" in done.stderr
    done = cli("run", "b", "a text", "--apk", "x.apk")
    assert done.returncode == 2 and "--executor host knows no --apk" in done.stderr
    done = cli("run", "b")
    assert done.returncode == 2 and "there is no TEXT to answer" in done.stderr


def listed(*lines):
    return {**named("devices"), "stdout": "\n".join(["List of devices attached", *lines, "", ""])}


NO_PORT = "R3\tno permissions (missing udev rules? user is in the plugdev group); see [http://developer.android.com]"
DEVICES = {
    "none": ([listed()], DeviceError, "adb sees no device"),
    "several": ([listed("R3\tdevice", "R4\tdevice")], UsageError, "--serial"),
    "unauthorized": ([listed("R3\tunauthorized")], DeviceError, "accept the question about USB debugging"),
    "offline": ([listed("R3\toffline")], DeviceError, "adb reconnect"),
    "no permissions": ([listed(NO_PORT)], DeviceError, "udev"),
    "something else": ([listed("R3\tsideload")], DeviceError, "it is 'sideload'"),
    "no server": (
        [{**named("devices"), "stdout": "", "stderr": "adb: failed to check server version\n", "exit": 1}],
        DeviceError, "failed to check server version"),
}  # fmt: skip


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_that_cannot_be_used_is_told(fake, name):
    steps, kind, told = DEVICES[name]
    with pytest.raises(kind, match="next: ") as caught:
        fake.plays(*steps).test()
    assert told in str(caught.value)
    fake.ended()


def test_a_device_that_is_named_and_not_there_is_told_with_the_nearest(fake):
    with pytest.raises(UsageError, match="did you mean 'emulator-5554'"):
        fake.plays(PROTOCOL[0]).test(serial="emulator-5556")


def test_a_report_that_is_none_is_kept_and_gone_from_the_device(fake, tmp_path):
    with pytest.raises(VerificationError, match="it begins b'Segmentation fault'"):
        fake.plays(report="Segmentation fault").test(keep=tmp_path / "kept.json")
    assert (tmp_path / "kept.json").read_text() == "Segmentation fault"
    fake.ended()


GONE = shell("pidof dev.slmexport.demo", exit=1)
CRASH = "FATAL EXCEPTION: main\nProcess: dev.slmexport.demo\njava.lang.OutOfMemoryError: Failed\n\tat dev.slmexport"
LOG = shell("logcat -b crash -d -v raw --pid=4242", stdout=f"--------- beginning of crash\n{CRASH}\n")
FULL = "adb: error: failed to copy 'model.onnx' to '/sdcard/...': remote write failed: No space left on device\n"
NO_ACTIVITY = (
    "Starting: Intent\nError type 3\nError: Activity class {dev.slmexport.demo/.ui.MainActivity} does not exist.\n"
)
FAILING = {  # what is replayed, and what must be told: what, why, next step
    "not installed": (until("installed", other("installed"), cleaned=False), "is not on the device", None, "--apk"),
    "folder": (until("mkdir", other("mkdir", stderr="mkdir: Permission denied\n")), "app's folder", "denied", "start"),
    "full": (until("push onnx/model.onnx", other("push onnx/model.onnx", stderr=FULL)), "full", "takes 0 MB", "free"),
    "push": (until("push golden.json", other("push golden.json", stderr="adb: error: failed to copy: broken pipe\n")),
             "golden.json could not be copied", "broken pipe", "shell ls"),
    "unplugged": (until("absent", other("absent", stderr="error: device 'emulator-5554' not found\n")),
                  "adb lost the device", "not found", "plug it in"),
    "no activity": (until("start", other("start", exit=0, stdout=NO_ACTIVITY)),
                    "does not start", "does not exist", "--apk FILE"),
    "crash": (until("there", named("absent"), GONE, named("absent"), LOG), "ended before it had tested",
              "FATAL EXCEPTION: main; Process: dev.slmexport.demo; java.lang.OutOfMemoryError: Failed", "logcat"),
    "killed": (until("absent", named("absent"), GONE, named("absent")), "ended before", "out of memory", "--format"),
    "unreadable": (until("read", other("read", stderr="cat: Permission denied\n")), "cannot be read", "denied", "run"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILING)
def test_what_goes_wrong_on_the_device_is_told_and_nothing_is_left_there(fake, name):
    steps, what, why, mend = FAILING[name]
    with pytest.raises(DeviceError) as caught:
        fake.plays(*steps).test()
    error = caught.value
    assert what in error.what and error.where and mend in error.next_step and (why is None or why in error.why), error
    assert error.exit_code == 3
    fake.ended()


def test_a_device_that_takes_too_long_is_told(fake):
    waiting = [named("absent"), named("alive")]
    with pytest.raises(DeviceError, match="did not report within 0 seconds") as caught:
        fake.plays(*until("absent", *waiting)).test(timeout_s=0)
    assert "--timeout" in caught.value.next_step
    fake.ended()


def test_an_app_that_wrote_its_report_and_went_has_reported(fake):
    fake.plays(*until("alive", GONE, named("there"), named("there"), named("read")))
    assert all(o.passed for o in fake.test().artifacts)
    fake.ended()


def test_an_adb_that_hangs_is_given_up(fake, monkeypatch):
    monkeypatch.setattr(bridge, "SHORT_S", 0.5)
    with pytest.raises(DeviceError, match="did not answer within"):
        fake.plays({**named("devices"), "effect": "hang"}).test()


def test_what_could_not_be_removed_is_told_beside_the_first_error(fake):
    said = []
    steps = until(
        "start", other("start", stderr="error: device offline\n"), other("remove", stderr="error: device offline\n")
    )
    with pytest.raises(DeviceError, match="adb lost the device"):
        fake.plays(*steps[:-1]).test(say=said.append)
    assert said[-1].startswith(f"left on the device: {HOME}/") and "shell rm -rf" in said[-1]


def test_an_app_that_was_never_started_is_started_once_for_its_folder(fake):
    first = [other("home", stderr="ls: No such file or directory\n"), named("stop"),
             shell("am start -W -n dev.slmexport.demo/.ui.MainActivity", stdout="Status: ok\n")]  # fmt: skip
    at = PROTOCOL.index(named("mkdir"))
    fake.plays(*until("home", *first, cleaned=False), *PROTOCOL[at:]).test()
    fake.ended()


def test_an_app_can_be_installed_first(fake, tmp_path):
    (tmp_path / "demo.apk").write_bytes(b"PK")
    install = {"argv": ["-s", "emulator-5554", "install", "-r", str(tmp_path / "demo.apk")]}
    fake.plays(PROTOCOL[0], {**install, "stdout": "Performing Streamed Install\nSuccess\n"}, *PROTOCOL[1:])
    assert all(o.passed for o in fake.test(apk=tmp_path / "demo.apk").artifacts)
    fake.ended()
    (fake.folder / "state.json").unlink()
    refused = "adb: failed to install demo.apk: Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: signatures do not match]\n"
    with pytest.raises(DeviceError, match="INSTALL_FAILED_UPDATE_INCOMPATIBLE") as caught:
        fake.plays(PROTOCOL[0], {**install, "stderr": refused, "exit": 1}).test(apk=tmp_path / "demo.apk")
    assert "uninstall dev.slmexport.demo" in caught.value.next_step


def test_before_a_device_is_asked_what_is_wrong_here_is_told(fake, bundle, tmp_path):
    fake.plays({"argv": ["nothing"]})
    with pytest.raises(UsageError, match="there is no file"):
        fake.test(apk=tmp_path / "none.apk")
    with pytest.raises(UsageError, match="there is no folder"):
        fake.test(keep=tmp_path / "none/r.json")
    with pytest.raises(InputError, match="no executorch artifact"):
        fake.test(format="executorch")
    with pytest.raises(DependencyError, match="there is no program"):
        fake.test(adb=str(tmp_path / "none"))
    (bundle / FILES["onnx"]).write_bytes(b"changed")
    with pytest.raises(VerificationError, match="not what its manifest says"):
        fake.test()
    assert not (fake.folder / "state.json").exists() and not (fake.folder / "unexpected").exists()


def test_without_adb_the_line_that_installs_it_is_told(bundle, cli):
    done = cli("run", bundle, "--executor", "adb", env={"PATH": os.path.dirname(sys.executable), "ADB": ""})
    assert done.returncode == 3 and "adb is not installed" in done.stderr and "apt-get install adb" in done.stderr


def test_the_fake_refuses_what_the_protocol_does_not_have(fake):
    fake.plays(*(s for s in PROTOCOL if s["name"] != "stop"))
    with pytest.raises(DeviceError):
        fake.test()
    assert "am force-stop" in (fake.folder / "unexpected").read_text()
