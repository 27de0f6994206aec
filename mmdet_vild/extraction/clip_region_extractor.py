"""Writes down what the teacher sees in regions for which no detector is needed."""

from collections.abc import Sequence

from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmengine.config import ConfigDict
from torch import Tensor

from mmdet_vild.options import checked_options

from .region_embedder import RegionEmbedder, check_max_per_img
from .rpn_proposer import RPNProposer
from .teacher_alone import TeacherAlone


@MODELS.register_module()
@checked_options
class CLIPRegionExtractor(RegionEmbedder, TeacherAlone):
    """A teacher whose predictions are regions with their embeddings; see :class:`RegionEmbedder`.

    Run it with mmdet's test tool, :class:`EmbeddingStoreWriter` and :class:`EmbeddingStoreHook`, as
    :class:`RegionEmbeddingExtractor`. The tool wants a checkpoint; nothing is taken of it. The
    weights are those of ``teacher.pretrained``.

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        proposers: Configs of what proposes the regions, such as
            ``[dict(type='GroundTruthProposer'), dict(type='CLIPAnchorProposer', ...)]``.
        test_cfg: ``dict(rpn=dict(max_per_img=n))`` is the number of regions of a ``FileProposer``.
        data_preprocessor: Default: one that changes no pixels.

    Raises:
        ValueError: No proposer is named, or one that needs a detector; or ``max_per_img`` is no
            number above 0.
    """

    def __init__(
        self,
        teacher: dict,
        proposers: Sequence[dict],
        test_cfg: dict | None = None,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(teacher, data_preprocessor)
        self.test_cfg = ConfigDict(test_cfg or dict(rpn=dict(max_per_img=1000)))
        check_max_per_img(self.test_cfg)
        self.proposers = [TASK_UTILS.build(proposer) for proposer in proposers]
        inner = [getattr(proposer, 'regions', None) for proposer in self.proposers]
        if not proposers or any(isinstance(p, RPNProposer) for p in (*self.proposers, *inner)):
            raise ValueError(
                f'found proposers={proposers}; a CLIPRegionExtractor needs one at least, and none '
                'that needs a detector, as an RPNProposer does: take a RegionEmbeddingExtractor '
                'for that'
            )

    def forward(self, inputs: Tensor, data_samples: SampleList, mode: str = 'predict'):
        """:meth:`predict`; it has no other mode."""
        return self.predict(inputs, data_samples)
