"""One instance a segment, of what a pipeline left of it."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks

from mmdet_vild.options import Count, checked_options

from .number_segments import NO_SEGMENT, numbers_in_map


@TRANSFORMS.register_module()
@checked_options
class SegmentInstances(BaseTransform):
    """Make instances of segments: a mask, a box and a label each.

    Put it after all that moves pixels. Where :class:`NumberSegments` was before that, the instances
    are the segments that it numbered; otherwise ``gt_seg_map`` has labels, of at most 255 classes,
    and an instance is all of one category.

    Required Keys: gt_seg_map; or gt_masks and gt_bboxes_labels of instances, numbered.

    Added Keys: gt_masks, gt_bboxes ((n, 4) float32), gt_bboxes_labels ((n,) int64) and segment_rows
    ((n,) int64, which of the numbered segments each instance is). Removed: gt_seg_map.

    Args:
        min_pixels: Segments of which fewer pixels are left are dropped, of a map as of instances.

    Raises:
        ValueError: Of a sample: its segments have no numbers, and need some, or those of others;
            its map is not of the picture's size.
    """

    def __init__(self, min_pixels: Count = 1) -> None:
        self.min_pixels = min_pixels

    def transform(self, results: dict) -> dict:
        """Make the instances of the result dict of the data pipeline."""
        labels = results.get('segment_labels')
        if 'gt_seg_map' not in results:
            if labels is None:
                raise ValueError(
                    f'image {results.get("img_id")!r} has no gt_seg_map, and its instances have no '
                    'numbers; put NumberSegments after what loads the annotations'
                )
            rows = self._of_masks(results)
        else:
            rows = self._of_map(results, labels)
        results['segment_rows'] = rows
        results['gt_bboxes_labels'] = rows if labels is None else labels[rows]
        return results

    def _of_masks(self, results: dict) -> np.ndarray:
        """The rows (n,) of the instances that are left, with all that is known of them."""
        numbers = np.asarray(results['gt_bboxes_labels'])
        count = len(results['segment_labels'])
        if len(np.unique(numbers)) < len(numbers) or numbers.max(initial=-1) >= count:
            raise ValueError(
                f'image {results.get("img_id")!r} has instances of the numbers {numbers.tolist()} '
                f'in place of some of its {count}; put NumberSegments right after '
                'LoadAnnotations, and nothing that mixes pictures after it'
            )
        kept = np.asarray(results['gt_masks'].areas) >= self.min_pixels
        for key in ('gt_masks', 'gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
            if key in results:
                results[key] = results[key][kept]
        return np.asarray(results['gt_bboxes_labels'], np.int64)

    def _of_map(self, results: dict, labels: np.ndarray | None) -> np.ndarray:
        """The rows (n,) of what is left in the map; of labels, these."""
        seg_map, image = results.pop('gt_seg_map'), results.get('img')
        if image is not None and image.shape[:2] != seg_map.shape:
            raise ValueError(
                f'image {results.get("img_id")!r} is {image.shape[:2]} high and wide, and its map '
                f'{seg_map.shape}: some transform before SegmentInstances changed one of them '
                'alone; leave it out'
            )
        found, counts = np.unique(seg_map, return_counts=True)
        ignored = results.get('ignore_index', NO_SEGMENT)
        if labels is None and ignored != NO_SEGMENT:
            raise ValueError(
                f'image {results.get("img_id")!r} has a map of labels with ignore_index {ignored}, '
                f'and transforms pad maps with {NO_SEGMENT}, which would count as a class; put '
                'NumberSegments right after LoadSemanticSegmentation'
            )
        found = found[(counts >= self.min_pixels) & (found != ignored)].astype(np.int64)
        masks = seg_map == found[:, None, None]
        down, across = masks.any(axis=2), masks.any(axis=1)
        height, width = seg_map.shape
        ends = (across.argmax(1), down.argmax(1), width - across[:, ::-1].argmax(1),
                height - down[:, ::-1].argmax(1))  # fmt: skip
        results['gt_bboxes'] = np.stack(ends, axis=1).astype(np.float32).reshape(-1, 4)
        results['gt_masks'] = BitmapMasks(masks.astype(np.uint8), height, width)
        results['gt_ignore_flags'] = np.zeros(len(found), bool)
        if labels is None:
            return found
        rows = np.searchsorted(numbers_in_map(len(labels)), found)
        if len(rows) and rows.max() >= len(labels):
            raise ValueError(
                f'image {results.get("img_id")!r} has the number {found.max()} in its map of '
                f'{len(labels)} segments; put NumberSegments right after LoadSemanticSegmentation, '
                'and nothing that mixes pictures after it'
            )
        return rows

    def __repr__(self) -> str:
        return f'{type(self).__name__}(min_pixels={self.min_pixels})'
