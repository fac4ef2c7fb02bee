"""The ages that the released weights read from `examples/`, as `tests/test_released.py` holds them.

    python bench/golden_ages.py

Writes `tests/golden/ages.json`. Run it once where released weights are replaced, and where a reading is changed on
purpose; the commit then says by how much the ages moved. Prints old and new.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import onnxruntime

import carpal
from carpal.checkout import commit

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "ages.json"


def main() -> None:
    old = json.loads(GOLDEN.read_text(encoding="utf-8"))["months"] if GOLDEN.is_file() else {}
    engine = carpal.load("alanet", precision="fp32")  # the int8 form may round otherwise on other processors
    months: dict[str, float] = {}
    with (ROOT / "examples" / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sex = "male" if row["male"] == "True" else "female"
            found = carpal.read(ROOT / "examples" / f"{row['id']}.jpg", sex=sex, weights=engine).months
            months[row["id"]] = round(found, 3)
            print(f"{row['id']}: {old.get(row['id'], 'new')} -> {found:.3f} months (label {row['boneage']})")
    measured = {
        "command": "python bench/golden_ages.py",
        "weights": {"name": engine.model.name, "version": engine.model.version, "sha256": engine.model.sha256},
        "carpal": carpal.__version__,
        "commit": commit(),
        "onnxruntime": onnxruntime.__version__,
        "months": months,
    }
    GOLDEN.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
