"""What a process takes, as Linux counts it, for tests that put a bound on it: memory at its peak, seconds of CPU."""

from __future__ import annotations

import os
from pathlib import Path


def peak_mb(pid: int | str = "self") -> float:
    """The most resident memory since the process began, or since `forget_peak`."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def forget_peak(pid: int | str = "self") -> float:
    """Counts anew from now; returns what the process holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak_mb(pid)


def cpu_seconds(pid: int | str = "self") -> float:
    """What it has computed so far: unlike the clock, the same on a busy machine."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
