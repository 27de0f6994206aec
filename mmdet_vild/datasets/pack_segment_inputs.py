"""Packing of what the teacher says of each segment beside its mask."""

from mmdet.datasets.transforms import PackDetInputs
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackSegmentInputs(PackDetInputs):
    """``PackDetInputs`` that also packs what is known of each segment.

    ``data_sample.gt_instances`` then have ``embeddings`` (n, D), with the meta key ``teacher``, of
    :class:`SegmentEmbeddings`, and ``synonyms`` (n,) of :class:`DrawSynonyms`, where these were.

    Args:
        meta_keys: As ``PackDetInputs``.
    """

    mapping_table = {
        **PackDetInputs.mapping_table,
        'segment_embeddings': 'embeddings',
        'segment_synonyms': 'synonyms',
    }

    def transform(self, results: dict) -> dict:
        """Pack the result dict of the data pipeline."""
        packed = super().transform(results)
        if 'segment_teacher' in results:
            found = dict(teacher=results['segment_teacher'])
            packed['data_samples'].gt_instances.set_metainfo(found)
        return packed
