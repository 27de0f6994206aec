"""Writes down what the teacher sees in the regions that a detector proposes."""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import DetDataSample, SampleList
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_vild.datasets import ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY, original_image, to_original
from mmdet_vild.models import CLIPTextClassifier

from .on_the_fly_embeddings import clip_proposals, load_proposals


@MODELS.register_module()
class RegionEmbeddingExtractor(TwoStageDetector):
    """A detector whose predictions are regions with the teacher's embeddings.

    Run it with mmdet's test tool, on the checkpoint of a detector trained on base categories,
    with :class:`mmdet_vild.extraction.EmbeddingStoreWriter` as the metric and
    :class:`mmdet_vild.extraction.EmbeddingStoreHook` (ViLD, Sec. 3.3).

    Args:
        teacher: Config of :class:`OpenCLIPTeacher`.
        proposal_file: A COCO-style results file with the regions, see
            :class:`mmdet_vild.extraction.OnTheFlyEmbeddings`; the default is what the detector's
            RPN proposes.
        with_gt: Whether the annotated boxes of base categories are regions too, with a score of
            1.
        backend_args: Where mmengine reads the proposal file from; None for a local file.
        **kwargs: As the detector that the checkpoint belongs to;
            ``test_cfg.rpn.max_per_img`` is the number of proposals, from a file too.

    Raises:
        FileNotFoundError: There is no proposal file.
        ValueError: The proposal file has another form. Or ``with_gt`` with a bbox
            head that does not know which categories are novel.
    """

    def __init__(
        self,
        teacher: dict,
        proposal_file: str | None = None,
        with_gt: bool = False,
        backend_args: dict | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if with_gt and not isinstance(self._classifier(), CLIPTextClassifier):
            raise ValueError(
                'with_gt=True needs the CLIPTextClassifier of a ViLD to know which categories are '
                f'novel, found {type(self._classifier()).__name__} in the bbox head; take the '
                'roi_head of a ViLD config, or with_gt=False'
            )
        self.teacher = TASK_UTILS.build(teacher)
        self.with_gt = with_gt
        self.proposal_file = proposal_file
        self._proposals = None
        if proposal_file is not None:
            self._proposals = load_proposals(proposal_file, backend_args)

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: SampleList, rescale: bool = True
    ) -> SampleList:
        """Propose regions and embed them.

        Returns:
            The samples, with ``pred_instances`` of ``bboxes`` (n, 4) in pixels of the original
            image, ``scores`` (n,) the objectness, descending, ``labels`` (n,) zero, and
            ``embeddings`` (n, D). A sample that could not be read is left as it is.

        Raises:
            KeyError: The proposal file does not name an image.
            ValueError: It has a box outside of its image, or the pipeline passes on no original
                image.
        """
        self.teacher.to(batch_inputs.device)
        proposals = self._propose(batch_inputs, batch_data_samples)
        pairs = [
            (data_sample, regions)
            for data_sample, regions in zip(batch_data_samples, proposals, strict=True)
            if not data_sample.get('unreadable')
        ]
        embedded = self.teacher.encode_regions(
            [original_image(data_sample) for data_sample, _ in pairs],
            [regions.bboxes for _, regions in pairs],
        )
        for (data_sample, regions), embeddings in zip(pairs, embedded, strict=True):
            regions.embeddings = embeddings
            data_sample.pred_instances = regions
        return batch_data_samples

    @property
    def source(self) -> dict:
        """dict: what decides the regions of an image and their embeddings, as far as it is known
        here, for the header of a store."""
        return {**self.teacher.crop_source, **self._proposer()}

    def _propose(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> list[InstanceData]:
        if self._proposals is None:
            found = self._from_rpn(batch_inputs, batch_data_samples)
        else:
            found = [self._from_file(data_sample) for data_sample in batch_data_samples]
        if self.with_gt:
            found = [
                InstanceData.cat([self._annotated(data_sample), regions])
                for data_sample, regions in zip(batch_data_samples, found, strict=True)
            ]
        return found

    def _from_rpn(self, batch_inputs: Tensor, batch_data_samples: SampleList) -> list[InstanceData]:
        """Image by image: the padding of a batch would let its images depend on each other."""
        divisor = self.data_preprocessor.pad_size_divisor
        found = []
        for image, data_sample in zip(batch_inputs, batch_data_samples, strict=True):
            height, width = (-(-side // divisor) * divisor for side in data_sample.img_shape)
            features = self.extract_feat(image[None, :, :height, :width])
            (regions,) = self.rpn_head.predict(features, [data_sample], rescale=False)
            boxes = to_original(regions.bboxes, data_sample)
            found.append(_regions(boxes.cpu(), regions.scores.cpu()))
        return found

    def _from_file(self, data_sample: DetDataSample) -> InstanceData:
        if data_sample.get('unreadable'):
            return _regions(torch.zeros(0, 4), torch.zeros(0))
        img_id = data_sample.img_id
        if img_id not in self._proposals:
            raise KeyError(
                f'{self.proposal_file} does not name image {img_id!r} '
                f'({data_sample.get("img_path")}); make proposals for every image'
            )
        most = self.test_cfg.rpn.max_per_img
        boxes, scores = (a[:most] for a in self._proposals[img_id])
        boxes = clip_proposals(boxes, data_sample.ori_shape, img_id, self.proposal_file)
        return _regions(torch.from_numpy(boxes), torch.from_numpy(scores))

    def _annotated(self, data_sample: DetDataSample) -> InstanceData:
        """The annotated boxes of base categories; those of novel ones must not be seen."""
        if data_sample.get('unreadable'):
            return _regions(torch.zeros(0, 4), torch.zeros(0))
        boxes, labels = (
            data_sample.metainfo.get(key) for key in (ORIGINAL_BOXES_KEY, ORIGINAL_LABELS_KEY)
        )
        if boxes is None:
            raise ValueError(
                f'with_gt=True, but the sample of {data_sample.get("img_path")} has no '
                'ori_gt_bboxes; put KeepOriginalImage after LoadImageFromFile in the test '
                'pipeline, and PackViLDInputs in place of PackDetInputs'
            )
        boxes = torch.from_numpy(boxes[~self._novel()[labels]])
        return _regions(boxes, torch.ones(len(boxes)))

    def _classifier(self) -> nn.Module | None:
        bbox_head = getattr(getattr(self, 'roi_head', None), 'bbox_head', None)
        return getattr(bbox_head, 'fc_cls', None)

    def _novel(self) -> np.ndarray:
        return self._classifier().novel.cpu().numpy()

    def _proposer(self) -> dict:
        """What decides which regions an image has, for the header of a store."""
        most = self.test_cfg.rpn.max_per_img
        proposer: dict = {'with_gt': False, 'at_most': most}
        if self.with_gt:
            proposer['with_gt'] = f'base@{_digest([self._novel()])}'
        if self._proposals is not None:
            found = sorted(self._proposals.items(), key=repr)
            digest = _digest(part for key, value in found for part in (repr(key), *value))
            return proposer | {'proposals': f'file@{digest}'}
        preprocessor = self.data_preprocessor
        parts = [*preprocessor.buffers(), repr(preprocessor.pad_size_divisor)]
        parts += [repr(getattr(preprocessor, '_channel_conversion', None))]
        for name, tensor in sorted(self.state_dict().items()):
            if not name.startswith('roi_head.'):
                parts += [name, tensor]
        settings = {key: repr(value) for key, value in sorted(self.test_cfg.rpn.items())}
        return proposer | {'proposals': f'rpn@{_digest(parts)}', 'rpn': settings}


def _digest(parts: Iterable[str | np.ndarray | Tensor]) -> str:
    """16 hex digits that depend on all of the parts."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().float().numpy()
        digest.update(part.encode() if isinstance(part, str) else part.tobytes())
    return digest.hexdigest()[:16]


def _regions(boxes: Tensor, scores: Tensor) -> InstanceData:
    labels = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
    return InstanceData(bboxes=boxes, scores=scores, labels=labels)
