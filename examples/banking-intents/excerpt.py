"""Cut calibration.csv and eval.csv, the excerpts beside this file, from Banking77.

    python excerpt.py TRAIN.csv TEST.csv

Stratified by intent; rows that are in both files are left out of the first.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from slm_export.calibration.samples import Sample, read_samples
from slm_export.calibration.sampling import overlap, stratified

HERE = Path(__file__).parent


def write(name: str, samples: list[Sample]) -> None:
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["text", "category"])
        writer.writerows([s.text.strip(), s.label] for s in samples)


train, test = (list(read_samples(Path(p)).samples) for p in sys.argv[1:3])
judge = stratified(test, size=1000, seed=0)
leaked = {s.line for s in overlap(train, test)}
write("calibration.csv", stratified([s for s in train if s.line not in leaked], size=500, seed=0))
write("eval.csv", judge)
