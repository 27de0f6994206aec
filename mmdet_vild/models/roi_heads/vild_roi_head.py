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
from mmdet_vild.vocabulary import same_teacher

from .vild_bbox_head import ViLDBBoxHead
from .vild_ensemble_bbox_head import ViLDEnsembleBBoxHead


@MODELS.register_module()
@checked_options
class ViLDRoIHead(StandardRoIHead):
    """mmdet's standard RoI head, also taught by the teacher's region embeddings.

    ============== ========================== ======================= =================
    variant        bbox_head                  its classifier          distill_loss
    ============== ========================== ======================= =================
    ViLD-text      ``ViLDBBoxHead``                                   none
    ViLD-image     ``ViLDBBoxHead``           with_background=False   ViLDImageDistillLoss
    ViLD           ``ViLDBBoxHead``                                   ViLDImageDistillLoss
    ViLD-ensemble  ``ViLDEnsembleBBoxHead``                           ViLDImageDistillLoss
    ============== ========================== ======================= =================

    In training the distillation RoIs join the sampled RoIs in one RoIAlign and one pass of the
    bbox head (ViLD, Fig. 3). They come with the sample, as ``distill_instances`` with ``bboxes``
    (m, 4) in pixels of the network's input, ``embeddings`` (m, D) and, optionally, ``weights``
    (m,): see :class:`mmdet_vild.datasets.CLIPCropEmbedding`.

    Args:
        distill_loss: Config of :class:`ViLDImageDistillLoss`; None for ViLD-text.
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
        if distill_loss is None:
            if isinstance(self.bbox_head, ViLDEnsembleBBoxHead):
                raise ValueError(
                    'the image branch of ViLDEnsembleBBoxHead learns from distill_loss alone, '
                    'which is None; set it to dict(type="ViLDImageDistillLoss"), or use '
                    'ViLDBBoxHead for ViLD-text'
                )
            if self.bbox_head.fc_cls.background is None:
                raise ValueError(
                    'a bbox head without background learns from distill_loss alone, which is '
                    'None; set it to dict(type="ViLDImageDistillLoss") for ViLD-image, or leave '
                    'out with_background=False for ViLD-text'
                )
        self.distill_loss = None if distill_loss is None else MODELS.build(distill_loss)
        self._distill_instances: list[InstanceData] | None = None

    def loss(
        self, x: tuple[Tensor], rpn_results_list: InstanceList, batch_data_samples: SampleList
    ) -> dict:
        """As :meth:`mmdet.models.roi_heads.StandardRoIHead.loss`, plus ``loss_distill``.

        Raises:
            ValueError: A sample has no ``distill_instances``, or those of another teacher than
                the one that encoded the vocabulary.
        """
        if self.distill_loss is None:
            return super().loss(x, rpn_results_list, batch_data_samples)
        # mmdet hands only the sampled RoIs on to bbox_loss, so the others wait here.
        self._distill_instances = [self._checked(sample) for sample in batch_data_samples]
        try:
            return super().loss(x, rpn_results_list, batch_data_samples)
        finally:
            self._distill_instances = None

    def _checked(self, data_sample: DetDataSample) -> InstanceData:
        instances = data_sample.get('distill_instances')
        if instances is None:
            raise ValueError(
                'a training sample has no distill_instances; add CLIPCropEmbedding, and '
                'PackViLDInputs in place of PackDetInputs, to the end of the train pipeline, or '
                'train ViLD-text with distill_loss=None'
            )
        teacher = instances.get('teacher', 'unknown')
        if not same_teacher(teacher, self.bbox_head.fc_cls.teacher):
            raise ValueError(
                f'the region embeddings come from the teacher {teacher}, the text '
                f'embeddings from {self.bbox_head.fc_cls.teacher}; both must come from one teacher'
            )
        return instances

    def _roi_features(self, x: tuple[Tensor], rois: Tensor) -> Tensor:
        features = self.bbox_roi_extractor(x[: self.bbox_roi_extractor.num_inputs], rois)
        return self.shared_head(features) if self.with_shared_head else features

    def _bbox_forward(self, x: tuple[Tensor], rois: Tensor) -> dict:
        """mmdet's; in training the distillation RoIs go along, to ``distill_embeddings``."""
        if self._distill_instances is None:
            return super()._bbox_forward(x, rois)
        distill_rois = bbox2roi([instances.bboxes for instances in self._distill_instances])
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
        if self._distill_instances is not None:
            # Stored in float16, which autocast to bfloat16 refuses to concatenate.
            teacher = torch.cat([i.embeddings.float() for i in self._distill_instances])
            weights = torch.cat(
                [i.get('weights', i.bboxes.new_ones(len(i))) for i in self._distill_instances]
            )
            results['loss_bbox']['loss_distill'] = self.distill_loss(
                results['distill_embeddings'], teacher, weights
            )
        return results

    def predict_bbox(
        self,
        x: tuple[Tensor],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detect the words that each image asks for, in one pass of the batch's regions.

        Args:
            x: The batch's feature maps.
            batch_img_metas: Of each image; :class:`Words` in ``words`` take the place of the
                vocabulary for it.
            rpn_results_list: As mmdet's.
            rcnn_test_cfg: As mmdet's; see :func:`explained_detections` for ``explain``.
            rescale: As mmdet's.
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
