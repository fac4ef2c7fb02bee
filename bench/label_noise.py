"""How much of an interval's width is the labels' own: the figures of docs/trust.md, from a reference file and a report.

    python bench/label_noise.py shared/data/reference/noise_floor_estimate.json --report evaluation/report.json

The reference file holds, as published, an open network's root mean square error against single readings and against
means of six readers, and what a mean of six readers scatters by; the report of `carpal evaluate` holds ours.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

NORMAL_90 = 1.645
"""90 % of a normal distribution lie within so many SD of its mean."""
READER_SD = 6.96
"""0.58 years: the SD of a single reader."""


def label_sd(single_rmse: float, mean_rmse: float) -> float:
    """Months by which single readings scatter: what an error against them has more than one against several readers."""
    return math.sqrt(single_rmse**2 - mean_rmse**2)


def width(sd: float) -> float:
    """Months between the ends of the narrowest interval that holds 90 % of labels that scatter by `sd`."""
    return 2 * NORMAL_90 * sd


def share(sd: float, rmse: float) -> float:
    """Which part of a network's squared error against single readings is the readings' own."""
    return (sd / rmse) ** 2


def figures(reference: dict[str, Any], rmse: float | None = None) -> dict[str, float]:
    """All figures by name, months or a share; that of a network only where its root mean square error is given."""
    published = reference["label_noise_OOF_vs_test"]
    sd = label_sd(published["OOF_RMSE_single_reports"], published["test_RMSE_six_rater"])
    six = reference[f"single_rater_sd_{READER_SD}_months"]["sd_of_mean_of_6"]
    found = {
        "SD of a single label": sd,
        "the same, from a single reader's SD of 0.58 years": label_sd(READER_SD, six),
        "90 % width of a perfect network, single labels": width(sd),
        "90 % width of a perfect network, means of six readers": width(six),
    }
    return found if rmse is None else found | {"share of the labels in our squared error": share(sd, rmse)}


def main() -> None:
    """Prints one figure a line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reference", type=Path, help="noise_floor_estimate.json")
    parser.add_argument("--report", type=Path, help="report.json of `carpal evaluate` on single readings")
    arguments = parser.parse_args()
    reference = json.loads(arguments.reference.read_text(encoding="utf-8"))
    rmse = None if arguments.report is None else json.loads(arguments.report.read_text(encoding="utf-8"))["rmse"]
    for name, value in figures(reference, rmse).items():
        print(f"{name}: {value:.2f}")


if __name__ == "__main__":
    main()
