"""The 17 regions of the hand: the only list of them. Order, names, groups and colours.

Names use the field's terms: MCP metacarpophalangeal, PIP proximal interphalangeal (PIP1 is the interphalangeal joint of
the thumb), DIP distal interphalangeal; digit 1 is the thumb. They do not depend on the side: MCP1 is the thumb's in a
left and in a right hand, so mirroring a radiograph moves the boxes and keeps the names.
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
