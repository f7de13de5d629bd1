# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Colours of instances, the same in all pictures and files."""
from typing import Tuple

Color = Tuple[int, int, int]

# Okabe and Ito's colours and seven more that a search has put as far as
# possible from them and from each other, for normal colour vision and for the
# three kinds of colour blindness (Machado et al. 2009). BGR.
PALETTE: Tuple[Color, ...] = ((0, 159, 230), (233, 180, 86), (115, 158, 0),
                              (66, 228, 240), (178, 114, 0), (0, 94, 213),
                              (167, 121, 204), (238, 17, 136), (136, 238, 187),
                              (17, 0, 153), (170, 51, 68), (102, 17, 136),
                              (204, 255, 0), (255, 119, 153))


def instance_color(instance_id: int) -> Color:
    """Colour of an instance, the same in every frame and every run.

    Args:
        instance_id (int): Id inside the video, not negative.

    Returns:
        tuple[int, int, int]: BGR in [0, 255].
    """
    return PALETTE[instance_id % len(PALETTE)]
