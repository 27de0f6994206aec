"""Where the boxes of an original image lie after a data pipeline has warped the image.

MMDetection's Resize, RandomFlip, RandomCrop, Rotate, ShearX, ShearY, TranslateX and TranslateY
multiply what they did into ``results['homography_matrix']``; so does RandomAffine, with
``compat/random_affine.py``. Expand, MinIoURandomCrop, RandomCenterCropPad, RandomShift, CenterCrop,
Albu and the transforms that mix images leave no trace there: :func:`check_transforms` finds those
it knows in a pipeline, and :func:`check_recorded_geometry` finds what any transform did to a
sample.
"""

from collections.abc import Iterable, Iterator

import mmcv.transforms
import numpy as np
import pycocotools.mask as mask_utils
from mmdet.datasets import transforms as mmdet_transforms
from mmdet.structures.bbox import BaseBoxes

#: Transforms of MMDetection and mmcv that move pixels without recording it.
UNRECORDED = (
    *(
        getattr(mmdet_transforms, name)
        for name in (
            'CachedMixUp',
            'CachedMosaic',
            'CopyPaste',
            'Expand',
            'InstaBoost',
            'MinIoURandomCrop',
            'MixUp',
            'Mosaic',
            'RandomCenterCropPad',
            'RandomShift',
        )
    ),
    mmcv.transforms.CenterCrop,
    mmcv.transforms.Resize,
    mmcv.transforms.RandomFlip,
)
#: Those of MMDetection that do, of which mmcv's namesakes are parents.
RECORDED = (mmdet_transforms.Resize, mmdet_transforms.RandomFlip)
#: Pixels by which rounding in the recorded transforms may move a box.
TOLERANCE = 2.0
ADVICE = (
    'Use Resize, RandomResize, RandomFlip, RandomCrop, RandomAffine, Rotate, ShearX, ... of mmdet '
    'instead of Expand, MinIoURandomCrop, RandomCenterCropPad, RandomShift, CenterCrop, geometric '
    'Albu, Mosaic, MixUp or CopyPaste, or record the matrix in your own transform'
)


def project_boxes(boxes: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Project boxes through a homography.

    Args:
        boxes: (n, 4), ``x1, y1, x2, y2``.
        matrix: (3, 3), from original to network-input pixels; ``None`` is the identity.

    Returns:
        (n, 4) float64, the axis-aligned boxes around the four projected corners.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if matrix is None:
        return boxes
    if is_axis_aligned(matrix) and not matrix[2, :2].any():  # which is most of them, and quicker
        first, second = (
            boxes[:, i : i + 2] * (matrix[0, 0], matrix[1, 1]) + matrix[:2, 2] for i in (0, 2)
        )
        ends = np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)
        return ends / matrix[2, 2]
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]  # (n, 4 corners, xy)
    ones = np.ones((*corners.shape[:2], 1))
    projected = np.concatenate([corners, ones], axis=2) @ np.asarray(matrix, dtype=np.float64).T
    projected = projected[..., :2] / projected[..., 2:]
    return np.concatenate([projected.min(axis=1), projected.max(axis=1)], axis=1)


def is_axis_aligned(matrix: np.ndarray) -> bool:
    """Whether a homography (3, 3) neither rotates nor shears."""
    return abs(matrix[0, 1]) <= 1e-6 and abs(matrix[1, 0]) <= 1e-6


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Clip (n, 4) boxes to an image of (height, width)."""
    height, width = image_size
    return np.clip(boxes, 0, [width, height, width, height])


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of (n, 4) boxes, (n,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def check_transforms(transforms: Iterable) -> None:
    """Refuse a pipeline with a transform that is known to move pixels without recording it.

    Args:
        transforms: Built transforms, such as ``Compose.transforms``; wrappers are looked into.

    Raises:
        ValueError: There is such a transform.
    """
    for transform in flatten_transforms(transforms):
        if isinstance(transform, UNRECORDED) and not isinstance(transform, RECORDED):
            kind = type(transform)
            raise ValueError(
                f'the pipeline has {kind.__name__} ({kind.__module__}), which moves pixels '
                "without recording it in results['homography_matrix'], so CLIPCropEmbedding could "
                f'not align the teacher embeddings. {ADVICE}'
            )


def flatten_transforms(transforms: Iterable) -> Iterator:
    """Every transform of a pipeline, and those inside RandomChoice, MultiBranch and the like."""
    for transform in transforms:
        if isinstance(transform, (list, tuple)):
            yield from flatten_transforms(transform)
        else:
            yield transform
            inner = getattr(transform, 'transforms', ())
            yield from flatten_transforms(inner if isinstance(inner, (list, tuple)) else [inner])
            yield from flatten_transforms(getattr(transform, 'branch_pipelines', {}).values())


def check_recorded_geometry(results: dict) -> None:
    """Refuse a sample whose pixels were moved by a transform that did not record it.

    Besides the sizes of the image, this compares the ground-truth boxes, which every transform
    moves, with the projection of the annotations that they came from.

    Args:
        results: The dict that a data pipeline passes on, after its last geometric transform.

    Raises:
        ValueError: Something moved pixels without recording it in ``homography_matrix``.
    """
    matrix = results.get('homography_matrix')
    height, width = results['img_shape'][:2]
    ori_height, ori_width = results['ori_shape'][:2]
    if 'img' in results and results['img'].shape[:2] != (height, width):
        _refuse(
            results,
            f'the image is {results["img"].shape[:2]}, but img_shape says {(height, width)}',
        )
    if results.get('mix_results'):
        _refuse(results, 'other images were mixed into it (mix_results)')
    if matrix is None and results.get('flip'):
        _refuse(results, 'it was flipped, but there is no homography_matrix')

    axis_aligned = matrix is None or is_axis_aligned(matrix)
    across, down = (1.0, 1.0) if matrix is None else np.hypot(matrix[0, :2], matrix[1, :2]).tolist()
    if axis_aligned:
        # Cropping makes an image smaller than its projection; only padding makes it larger.
        projected = (down * ori_height, across * ori_width)
        padded = 'pad_shape' in results
        larger = height > projected[0] + TOLERANCE or width > projected[1] + TOLERANCE
        smaller = matrix is None and (height < ori_height or width < ori_width)
        if smaller or (larger and not padded):
            _refuse(
                results,
                f'the recorded transforms take it from {(ori_height, ori_width)} to at most '
                f'{tuple(round(size, 1) for size in projected)}, but its img_shape is '
                f'{(height, width)}',
            )
    # Rounding grows with what is enlarged after it: a crop of a small image, say.
    enlarged = max(1.0, across, down, np.max(results.get('scale_factor', 1.0)))
    _check_ground_truth(results, matrix, axis_aligned, TOLERANCE * enlarged)


def check_only_scaled(results: dict) -> None:
    """Refuse a sample whose boxes ``scale_factor`` alone does not take to the original image.

    Args:
        results: The dict that a data pipeline passes on, at its end.

    Raises:
        ValueError: Something other than one resizing moved its pixels.
    """
    across, down = results.get('scale_factor', (1.0, 1.0))
    expected = (results['ori_shape'][0] * down, results['ori_shape'][1] * across)
    scaled = np.allclose(results['img_shape'][:2], expected, rtol=0, atol=0.5)
    matrix = results.get('homography_matrix')
    if matrix is not None:
        scaled &= np.allclose(matrix / matrix[2, 2], np.diag([across, down, 1.0]), atol=1e-3)
    if results.get('flip') or not scaled:
        raise ValueError(
            f'image {results.get("img_id")!r} was flipped, cropped, padded, rotated or resized '
            'twice, and the teacher would be shown other regions of the original image than the '
            'detector found; between KeepOriginalImage and packing have one Resize at most, and '
            'nothing else that moves pixels'
        )


def _check_ground_truth(
    results: dict, matrix: np.ndarray | None, axis_aligned: bool, tolerance: float
) -> None:
    """Every ground-truth box must lie in the projection of an annotation of its category.

    It may be smaller, after cropping and erasing. Each rotation or shear makes it larger, since
    MMDetection takes the box around the corners every time, and what is then clipped may be far
    off; so after those only several boxes in the wrong place count. (Rotating twice by exactly
    opposite angles looks axis-aligned and is refused, although it is recorded.)
    """
    boxes, labels = results.get('gt_bboxes'), results.get('gt_bboxes_labels')
    instances = results.get('instances')
    if boxes is None or labels is None or instances is None:
        return
    boxes = boxes.numpy() if isinstance(boxes, BaseBoxes) else np.asarray(boxes)
    if boxes.shape[1:] != (4,):  # rotated boxes and the like
        return
    raw_labels = np.array([instance['bbox_label'] for instance in instances], dtype=np.int64)
    same_label = np.asarray(labels)[:, None] == raw_labels

    def explained(annotated: list) -> np.ndarray:
        raw = project_boxes(annotated, matrix)
        near = _within(boxes, raw, tolerance)
        if not axis_aligned:
            near |= _within(boxes, raw, (raw[:, 2:] - raw[:, :2]).max(axis=1, keepdims=True))
        return (near & same_label).any(axis=1)

    # What lies outside the image is clipped to a line or a point at its border.
    unexplained = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1)
    unexplained &= ~explained([instance['bbox'] for instance in instances])
    if unexplained.any() and 'gt_masks' in results:
        # Some transforms take the boxes anew from the masks.
        unexplained &= ~explained([_extent(instance) for instance in instances])
    if unexplained.any() and (axis_aligned or unexplained.sum() > 1):
        index = int(np.flatnonzero(unexplained)[0])
        _refuse(
            results,
            f'its ground-truth box {boxes[index].astype(float).round(1).tolist()} of label '
            f'{int(labels[index])} is nowhere near where the recorded transforms take the '
            'annotated boxes of that label',
        )


def _extent(instance: dict) -> np.ndarray:
    """The (4,) box around the box and the mask of an annotation; each may exceed the other."""
    boxes, mask = [instance['bbox']], instance.get('mask')
    if isinstance(mask, list):
        polygons = [np.reshape(p, (-1, 2)) for p in mask if len(p) >= 6 and len(p) % 2 == 0]
        boxes += [[*polygon.min(axis=0), *polygon.max(axis=0)] for polygon in polygons]
    elif isinstance(mask, dict):
        counts, size = mask['counts'], mask['size']
        rle = mask_utils.frPyObjects(mask, *size) if isinstance(counts, list) else mask
        x, y, width, height = mask_utils.toBbox(rle)
        boxes.append([x, y, x + width, y + height])
    boxes = np.array(boxes, dtype=np.float64)
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _within(boxes: np.ndarray, others: np.ndarray, margin: float | np.ndarray) -> np.ndarray:
    """Whether each of (n, 4) boxes lies in each of (m, 4) others enlarged by a margin, (n, m)."""
    inside = (boxes[:, None, :2] >= others[:, :2] - margin).all(axis=2)
    return inside & (boxes[:, None, 2:] <= others[:, 2:] + margin).all(axis=2)


def _refuse(results: dict, found: str) -> None:
    raise ValueError(
        f'image {results.get("img_id")!r} was changed by a transform that does not record what '
        f"it did to the pixels in results['homography_matrix']: {found}. Its teacher embeddings "
        f'cannot be aligned. {ADVICE}'
    )
