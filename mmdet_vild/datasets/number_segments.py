"""Numbers the segments of a picture before anything moves its pixels."""

from collections.abc import Iterable
from typing import Literal

import mmcv.transforms
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets import transforms as mmdet_transforms
from mmdet.registry import TRANSFORMS
from scipy.ndimage import find_objects

from mmdet_vild.options import checked_options

from .load_semantic_segmentation import LoadSemanticSegmentation
from .unwrapped import flatten_transforms

#: The number of pixels of no segment, which mmdet's transforms pad maps with.
NO_SEGMENT = 255
#: Transforms that put segments of several pictures together, or move pixels without the masks.
UNFIT = (
    mmcv.transforms.CenterCrop, mmdet_transforms.CachedMixUp, mmdet_transforms.CachedMosaic,
    mmdet_transforms.CopyPaste, mmdet_transforms.InstaBoost, mmdet_transforms.MixUp,
    mmdet_transforms.Mosaic, mmdet_transforms.RandomAffine, mmdet_transforms.RandomCenterCropPad,
    mmdet_transforms.RandomShift, mmdet_transforms.SegRescale,
)  # fmt: skip
#: Transforms that need boxes, which a map does not have yet, or may leave a map as it was.
UNFIT_FOR_MAPS = (mmdet_transforms.Albu, mmdet_transforms.MinIoURandomCrop)


@TRANSFORMS.register_module()
@checked_options
class NumberSegments(BaseTransform):
    """Give each segment of a picture a number, by which it is found again after any transform.

    Transforms of mmdet crop, flip and resize a map of labels, and drop instances with their labels;
    what else is known of a segment they would leave behind. So the numbers take the place of the
    labels on the way: put this right after what loads the annotations, and
    :class:`SegmentInstances`, which gives the labels back, after all that moves pixels.

    A picture has a map, from :class:`LoadSemanticSegmentation`; or masks of instances, from mmdet's
    ``LoadAnnotations``, which may overlap.

    Required Keys: gt_seg_map and ignore_index, with gt_segment_ids for ``by='segment'``; or
    gt_bboxes_labels and gt_masks.

    Added or changed Keys:

    - segment_labels (S,) int64, segment_boxes (S, 4) float32 ``x1, y1, x2, y2`` of all segments
    - gt_seg_map (H, W) int32 of numbers, in place of labels; or gt_bboxes_labels

    Args:
        by: In a map, a segment is all of a ``'category'``, or what the file of a panoptic set says
            (``'segment'``), without crowds.

    Raises:
        ValueError: Of a sample: it has neither, or no ids of segments.
    """

    def __init__(self, by: Literal['category', 'segment'] = 'category') -> None:
        self.by = by

    def transform(self, results: dict) -> dict:
        """Number the segments of the result dict of the data pipeline."""
        if 'gt_seg_map' in results:
            self._number_map(results)
        elif 'gt_masks' in results and 'gt_bboxes_labels' in results:
            boxes = results['gt_masks'].get_bboxes('hbox').numpy().reshape(-1, 4)
            results['segment_labels'] = np.asarray(results['gt_bboxes_labels'], np.int64)
            results['segment_boxes'] = boxes.astype(np.float32)
            results['gt_bboxes_labels'] = np.arange(len(boxes))
        else:
            raise ValueError(
                f'image {results.get("img_id")!r} has neither gt_seg_map nor gt_masks with labels; '
                'put NumberSegments after LoadSemanticSegmentation, or after LoadAnnotations with '
                'with_mask=True'
            )
        return results

    def _number_map(self, results: dict) -> None:
        labels = results['gt_seg_map']
        ignored = labels == results.get('ignore_index', 255)
        segments = labels
        if self.by == 'segment':
            if 'gt_segment_ids' not in results:
                raise ValueError(
                    f'image {results.get("img_id")!r} has no gt_segment_ids, which '
                    "NumberSegments(by='segment') numbers; take a panoptic data set, or "
                    "by='category'"
                )
            segments = results.pop('gt_segment_ids')
            crowds = [s['id'] for s in results.get('segments_info', ()) if s.get('iscrowd')]
            ignored = ignored | np.isin(segments, crowds) if crowds else ignored
        results.pop('gt_segment_ids', None)  # which no transform would move
        found, first, inverse = np.unique(
            np.where(ignored, -1, segments), return_index=True, return_inverse=True
        )
        is_segment = found >= 0
        counted = np.where(is_segment, is_segment.cumsum(), 0)  # from 1; 0 is none
        numbers = counted[inverse].reshape(labels.shape)
        places = find_objects(numbers)
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in places]
        results['segment_labels'] = labels.reshape(-1)[first[is_segment]].astype(np.int64)
        results['segment_boxes'] = np.array(boxes, np.float32).reshape(-1, 4)
        values = np.append(NO_SEGMENT, numbers_in_map(len(boxes)))
        results['gt_seg_map'] = values[numbers].astype(np.int32)
        results['ignore_index'] = NO_SEGMENT

    def __repr__(self) -> str:
        return f'{type(self).__name__}(by={self.by!r})'


def check_segment_transforms(transforms: Iterable) -> None:
    """Raise a ValueError if a built transform is known not to keep segments apart and in place."""
    transforms = list(flatten_transforms(transforms))
    of_maps = any(isinstance(each, LoadSemanticSegmentation) for each in transforms)
    for transform in transforms:
        if isinstance(transform, UNFIT):
            what = 'mixes pictures or leaves masks behind'
        elif of_maps and isinstance(transform, UNFIT_FOR_MAPS):
            what = 'is for instances, and may not move a map as it moves the picture'
        else:
            continue
        raise ValueError(
            f'the pipeline has {type(transform).__name__}, which {what}, so that segments would '
            'have the names and embeddings of others; use Resize, RandomResize, RandomFlip, '
            'RandomCrop, Rotate, ... of mmdet instead'
        )


def numbers_in_map(count: int) -> np.ndarray:
    """(count,) the numbers of segments in a map, in order; none is :data:`NO_SEGMENT`."""
    numbers = np.arange(count)
    return numbers + (numbers >= NO_SEGMENT)
