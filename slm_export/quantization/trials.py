"""Trials of a search on disk: a line each, written when it is known, so that an interrupted search goes on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from slm_export.quantization.search import Trial
from slm_export.records import from_json, to_json


class TrialStore:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Trial] = {}
        for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
            if (stored := _parsed(line)) is not None:
                self._known[stored["key"]] = from_json(Trial, stored["trial"])

    def get(self, key: str) -> Trial | None:
        return self._known.get(key)

    def put(self, key: str, trial: Trial) -> None:
        self._known[key] = trial
        with self._path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps({"key": key, "trial": to_json(trial)}) + "\n")


def _parsed(line: str) -> Any | None:
    """None of half a line, which a killed run left: its trial is made again."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def key_of(*parts: Any) -> str:
    """Of everything a trial's outcome depends on: records and plain JSON types."""
    return hashlib.sha256(json.dumps([to_json(p) for p in parts], sort_keys=True).encode()).hexdigest()
