"""Where the labels of boxes go, so that they can be read."""

import numpy as np

#: How many rows of text a label may move away from the corner of its box.
_ROWS = 12


def place_labels(boxes: np.ndarray, sizes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Put each label at its box, inside the picture, where it covers earlier labels least.

    A label begins on top of its box, at the left; if others are in the way, it moves to the
    right end of the box and by its own height up or down.

    Args:
        boxes: (n, 4) ``x1, y1, x2, y2`` in pixels, the most important first.
        sizes: (n, 2) widths and heights of their labels in pixels.
        width, height: Of the picture.

    Returns:
        (n, 4) the rectangles of the labels. One larger than the picture begins at its edge.
    """
    steps = np.array(sorted(range(-_ROWS, _ROWS + 1), key=abs))
    placed = np.zeros((0, 4))
    for (x1, y1, x2, _), (w, h) in zip(boxes, sizes, strict=True):
        left = np.clip([x1, x2 - w], 0, max(width - w, 0))
        top = np.clip(y1 - h + steps * h, 0, max(height - h, 0))
        x, y = (grid.ravel() for grid in np.meshgrid(left, top))
        candidates = np.stack([x, y, x + w, y + h], axis=1)
        best = candidates[np.argmin(_overlaps(candidates, placed))]  # the nearest among equals
        placed = np.concatenate([placed, best[None]])
    return placed


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many pixels (n,) of each box the others cover, counted for each of them."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=2).sum(axis=1)
