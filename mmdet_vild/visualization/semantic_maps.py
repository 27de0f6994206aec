"""How a map of labels is drawn: colours, outlines, and where a name fits."""

import colorsys

import cv2
import numpy as np

#: Of the colours over the picture.
OPACITY = 0.55
#: A step of hue after which many neighbours in a list of words differ: that of the golden angle.
HUE_STEP = 0.618034
#: Saturation and value, in turn, so that words of near hues differ too.
SHADES = ((0.85, 0.95), (0.55, 1.0), (1.0, 0.65))
#: Areas of a smaller share of the picture have their name in the legend alone.
NAMED_SHARE = 0.01


def label_color(label: int) -> tuple[int, int, int]:
    """RGB of a label, the same in every picture, however many words there are."""
    saturation, value = SHADES[label % len(SHADES)]
    rgb = colorsys.hsv_to_rgb(label * HUE_STEP % 1, saturation, value)
    return tuple(round(255 * channel) for channel in rgb)


def shares(seg_map: np.ndarray, ignore_index: int) -> dict[int, float]:
    """Label -> its share of the pixels that have one, the largest first.

    Args:
        seg_map: (H, W) labels.
        ignore_index: Of pixels that have none.
    """
    labels, counts = np.unique(seg_map[seg_map != ignore_index], return_counts=True)
    order = np.argsort(-counts, kind='stable')
    return {int(labels[i]): float(counts[i] / counts.sum()) for i in order}


def painted(image: np.ndarray, seg_map: np.ndarray, labels: list[int]) -> np.ndarray:
    """A picture under the colours of labels, with white lines between them.

    Args:
        image: (H, W, 3) uint8, RGB.
        seg_map: (H, W) labels; others than those of ``labels`` leave the picture as it is.
        labels: Those that are painted.
    """
    result = image.astype(np.float32)
    for label in labels:
        mask = seg_map == label
        result[mask] += OPACITY * (np.array(label_color(label), np.float32) - result[mask])
    edges = np.zeros(seg_map.shape, bool)
    edges[1:] |= seg_map[1:] != seg_map[:-1]
    edges[:, 1:] |= seg_map[:, 1:] != seg_map[:, :-1]
    result[edges] += 0.8 * (255 - result[edges])
    return result.round().astype(np.uint8)


def name_place(mask: np.ndarray) -> tuple[float, float, float]:
    """The point of an area that is farthest from its border: x, y, and how far that is.

    Args:
        mask: (H, W) bool, with a pixel at least.
    """
    padded = np.pad(mask.astype(np.uint8), 1)  # the border of the picture is one too
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return float(x), float(y), float(distance[y, x])
