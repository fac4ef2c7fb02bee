"""The mean hand: where the 17 regions lie to each other, in the order of `anatomy.REGIONS`.

x and y about their middle, y downwards, fingers up, thumb to the right; the root mean square distance from the middle
is 1. Mean after alignment by shift, turn, size and mirror image (generalised Procrustes analysis) over the annotated
RSNA hands outside fold 0 (`tests/test_shared.py` makes it again).
"""

from __future__ import annotations

from typing import Final

MEAN_HAND: Final = (
    (0.913, 0.521),  # MCP1
    (0.418, -0.033),  # MCP2
    (0.034, -0.010),  # MCP3
    (-0.289, 0.133),  # MCP4
    (-0.571, 0.324),  # MCP5
    (1.144, 0.100),  # PIP1
    (0.491, -0.660),  # PIP2
    (-0.004, -0.723),  # PIP3
    (-0.437, -0.509),  # PIP4
    (-0.824, -0.107),  # PIP5
    (0.521, -1.017),  # DIP2
    (-0.036, -1.157),  # DIP3
    (-0.517, -0.918),  # DIP4
    (-0.952, -0.368),  # DIP5
    (0.188, 1.580),  # Radius
    (-0.201, 1.643),  # Ulna
    (0.123, 1.201),  # Wrist
)
