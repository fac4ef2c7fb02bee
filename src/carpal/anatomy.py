"""The 17 regions of the hand: the only list of them. Order, names, groups, colours, and where they lie to each other.

Names use the field's terms: MCP metacarpophalangeal, PIP proximal interphalangeal (PIP1 is the interphalangeal joint of
the thumb), DIP distal interphalangeal; digit 1 is the thumb. They do not depend on the side: MCP1 is the thumb's in a
left and in a right hand, so mirroring a radiograph moves the boxes and keeps the names.

The mean hand gives each region's place, in the order of `REGIONS`: x and y about their middle, y downwards, fingers up,
thumb to the right; the root mean square distance from the middle is 1. It is the mean after alignment by shift, turn,
size and mirror image (generalised Procrustes analysis) over the annotated RSNA hands outside fold 0
(`tests/test_shared.py` makes it again).
"""

from __future__ import annotations

from typing import Final

REGIONS: Final[tuple[str, ...]] = (
    *(f"MCP{digit}" for digit in range(1, 6)),
    *(f"PIP{digit}" for digit in range(1, 6)),
    *(f"DIP{digit}" for digit in range(2, 6)),
    "Radius",
    "Ulna",
    "Wrist",
)
ANNOTATED, FOUND = 1, 2
"""v of a region's point (x, y, v): somebody annotated it, or a network found it; 0 where it is unknown."""
INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(REGIONS)}

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "MCP": tuple(name for name in REGIONS if name.startswith("MCP")),
    "PIP": tuple(name for name in REGIONS if name.startswith("PIP")),
    "DIP": tuple(name for name in REGIONS if name.startswith("DIP")),
    "wrist": ("Radius", "Ulna", "Wrist"),
}
"""Kinds of region, for colours and for summaries."""

COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "MCP": (86, 180, 233),
    "PIP": (0, 158, 115),
    "DIP": (240, 228, 66),
    "wrist": (230, 159, 0),
}
"""RGB for each group, from the Okabe-Ito palette: told apart by colour-blind readers too."""

BONES: Final[tuple[tuple[str, str], ...]] = (
    *((f"MCP{digit}", f"PIP{digit}") for digit in range(1, 6)),
    *((f"PIP{digit}", f"DIP{digit}") for digit in range(2, 6)),
    *((f"MCP{digit}", "Wrist") for digit in range(1, 6)),
    ("Wrist", "Radius"),
    ("Wrist", "Ulna"),
)
"""Pairs of neighbouring regions, for drawing a hand."""


def group_of(region: str) -> str:
    """The group ("MCP", "PIP", "DIP" or "wrist") of a region's name. Raises KeyError for an unknown name."""
    if region not in INDEX:
        raise KeyError(region)
    return next(group for group, names in GROUPS.items() if region in names)


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
