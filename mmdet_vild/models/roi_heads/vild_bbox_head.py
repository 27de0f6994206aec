"""The bbox head of ViLD-text, ViLD-image and ViLD."""

from collections.abc import Iterable, Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmdet.models.losses import CrossEntropyLoss, FocalLoss
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import softmax

from mmdet_vild.options import Fraction, checked_options

from ..classifiers import CLIPTextClassifier
from ..explained_detections import explained_detections
from ..losses import quality_loss
from ..words import Words


class FCNormReLU(nn.Sequential):
    """A linear layer, an optional norm, and a ReLU."""

    def __init__(self, in_features: int, out_features: int, norm_cfg: dict | None) -> None:
        norm = [] if norm_cfg is None else [build_norm_layer(norm_cfg, out_features)[1]]
        super().__init__(nn.Linear(in_features, out_features), *norm, nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(n, in_features) to (n, out_features)."""
        if self.training and len(x) == 1:
            # Batch norm refuses a single row, which an image with one proposal may give.
            return super().forward(x.expand(2, -1))[:1]
        return super().forward(x)


def _check_loss_cls(head: str, config: dict | None, classifier: dict) -> None:
    """Refuse a classification loss that is not one of the classifier's scores."""
    loss = None if config is None else MODELS.build(config)
    sigmoid = classifier.get('bias') is not None
    fits = getattr(loss, 'use_sigmoid', False) == sigmoid
    if sigmoid:  # others of mmdet want other targets than labels
        fits &= isinstance(loss, CrossEntropyLoss | FocalLoss)
        fits &= not getattr(loss, 'activated', False)
    if getattr(loss, 'custom_activation', False) or not fits:
        way = (
            'a sigmoid of each word, as its classifier has a bias; its loss_cls must be '
            'CrossEntropyLoss or FocalLoss, with use_sigmoid=True and of logits'
            if sigmoid
            else 'a softmax over the words and background; its loss_cls must be one of softmax, '
            'such as CrossEntropyLoss with use_sigmoid=False'
        )
        raise ValueError(f'{head} classifies by {way}, found {config}')
    if classifier.get('rivals') is not None and getattr(loss, 'class_weight', None) is not None:
        raise ValueError(
            f'loss_cls of {head} has a class_weight for each word and background, and rivals have '
            'none; leave one of the two out'
        )


def through(x: Tensor, convs: Iterable[nn.Module], fcs: Iterable[nn.Module]) -> Tensor:
    """RoI features (n, ...) after a branch's convs, and then its FCs, each of one row a RoI."""
    for conv in convs:
        x = conv(x)
    x = x.flatten(1)
    for fc in fcs:
        x = fc(x)
    return x


@MODELS.register_module()
@checked_options
class ViLDBBoxHead(ConvFCBBoxHead):
    """Convs and FCs shared by a text classifier and a class-agnostic box (ViLD, Fig. 3).

    ``cls_predictor_cfg`` must be a :class:`CLIPTextClassifier`. A classifier without background
    makes it the head of ViLD-image, which has no classification loss: it learns from the
    teacher's image embeddings alone, and scores by a softmax over the categories. One with a
    ``bias`` classifies by a sigmoid of each word, and needs a ``loss_cls`` of sigmoids:
    ``CrossEntropyLoss`` or ``FocalLoss`` with ``use_sigmoid=True``.

    Args:
        fc_norm_cfg: Norm after each FC, as the authors have; default none, as mmdet has.
        with_reg: Whether it predicts boxes.
        loss_iou: Config of :class:`LocalisationQualityLoss`, which teaches the head to predict, of
            regions that are annotated alone, their IoU with the object, whatever it is called (OLN,
            Kim et al., RA-L 2022). Scores are then geometric means of the words'
            probabilities and that. None for no such prediction.
        iou_weight: The exponent of the predicted IoU in the scores; 1 less it is the other one.
        init_cfg: Default: mmdet's.
        **kwargs: As :class:`mmdet.models.roi_heads.bbox_heads.ConvFCBBoxHead`; the branches are
            all shared, and the box is class-agnostic.

    Raises:
        TypeError, ValueError: It would be another kind of head.
    """

    #: Whether there may be convs and FCs of one branch alone.
    SEPARATE = False

    def __init__(
        self,
        fc_norm_cfg: dict | None = None,
        with_reg: bool = True,
        loss_iou: dict | None = None,
        iou_weight: Fraction = 0.5,
        init_cfg: dict | list | None = None,
        **kwargs,
    ) -> None:
        name = type(self).__name__
        own = {'reg_class_agnostic', 'with_avg_pool', 'with_cls'}
        if not self.SEPARATE:
            own |= {
                f'num_{branch}_{kind}' for branch in ('cls', 'reg') for kind in ('convs', 'fcs')
            }
        if given := sorted(own & set(kwargs)):
            raise TypeError(
                f'{name} does not take {given}: its convs and FCs are shared, and its box is '
                'class-agnostic'
            )
        if not self.SEPARATE and kwargs.get('num_shared_fcs', 0) < 1:
            raise ValueError(f'{name} needs num_shared_fcs of 1 or more')
        _check_loss_cls(name, kwargs.get('loss_cls'), kwargs.get('cls_predictor_cfg') or {})
        self.fc_norm_cfg = fc_norm_cfg
        super().__init__(
            reg_class_agnostic=True, with_reg=with_reg, init_cfg=init_cfg or [], **kwargs
        )
        if not isinstance(self.fc_cls, CLIPTextClassifier):
            raise TypeError(
                f'cls_predictor_cfg of {name} must be a CLIPTextClassifier, found '
                f'{type(self.fc_cls).__name__}'
            )
        if self.fc_cls.logit_scale is not None and not self.fc_cls.has_loss:
            raise ValueError(
                f'no annotation teaches a classifier with_background=False, so that {name} cannot '
                'learn its temperature; leave learned_temperature out'
            )
        self.loss_iou = None
        if loss_iou is not None:
            if not with_reg:
                raise ValueError(f'loss_iou of {name} needs a head with boxes, with_reg=True')
            self.loss_iou = quality_loss(loss_iou, f'loss_iou of {name}')
            self.fc_iou = nn.Linear(self.shared_out_channels, 1)
        self.iou_weight = iou_weight
        if init_cfg is None:
            # mmdet's own initialisation names whole branches, norms included.
            self.init_cfg = [dict(type='Xavier', distribution='uniform', layer='Linear')]
            if with_reg:
                self.init_cfg += [dict(type='Normal', std=0.001, override=dict(name='fc_reg'))]

    def _add_conv_fc_branch(self, *args, **kwargs) -> tuple:
        """mmdet's, with the norm and the ReLU of each FC in one module with it."""
        convs, fcs, width = super()._add_conv_fc_branch(*args, **kwargs)
        fcs = nn.ModuleList(
            FCNormReLU(fc.in_features, fc.out_features, self.fc_norm_cfg) for fc in fcs
        )
        return convs, fcs, width

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embeddings (n, D), of length 1, and box deltas (n, 4) or None.

        With ``loss_iou`` a fifth column of the deltas is the logit of the predicted IoU.

        Args:
            x: (n, in_channels, 7, 7) RoI features.
        """
        if self.shared_convs and x.device.type == 'cpu':
            # In this layout their backward pass takes less time; on a GPU it was not measured.
            x = x.contiguous(memory_format=torch.channels_last)
        x = through(x, self.shared_convs, self.shared_fcs)
        bbox_pred = self.fc_reg(x) if self.with_reg else None
        if self.loss_iou is not None:
            bbox_pred = torch.cat([bbox_pred, self.fc_iou(x)], dim=1)
        return self.fc_cls.embed(x), bbox_pred

    def classify(self, embeddings: Tensor, words: Words | None = None) -> Tensor:
        """Logits of what :meth:`embed` returns; see :meth:`CLIPTextClassifier.classify`."""
        return self.fc_cls.classify(embeddings, words)

    def forward(self, x: Tensor, words: Words | None = None) -> tuple[Tensor, Tensor | None]:
        """As :meth:`embed`, and with logits, as of :meth:`classify`, for embeddings."""
        embeddings, bbox_pred = self.embed(x)
        return self.classify(embeddings, words), bbox_pred

    def forward_distill(self, x: Tensor, num_distill: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sampled RoIs and, after them, ``num_distill`` distillation RoIs in one pass.

        Args:
            x: (n + num_distill, in_channels, 7, 7) RoI features.

        Returns:
            Logits (n, C + 1) and box deltas (n, 4) of the sampled RoIs, and embeddings
            (num_distill, D) of the others.
        """
        embeddings, bbox_pred = self.embed(x)
        sampled, distilled = embeddings.split([len(x) - num_distill, num_distill])
        return self.classify(sampled), bbox_pred[: len(sampled)], distilled

    def loss(
        self,
        cls_score: Tensor,
        bbox_pred: Tensor | None,
        rois: Tensor,
        labels: Tensor,
        label_weights: Tensor,
        bbox_targets: Tensor,
        *args,
        **kwargs,
    ) -> dict:
        """As :meth:`mmdet.models.roi_heads.bbox_heads.BBoxHead.loss`, and perhaps ``loss_iou``.

        A batch without any RoI still yields a classification loss, of zero, so that every rank
        of a distributed run has a gradient for every parameter.
        """
        if self.loss_iou is not None:
            bbox_pred, quality = bbox_pred.split([4, 1], dim=1)
        targets = (bbox_pred, rois, labels, label_weights, bbox_targets)
        if self.fc_cls.has_loss:
            logits = self.fc_cls.training_logits(cls_score, labels)
            losses = super().loss(logits, *targets, *args, **kwargs)
            if self.fc_cls.bias is not None:  # that of labels, to which background is a word
                losses.pop('acc', None)
            if not logits.numel():
                losses['loss_cls'] = logits.sum()
        else:
            losses = super().loss(None, *targets, *args, **kwargs)
        if self.loss_iou is not None:
            losses['loss_iou'] = self._iou_loss(quality, rois[:, 1:], labels, bbox_targets)
        return losses

    def _iou_loss(self, quality: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        annotated = (labels >= 0) & (labels < self.num_classes)
        objects = targets
        if not self.reg_decoded_bbox:  # what was encoded
            objects = get_box_tensor(self.bbox_coder.decode(boxes, targets))
        ious = bbox_overlaps(boxes, objects, is_aligned=True)
        return self.loss_iou(quality, ious, annotated.to(ious))

    def scores(self, cls_score: Tensor, novel: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Probabilities (n, C + R) of the words (ViLD, Sec. 3.2), and those of each branch.

        Args:
            cls_score: Logits; see :meth:`classify`. Background is dropped after the softmax, which
                a classifier with a ``bias`` has none of.
            novel: (C + R,) bool.

        Returns:
            The scores, and ``text_scores``, or ``image_scores`` of a head without background, which
            learned from the teacher's images alone.
        """
        if self.fc_cls.bias is not None:
            scores = cls_score.sigmoid()
            return scores, {'text_scores': scores}
        scores, branch = softmax(cls_score, dim=1), 'image_scores'
        if self.fc_cls.background is not None:
            scores, branch = scores[:, :-1], 'text_scores'
        return scores, {branch: scores}

    def predict_by_feat(
        self,
        rois: Sequence[Tensor],
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        batch_img_metas: list[dict],
        rcnn_test_cfg: ConfigDict | None = None,
        rescale: bool = False,
        words: Sequence[Words | None] | None = None,
        objectness: Sequence[Tensor | None] | None = None,
    ) -> list[InstanceData]:
        """Detections of each image of a batch, among its own words; see mmdet's.

        Args:
            rois: (n, 5) of each image.
            cls_scores: Logits of its words; see :meth:`classify`.
            bbox_preds: Box deltas (n, 4), with ``loss_iou`` (n, 5); see :meth:`embed`.
            batch_img_metas: Of each image.
            rcnn_test_cfg: See :func:`explained_detections`. Without it the results hold the boxes
                (n, 4) and scores (n, C + R) of every RoI, before any NMS, and with ``loss_iou``
                its ``iou_scores`` (n,).
            rescale: Whether boxes are those of the original image.
            words: As for :meth:`classify`.
            objectness: (n,) the RPN's scores.
        """
        nothing = [None] * len(batch_img_metas)
        found = []
        for roi, logits, deltas, meta, asked, proposed in zip(
            rois, cls_scores, bbox_preds, batch_img_metas, words or nothing,
            objectness or nothing, strict=True,
        ):  # fmt: skip
            # mmdet decodes the boxes; its softmax, over no logits here, is replaced.
            boxes = deltas if self.loss_iou is None else deltas[:, :4]
            result = self._predict_by_feat_single(roi, logits[:, :0], boxes, meta, rescale, None)
            asked = asked or self.fc_cls.words
            result.scores, parts = self.scores(logits, asked.novel)
            if self.loss_iou is not None:
                quality = deltas[:, 4].float().sigmoid()
                result.iou_scores = parts['iou_scores'] = quality
                weights = (1 - self.iou_weight, self.iou_weight)
                result.scores = result.scores ** weights[0] * (quality ** weights[1])[:, None]
            if rcnn_test_cfg is not None:
                parts['objectness'] = proposed
                result = explained_detections(
                    result.bboxes, result.scores, rcnn_test_cfg, asked, parts
                )
            found.append(result)
        return found
