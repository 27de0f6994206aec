"""Writes down what the teacher sees in the regions of an image."""

from collections.abc import Sequence

from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS, TASK_UTILS

from mmdet_vild.models.float32 import give_float32
from mmdet_vild.options import checked_options

from .region_embedder import RegionEmbedder, check_max_per_img


@MODELS.register_module()
@checked_options
class RegionEmbeddingExtractor(RegionEmbedder, TwoStageDetector):
    """A detector whose predictions are regions with the teacher's embeddings.

    Run it with mmdet's test tool, on the checkpoint of a detector trained on base categories, with
    :class:`EmbeddingStoreWriter` as the metric and :class:`EmbeddingStoreHook` (ViLD, Sec. 3.3).

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        proposers: Configs of what proposes the regions, each a :class:`Proposer`; an image has the
            regions of all of them. Default: ``[dict(type='RPNProposer')]``.
        proposal_file: Short for a ``FileProposer`` in place of the ``RPNProposer``.
        with_gt: Short for a ``GroundTruthProposer`` before that.
        backend_args: Where mmengine reads the proposal file from; None for a local file.
        **kwargs: As the detector that the checkpoint belongs to;
            ``test_cfg.rpn.max_per_img`` is the number of proposals, from a file too.

    Raises:
        ValueError: ``proposers`` is given beside what is short for it, or names none; or
            ``max_per_img`` is no number above 0.
    """

    def __init__(
        self,
        teacher: dict,
        proposers: Sequence[dict] | None = None,
        proposal_file: str | None = None,
        with_gt: bool = False,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if self.with_rpn:
            give_float32(self.rpn_head)
        check_max_per_img(self.test_cfg)
        if proposers is None:
            proposers = [dict(type='GroundTruthProposer')] if with_gt else []
            file = dict(type='FileProposer', proposal_file=proposal_file, backend_args=backend_args)
            proposers.append(dict(type='RPNProposer') if proposal_file is None else file)
        elif not proposers or proposal_file is not None or with_gt:
            raise ValueError(
                f'found proposers={proposers} with proposal_file={proposal_file!r} and '
                f'with_gt={with_gt}; name all in proposers, such as '
                "[dict(type='GroundTruthProposer'), dict(type='RPNProposer')], or leave it out"
            )
        self.proposers = [TASK_UTILS.build(proposer) for proposer in proposers]
        self.teacher = TASK_UTILS.build(teacher)
