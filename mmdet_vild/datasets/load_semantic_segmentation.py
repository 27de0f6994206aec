"""The transform that loads what each pixel is."""

from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS

from .label_files import LabelTable, check_shape, labels_of_segments, read_numbers, segment_ids


@TRANSFORMS.register_module()
class LoadSemanticSegmentation(BaseTransform):
    """Adds the label of each pixel to a sample of :class:`OpenVocabularySegDataset`.

    In training it goes before what moves pixels, in a test after it: what is predicted is compared
    with labels of the picture's own size. A sample without ``seg_map_path``, as a picture of
    ``DetInferencer``, stays as it is.

    Required keys: ``seg_map_path``, ``label_table``, ``ori_shape``; of panoptic data
    ``segments_info`` too.

    Added keys: ``gt_seg_map`` (H, W) int32 and ``ignore_index``; of panoptic data
    ``gt_segment_ids`` too, (H, W) int32, ids of segments, which no transform of mmdet moves: use
    it before these.

    Args:
        backend_args: As mmdet's loading transforms.

    Raises:
        FileNotFoundError: There is no label file.
        ValueError: It is not of these classes, or not of this picture.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load the label file."""
        if results.get('seg_map_path') is None:
            return results
        if missing := {'label_table', 'ori_shape'} - results.keys():
            raise ValueError(
                f'LoadSemanticSegmentation found no {sorted(missing)} in the sample; it needs '
                'LoadImageFromFile before it, and samples of OpenVocabularySegDataset or of a '
                'data set made from it'
            )
        loaded = load_labels(results, self.backend_args)
        check_shape(loaded['gt_seg_map'].shape, results['ori_shape'], results['seg_map_path'])
        return results | loaded

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def load_labels(info: dict, backend_args: dict | None = None) -> dict:
    """What :class:`LoadSemanticSegmentation` adds to a sample, whatever its picture's size.

    Args:
        info: With the keys that it requires, but for ``ori_shape``.
        backend_args: Of the label file.

    Raises:
        FileNotFoundError, ValueError: As :class:`LoadSemanticSegmentation`.
    """
    path: str = info['seg_map_path']
    table: LabelTable = info['label_table']
    numbers = read_numbers(path, backend_args)
    added = dict(ignore_index=table.ignore_index)
    if 'segments_info' in info:
        ids = segment_ids(numbers, path)
        labels = dict.fromkeys(info['ignored_segments'], table.ignore_index)
        labels |= {segment['id']: segment['category'] for segment in info['segments_info']}
        seg_map = labels_of_segments(ids, labels, table.ignore_index, path)
        return added | dict(gt_seg_map=seg_map, gt_segment_ids=ids)
    return added | dict(gt_seg_map=table.labels(numbers, path))
