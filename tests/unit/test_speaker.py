"""What is told while a run lasts."""

from slm_export.commands import speaker


def test_a_log_hears_of_a_long_stage_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(speaker.time, "monotonic", lambda: now[0])
    say = speaker.Speaker(quiet=False)
    say.started("prepare")
    for done in range(1, 101):
        now[0] += 1
        say.progress("rounding weights to 4 bits", done, 100)
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "prepare: rounding weights to 4 bits 30/100, 30 s so far",
        "prepare: rounding weights to 4 bits 60/100, 60 s so far",
        "prepare: rounding weights to 4 bits 90/100, 90 s so far",
    ]
    assert told.out == ""


def test_a_short_stage_says_nothing_before_it_is_finished(capsys):
    say = speaker.Speaker(quiet=False)
    say.started("prepare")
    say.progress("loading the reference", 0, 1)
    assert capsys.readouterr().err == ""
