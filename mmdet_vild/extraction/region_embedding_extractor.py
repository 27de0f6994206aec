"""Writes down what the teacher sees in the regions of an image."""

from collections.abc import Sequence

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_vild.datasets import original_image
from mmdet_vild.models.float32 import give_float32
from mmdet_vild.options import Count, check_option, checked_options


@MODELS.register_module()
@checked_options
class RegionEmbeddingExtractor(TwoStageDetector):
    """A detector whose predictions are regions with the teacher's embeddings.

    Run it with mmdet's test tool, on the checkpoint of a detector trained on base categories,
    with :class:`mmdet_vild.extraction.EmbeddingStoreWriter` as the metric and
    :class:`mmdet_vild.extraction.EmbeddingStoreHook` (ViLD, Sec. 3.3).

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        proposers: Configs of what proposes the regions, each a
            :class:`mmdet_vild.extraction.Proposer`; an image has the regions of all of them. The
            default is ``[dict(type='RPNProposer')]``, what the detector's RPN proposes.
        proposal_file: Short for a ``FileProposer`` in place of the ``RPNProposer``.
        with_gt: Short for a ``GroundTruthProposer`` before that.
        backend_args: Where mmengine reads the proposal file from; None for a local file.
        **kwargs: As the detector that the checkpoint belongs to;
            ``test_cfg.rpn.max_per_img`` is the number of proposals, from a file too.

    Raises:
        ValueError: ``proposers`` is given beside what is short for it, or names none; or
            ``max_per_img`` is no number above 0.
    """

    #: The test dataset's ``metainfo``, which ``EmbeddingStoreHook`` tells.
    dataset_meta: dict | None = None

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
        check_option(self.test_cfg.rpn.max_per_img, Count, 'max_per_img of test_cfg.rpn')
        if proposers is None:
            proposers = [dict(type='GroundTruthProposer')] if with_gt else []
            file = dict(type='FileProposer', proposal_file=proposal_file, backend_args=backend_args)
            proposers.append(dict(type='RPNProposer') if proposal_file is None else file)
        elif not proposers or proposal_file is not None or with_gt:
            raise ValueError(
                f'found proposers={proposers} with proposal_file={proposal_file!r} and '
                f'with_gt={with_gt}; name all that propose regions in proposers, such as '
                "[dict(type='GroundTruthProposer'), dict(type='RPNProposer')], or leave it out"
            )
        self.proposers = [TASK_UTILS.build(proposer) for proposer in proposers]
        self.teacher = TASK_UTILS.build(teacher)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Propose regions and embed them.

        Returns:
            The samples, with ``pred_instances`` of ``bboxes`` (n, 4) in pixels of the original
            image, ``scores`` (n,), ``labels`` (n,) zero, ``embeddings`` (n, D) and, if a proposer
            gives any, ``weights`` (n,). A sample that could not be read is left as it is.

        Raises:
            KeyError: The proposal file does not name an image.
            ValueError: It has a box outside of its image, or the pipeline passes on no original
                image.
        """
        self.teacher.to(batch_inputs.device)
        readable = [i for i, s in enumerate(batch_data_samples) if not s.get('unreadable')]
        samples = [batch_data_samples[i] for i in readable]
        proposed = [p.propose(self, batch_inputs[readable], samples) for p in self.proposers]
        found = [_joined(parts) for parts in zip(*proposed, strict=True)]
        images = [original_image(sample) for sample in samples]
        embedded = self.teacher.encode_regions(images, [regions.bboxes for regions in found])
        for sample, regions, embeddings in zip(samples, found, embedded, strict=True):
            regions.embeddings = embeddings
            regions.labels = torch.zeros(len(regions), dtype=torch.long)
            sample.pred_instances = regions
        return batch_data_samples

    @property
    def source(self) -> dict:
        """dict: what decides the regions of an image and their embeddings, as far as it is known
        here, for the header of a store.

        Raises:
            ValueError: No regions can be proposed like this.
        """
        proposed = {'at_most': self.test_cfg.rpn.max_per_img}
        for number, proposer in enumerate(self.proposers, 1):
            found = proposer.source(self)
            twice = found.keys() & proposed.keys()
            proposed |= {f'proposer_{number}': found} if twice else found
        return {**self.teacher.crop_source, 'with_gt': False, **proposed}


def _joined(parts: Sequence[InstanceData]) -> InstanceData:
    """What several proposers found in an image, on the CPU."""
    parts = [part.cpu() for part in parts]
    if any('weights' in part for part in parts):
        for part in parts:
            part.weights = part.get('weights', torch.ones(len(part)))
    return InstanceData.cat(parts)
