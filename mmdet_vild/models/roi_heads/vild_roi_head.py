"""The RoI head of every variant of ViLD."""

import torch
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmdet.structures.bbox import bbox2roi
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_vild.options import checked_options
from mmdet_vild.vocabulary import same_space

from ..losses import TextGuidedDistillLoss
from .vild_bbox_head import ViLDBBoxHead
from .vild_ensemble_bbox_head import ViLDEnsembleBBoxHead


@MODELS.register_module()
@checked_options
class ViLDRoIHead(StandardRoIHead):
    """mmdet's standard RoI head, also taught by the teacher's region embeddings.

    ViLD-text has a ``ViLDBBoxHead`` and no ``distill_loss``; ViLD-image and ViLD have both, the
    former without background; ViLD-ensemble has a ``ViLDEnsembleBBoxHead``.

    In training the distillation RoIs join the sampled RoIs in one RoIAlign and one pass of the
    bbox head (ViLD, Fig. 3). They come with the sample, as ``distill_instances`` with ``bboxes``
    (m, 4) in pixels of the network's input, ``embeddings`` (m, D) and, optionally, ``weights``
    (m,): see :class:`mmdet_vild.datasets.CLIPCropEmbedding`.

    For :class:`TextGuidedDistillLoss` (GKC) a region has the word of the object that the assigner
    of ``train_cfg`` gives it, as it would a proposal. Regions of no object are in no pair.

    Args:
        distill_loss: Config of :class:`ViLDImageDistillLoss`, :class:`FeatureDistillLoss` or
            :class:`TextGuidedDistillLoss`; None for ViLD-text.
        **kwargs: As :class:`mmdet.models.roi_heads.StandardRoIHead`.

    Raises:
        TypeError: The bbox head is none of those above.
        ValueError: Without ``distill_loss`` a part of the bbox head would learn nothing.
    """

    def __init__(self, distill_loss: ConfigType | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        if not isinstance(self.bbox_head, ViLDBBoxHead):
            raise TypeError(
                'the bbox_head of ViLDRoIHead must be a ViLDBBoxHead or a ViLDEnsembleBBoxHead, '
                f'found {type(self.bbox_head).__name__}'
            )
        is_ensemble = isinstance(self.bbox_head, ViLDEnsembleBBoxHead)
        if distill_loss is None and (is_ensemble or not self.bbox_head.fc_cls.has_loss):
            raise ValueError(
                'an image branch, or a bbox head without background, learns from distill_loss '
                'alone, which is None; set it to dict(type="ViLDImageDistillLoss"), or for '
                'ViLD-text use a ViLDBBoxHead with background'
            )
        self.distill_loss = None if distill_loss is None else MODELS.build(distill_loss)
        self._distill_samples: SampleList | None = None

    def loss(
        self, x: tuple[Tensor], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict:
        """As :meth:`mmdet.models.roi_heads.StandardRoIHead.loss`, plus ``loss_distill``.

        With :class:`TextGuidedDistillLoss` also ``loss_text_distill``, and ``distill_scale`` for
        the log.

        Raises:
            ValueError: A sample has no ``distill_instances``, or those of another teacher than
                the one that encoded the vocabulary.
        """
        if self.distill_loss is None:
            return super().loss(x, rpn_results_list, batch_data_samples)
        for sample in batch_data_samples:
            self._check(sample)
        # mmdet hands only the sampled RoIs on to bbox_loss, so the others wait here.
        self._distill_samples = batch_data_samples
        try:
            return super().loss(x, rpn_results_list, batch_data_samples)
        finally:
            self._distill_samples = None

    def _check(self, data_sample: DetDataSample) -> None:
        instances = data_sample.get('distill_instances')
        if instances is None:
            raise ValueError(
                'a training sample has no distill_instances; add CLIPCropEmbedding, and '
                'PackViLDInputs in place of PackDetInputs, to the end of the train pipeline, or '
                'train ViLD-text with distill_loss=None'
            )
        found = instances.get('teacher', 'unknown')
        expected = self.bbox_head.fc_cls.vocabulary.teacher
        if not same_space(found, expected):
            raise ValueError(
                f'the region embeddings come from the teacher {found}, the text embeddings from '
                f'{expected}; both must come from one teacher'
            )

    def _roi_features(self, x: tuple[Tensor], rois: Tensor) -> Tensor:
        features = self.bbox_roi_extractor(x[: self.bbox_roi_extractor.num_inputs], rois)
        return self.shared_head(features) if self.with_shared_head else features

    def _bbox_forward(self, x: tuple[Tensor], rois: Tensor) -> dict:
        """mmdet's; in training the distillation RoIs go along, to ``distill_embeddings``."""
        if self._distill_samples is None:
            return super()._bbox_forward(x, rois)
        distill_rois = bbox2roi([each.distill_instances.bboxes for each in self._distill_samples])
        features = self._roi_features(x, torch.cat([rois, distill_rois.to(rois)]))
        cls_score, bbox_pred, embeddings = self.bbox_head.forward_distill(
            features, len(distill_rois)
        )
        return dict(
            cls_score=cls_score,
            bbox_pred=bbox_pred,
            bbox_feats=features[: len(rois)],
            distill_embeddings=embeddings,
        )

    def bbox_loss(self, x: tuple[Tensor], sampling_results: list[SamplingResult]) -> dict:
        """mmdet's, plus the distillation loss (ViLD, Eq. 4)."""
        results = super().bbox_loss(x, sampling_results)
        if self._distill_samples is not None:
            results['loss_bbox'] |= self._distill_losses(results['distill_embeddings'])
        return results

    def _distill_losses(self, student: Tensor) -> dict[str, Tensor]:
        """Of the region embeddings (m, D) of all images."""
        regions = [sample.distill_instances for sample in self._distill_samples]
        # Stored in float16, which autocast to bfloat16 refuses to concatenate.
        teacher = torch.cat([each.embeddings.float() for each in regions])
        weights = torch.cat(
            [each.get('weights', each.bboxes.new_ones(len(each))) for each in regions]
        )
        counts = list(map(len, regions))
        if not isinstance(self.distill_loss, TextGuidedDistillLoss):
            return dict(loss_distill=self.distill_loss(student, teacher, weights, counts))
        labels = torch.cat(list(map(self._labels_of_regions, self._distill_samples)))
        texts = self.bbox_head.fc_cls.texts_of(labels.clamp(min=0))
        losses = self.distill_loss(student, teacher, texts, counts, weights, labels >= 0)
        return dict(losses, distill_scale=self.distill_loss.scale.detach())

    def _labels_of_regions(self, data_sample: DetDataSample) -> Tensor:
        """(m,) of a sample's distillation regions; -1 of those of no object."""
        regions = InstanceData(priors=data_sample.distill_instances.bboxes)
        ignored = data_sample.get('ignored_instances')
        return self.bbox_assigner.assign(regions, data_sample.gt_instances, ignored).labels

    def predict_bbox(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect the words that each image asks for, in one pass of the batch's regions.

        As :meth:`mmdet.models.roi_heads.StandardRoIHead.predict_bbox`; :class:`Words` in the meta
        information ``words`` of an image take the place of the vocabulary for it.
        """
        counts = [len(proposals) for proposals in rpn_results_list]
        words = [meta.get('words') for meta in batch_img_metas]
        rois = bbox2roi([proposals.bboxes for proposals in rpn_results_list])
        embeddings, deltas = self.bbox_head.embed(self._roi_features(x, rois))
        logits = map(self.bbox_head.classify, embeddings.split(counts), words)
        return self.bbox_head.predict_by_feat(
            rois.split(counts),
            tuple(logits),
            deltas.split(counts),
            batch_img_metas,
            rcnn_test_cfg,
            rescale,
            words,
            [proposals.get('scores') for proposals in rpn_results_list],
        )
