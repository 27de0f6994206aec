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

from mmdet_vild.vocabulary import same_teacher

from ..words import asking_for
from .vild_bbox_head import ViLDBBoxHead
from .vild_ensemble_bbox_head import ViLDEnsembleBBoxHead


@MODELS.register_module()
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
    (m, 4) in pixels of the network's input and ``embeddings`` (m, D): see
    :class:`mmdet_vild.datasets.CLIPCropEmbedding`.

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
        if not same_teacher(teacher, self.bbox_head.teacher):
            raise ValueError(
                f'the region embeddings come from the teacher {teacher}, the text '
                f'embeddings from {self.bbox_head.teacher}; both must come from one teacher'
            )
        return instances

    def _bbox_forward(self, x: tuple[Tensor], rois: Tensor) -> dict:
        """mmdet's; in training the distillation RoIs go along, to ``distill_embeddings``."""
        if self._distill_instances is None:
            return super()._bbox_forward(x, rois)
        distill_rois = bbox2roi([instances.bboxes for instances in self._distill_instances])
        features = self.bbox_roi_extractor(
            x[: self.bbox_roi_extractor.num_inputs], torch.cat([rois, distill_rois.to(rois)])
        )
        if self.with_shared_head:
            features = self.shared_head(features)
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
            results['loss_bbox']['loss_distill'] = self.distill_loss(
                results['distill_embeddings'], teacher
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
        """mmdet's, for the words that each image asks for.

        Args:
            x: The batch's feature maps.
            batch_img_metas: Of each image; :class:`Words` in ``words`` take the place of the
                vocabulary for it.
            rpn_results_list: As mmdet's.
            rcnn_test_cfg: As mmdet's; see :func:`explained_detections` for ``explain``.
            rescale: As mmdet's.
        """
        asked = [meta.get('words') for meta in batch_img_metas]
        if any(words is not asked[0] for words in asked):
            return [
                result
                for i, (meta, proposals) in enumerate(
                    zip(batch_img_metas, rpn_results_list, strict=True)
                )
                for result in self.predict_bbox(
                    tuple(level[i : i + 1] for level in x),
                    [meta],
                    [proposals],
                    rcnn_test_cfg,
                    rescale,
                )
            ]
        if not any(map(len, rpn_results_list)):
            # mmdet asks no bbox head then, which alone knows the fields of a detection.
            region = InstanceData(bboxes=x[0].new_tensor([[0, 0, 1, 1]]), scores=x[0].new_zeros(1))
            regions = [region] * len(rpn_results_list)
            results = self.predict_bbox(x, batch_img_metas, regions, rcnn_test_cfg, rescale)
            return [result[:0] for result in results]
        metas = [
            {**meta, 'objectness': proposals.get('scores')}
            for meta, proposals in zip(batch_img_metas, rpn_results_list, strict=True)
        ]
        with asking_for(asked[0]):
            return super().predict_bbox(x, metas, rpn_results_list, rcnn_test_cfg, rescale)
