"""Where the boxes of an original image lie after a data pipeline has warped the image.

MMDetection's Resize, RandomFlip, RandomCrop, Rotate, ShearX, ShearY, TranslateX and TranslateY
multiply what they did into ``results['homography_matrix']``; so does RandomAffine, with
``compat/random_affine.py``. Others leave no trace there: :func:`check_transforms` finds those it
knows in a pipeline, and :func:`check_recorded_geometry` what any transform did to a sample.
"""

from collections.abc import Iterable

import mmcv.transforms
import numpy as np
import pycocotools.mask as mask_utils
from mmdet.datasets import transforms as mmdet_transforms
from mmdet.structures.bbox import BaseBoxes

from .keep_original_image import ORIGINAL_IMAGE_KEY
from .unwrapped import flatten_transforms

#: Transforms of MMDetection and mmcv that move pixels without recording it.
UNRECORDED = (
    mmcv.transforms.CenterCrop, mmcv.transforms.RandomFlip, mmcv.transforms.Resize,
    mmdet_transforms.CachedMixUp, mmdet_transforms.CachedMosaic, mmdet_transforms.CopyPaste,
    mmdet_transforms.Expand, mmdet_transforms.InstaBoost, mmdet_transforms.MinIoURandomCrop,
    mmdet_transforms.MixUp, mmdet_transforms.Mosaic, mmdet_transforms.RandomCenterCropPad,
    mmdet_transforms.RandomShift,
)  # fmt: skip
#: Those of MMDetection that do, of which mmcv's namesakes are parents.
RECORDED = (mmdet_transforms.Resize, mmdet_transforms.RandomFlip)
#: Pixels by which rounding in the recorded transforms may move a box.
TOLERANCE = 2.0
ADVICE = (
    'Use Resize, RandomResize, RandomFlip, RandomCrop, RandomAffine, Rotate, ShearX, ... of mmdet '
    'instead, or record the matrix in your own transform'
)


def project_boxes(boxes: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Boxes (n, 4) through a homography (3, 3), None for the identity.

    Returns:
        (n, 4) float64, the axis-aligned boxes around the four projected corners.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if matrix is None:
        return boxes
    x, y = boxes.T[[0, 2, 2, 0]], boxes.T[[1, 1, 3, 3]]  # (4, n), the corners
    u, v, w = (across * x + down * y + shift for across, down, shift in matrix.tolist())
    u, v = u / w, v / w
    return np.stack([u.min(axis=0), v.min(axis=0), u.max(axis=0), v.max(axis=0)], axis=1)


def clip_boxes(boxes: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Clip (n, 4) boxes to an image of (height, width)."""
    height, width = image_size
    return np.clip(boxes, 0, [width, height, width, height])


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of (n, 4) boxes, (n,)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def check_transforms(transforms: Iterable) -> None:
    """Raise a ValueError if a built transform is known to move pixels without recording it."""
    for transform in flatten_transforms(transforms):
        if isinstance(transform, UNRECORDED) and not isinstance(transform, RECORDED):
            kind = type(transform)
            raise ValueError(
                f'the pipeline has {kind.__name__} ({kind.__module__}), which moves pixels '
                "without recording it in results['homography_matrix'], so CLIPCropEmbedding could "
                f'not align the teacher embeddings. {ADVICE}'
            )


def check_only_scaled(results: dict) -> None:
    """Raise a ValueError if something other than one resizing moved the pixels of a sample.

    Then ``scale_factor`` alone does not take boxes to the original image.
    """
    across, down = results.get('scale_factor', (1.0, 1.0))
    expected = (results['ori_shape'][0] * down, results['ori_shape'][1] * across)
    scaled = np.allclose(results['img_shape'][:2], expected, rtol=0, atol=0.5)
    scaled &= results[ORIGINAL_IMAGE_KEY].shape[:2] == tuple(results['ori_shape'][:2])
    matrix = results.get('homography_matrix')
    if matrix is not None:
        scaled &= np.allclose(matrix / matrix[2, 2], np.diag([across, down, 1.0]), atol=1e-3)
    if results.get('flip') or not scaled:
        raise ValueError(
            f'image {results.get("img_id")!r} was flipped, cropped, padded, rotated or resized '
            'twice, and the teacher would be shown other regions of the original image than the '
            'detector found; put KeepOriginalImage right after LoadImageFromFile, and before '
            'packing have one Resize at most, and nothing else that moves pixels'
        )


def check_recorded_geometry(results: dict) -> None:
    """Raise a ValueError if a transform moved pixels of a sample without recording it.

    Besides the sizes of the image, this compares the ground-truth boxes, which every transform
    moves, with the projection of the annotations that they came from.
    """
    if found := _wrong_size(results) or _wrong_ground_truth(results):
        raise ValueError(
            f'image {results.get("img_id")!r} was changed by a transform that does not record what '
            f"it did to the pixels in results['homography_matrix']: {found}. Its teacher "
            f'embeddings cannot be aligned. {ADVICE}'
        )


def _matrix(results: dict) -> tuple[np.ndarray, bool]:
    """The recorded homography (3, 3), and whether it neither rotates nor shears."""
    matrix = results.get('homography_matrix')
    matrix = np.eye(3) if matrix is None else matrix
    return matrix, bool((np.abs(matrix[[0, 1], [1, 0]]) <= 1e-6).all())


def _wrong_size(results: dict) -> str:
    """What the image and its size say that the matrix does not; empty if nothing."""
    height, width = results['img_shape'][:2]
    if 'img' in results and results['img'].shape[:2] != (height, width):
        return f'the image is {results["img"].shape[:2]}, but img_shape says {(height, width)}'
    if results.get('mix_results'):
        return 'other images were mixed into it (mix_results)'
    unmoved = results.get('homography_matrix') is None
    if unmoved and results.get('flip'):
        return 'it was flipped, but there is no homography_matrix'
    matrix, axis_aligned = _matrix(results)
    if not axis_aligned:
        return ''
    # Cropping makes an image smaller than its projection; only padding makes it larger.
    ori_height, ori_width = results['ori_shape'][:2]
    most = abs(matrix[1, 1]) * ori_height, abs(matrix[0, 0]) * ori_width
    larger = height > most[0] + TOLERANCE or width > most[1] + TOLERANCE
    smaller = unmoved and (height < ori_height or width < ori_width)
    if smaller or (larger and 'pad_shape' not in results):
        return (
            f'the recorded transforms take it from {(ori_height, ori_width)} to at most '
            f'{tuple(round(float(size), 1) for size in most)}, but its img_shape is '
            f'{(height, width)}'
        )
    return ''


def _wrong_ground_truth(results: dict) -> str:
    """A ground-truth box outside the projections of all annotations of its category, if any.

    It may be smaller, after cropping and erasing. Each rotation or shear makes it larger, since
    MMDetection takes the box around the corners every time, and what is then clipped may be far
    off; so after those only several boxes in the wrong place count. (Rotating twice by exactly
    opposite angles looks axis-aligned and is refused, although it is recorded.)
    """
    boxes, labels = results.get('gt_bboxes'), results.get('gt_bboxes_labels')
    instances = results.get('instances')
    if boxes is None or labels is None or instances is None:
        return ''
    boxes = boxes.numpy() if isinstance(boxes, BaseBoxes) else np.asarray(boxes)
    if boxes.shape[1:] != (4,):  # rotated boxes and the like
        return ''
    matrix, axis_aligned = _matrix(results)
    # Rounding grows with what is enlarged after it: a crop of a small image, say.
    across, down = np.hypot(matrix[0, :2], matrix[1, :2])
    margin = TOLERANCE * max(1.0, across, down, np.max(results.get('scale_factor', 1.0)))
    raw_labels = np.array([instance['bbox_label'] for instance in instances], dtype=np.int64)
    same_label = np.asarray(labels)[:, None] == raw_labels

    def explained(annotated: list) -> np.ndarray:
        raw = project_boxes(annotated, matrix)
        within = margin
        if not axis_aligned:
            within = np.maximum(margin, (raw[:, 2:] - raw[:, :2]).max(axis=1, keepdims=True))
        inside = (boxes[:, None, :2] >= raw[:, :2] - within).all(axis=2)
        inside &= (boxes[:, None, 2:] <= raw[:, 2:] + within).all(axis=2)
        return (inside & same_label).any(axis=1)

    # What lies outside the image is clipped to a line or a point at its border.
    wrong = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(axis=1)
    wrong &= ~explained([instance['bbox'] for instance in instances])
    if wrong.any() and 'gt_masks' in results:  # some transforms take the boxes anew from the masks
        wrong &= ~explained([_extent(instance) for instance in instances])
    if not wrong.any() or (wrong.sum() == 1 and not axis_aligned):
        return ''
    first = int(wrong.argmax())
    return (
        f'its ground-truth box {boxes[first].astype(float).round(1).tolist()} of label '
        f'{int(labels[first])} is nowhere near where the recorded transforms take the annotated '
        'boxes of that label'
    )


def _extent(instance: dict) -> np.ndarray:
    """The (4,) box around the box and the mask of an annotation; each may exceed the other."""
    points, mask = [np.reshape(instance['bbox'], (2, 2))], instance.get('mask')
    if isinstance(mask, list):  # mmdet drops what is no polygon
        points += [np.reshape(p, (-1, 2)) for p in mask if len(p) >= 6 and len(p) % 2 == 0]
    elif isinstance(mask, dict):
        if isinstance(mask['counts'], list):
            mask = mask_utils.frPyObjects(mask, *mask['size'])
        x, y, width, height = mask_utils.toBbox(mask)
        points.append([[x, y], [x + width, y + height]])
    points = np.concatenate(points)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])
