"""The bbox head of ViLD-text, ViLD-image and ViLD."""

from collections.abc import Sequence

from mmcv.cnn import build_norm_layer
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import softmax

from mmdet_vild.options import checked_options

from ..classifiers import CLIPTextClassifier
from ..detections import explained_detections
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


@MODELS.register_module()
@checked_options
class ViLDBBoxHead(ConvFCBBoxHead):
    """Convs and FCs shared by a text classifier and a class-agnostic box (ViLD, Fig. 3).

    ``cls_predictor_cfg`` must be a :class:`CLIPTextClassifier`. A classifier without background
    makes it the head of ViLD-image, which has no classification loss: it learns from the
    teacher's image embeddings alone, and scores by a softmax over the categories.

    Args:
        fc_norm_cfg: Norm after each FC, as the authors have; default none, as mmdet has.
        with_reg: Whether it predicts boxes.
        init_cfg: Default: mmdet's.
        **kwargs: As :class:`mmdet.models.roi_heads.bbox_heads.ConvFCBBoxHead`; the branches are
            all shared, and the box is class-agnostic.
    """

    def __init__(
        self,
        fc_norm_cfg: dict | None = None,
        with_reg: bool = True,
        init_cfg: dict | list | None = None,
        **kwargs,
    ) -> None:
        own = {'reg_class_agnostic', 'with_avg_pool', 'with_cls'} | {
            f'num_{branch}_{kind}' for branch in ('cls', 'reg') for kind in ('convs', 'fcs')
        }
        given = sorted(own & set(kwargs))
        if given:
            raise TypeError(
                f'{type(self).__name__} does not take {given}: its convs and FCs are shared, '
                'and its box is class-agnostic'
            )
        if kwargs.get('num_shared_fcs', 0) < 1:
            raise ValueError(f'{type(self).__name__} needs num_shared_fcs of 1 or more')
        loss_cls = MODELS.build(kwargs['loss_cls']) if 'loss_cls' in kwargs else None
        if getattr(loss_cls, 'use_sigmoid', False) or getattr(loss_cls, 'custom_activation', False):
            raise ValueError(
                f'{type(self).__name__} classifies by a softmax over the words and background; '
                f'its loss_cls must be one of softmax, such as CrossEntropyLoss with '
                f'use_sigmoid=False, found {kwargs["loss_cls"]}'
            )
        self.fc_norm_cfg = fc_norm_cfg
        super().__init__(
            reg_class_agnostic=True, with_reg=with_reg, init_cfg=init_cfg or [], **kwargs
        )
        if not isinstance(self.fc_cls, CLIPTextClassifier):
            raise TypeError(
                f'cls_predictor_cfg of {type(self).__name__} must be a CLIPTextClassifier, found '
                f'{type(self.fc_cls).__name__}'
            )
        if init_cfg is None:
            # mmdet's own initialisation names whole branches, norms included.
            self.init_cfg = [dict(type='Xavier', distribution='uniform', layer='Linear')]
            if with_reg:
                self.init_cfg += [dict(type='Normal', std=0.001, override=dict(name='fc_reg'))]

    def _add_conv_fc_branch(
        self, num_branch_convs: int, num_branch_fcs: int, in_channels: int, is_shared: bool = False
    ) -> tuple:
        """mmdet's, with the norm and the ReLU of each FC in one module with it."""
        convs, fcs, width = super()._add_conv_fc_branch(
            num_branch_convs, num_branch_fcs, in_channels, is_shared
        )
        fcs = nn.ModuleList(
            FCNormReLU(fc.in_features, fc.out_features, self.fc_norm_cfg) for fc in fcs
        )
        return convs, fcs, width

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Region embeddings and boxes.

        Args:
            x: (n, in_channels, 7, 7) RoI features.

        Returns:
            Embeddings (n, D), L2-normalised, and box deltas (n, 4) or None.
        """
        for conv in self.shared_convs:
            x = conv(x)
        x = x.flatten(1)
        for fc in self.shared_fcs:
            x = fc(x)
        return self.fc_cls.embed(x), self.fc_reg(x) if self.with_reg else None

    def classify(self, embeddings: Tensor, words: Words | None = None) -> Tensor:
        """Logits of what :meth:`embed` returns.

        Args:
            embeddings: (n, D).
            words: C words, and R that compete with them; default: the vocabulary.

        Returns:
            (n, C + R + 1) with background last, or (n, C + R) without background.
        """
        return self.fc_cls.classify(embeddings, words)

    def forward(self, x: Tensor, words: Words | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits and boxes.

        Args:
            x: (n, in_channels, 7, 7) RoI features.
            words: As for :meth:`classify`.

        Returns:
            Logits as :meth:`classify`, and box deltas (n, 4) or None.
        """
        embeddings, bbox_pred = self.embed(x)
        return self.classify(embeddings, words), bbox_pred

    def forward_distill(self, x: Tensor, num_distill: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sampled RoIs and, after them, distillation RoIs in one pass.

        Args:
            x: (n + num_distill, in_channels, 7, 7) RoI features.
            num_distill: How many of the rows, at the end, are distillation RoIs.

        Returns:
            Logits (n, C + 1) and box deltas (n, 4) of the sampled RoIs, and embeddings
            (num_distill, D) of the distillation RoIs.
        """
        embeddings, bbox_pred = self.embed(x)
        num_sampled = len(x) - num_distill
        return (
            self.classify(embeddings[:num_sampled]),
            bbox_pred[:num_sampled],
            embeddings[num_sampled:],
        )

    def loss(self, cls_score: Tensor, *args, **kwargs) -> dict:
        """As :meth:`mmdet.models.roi_heads.bbox_heads.BBoxHead.loss`.

        A batch without any RoI still yields a classification loss, of zero, so that every rank
        of a distributed run has a gradient for every parameter.
        """
        if self.fc_cls.background is None:
            return super().loss(None, *args, **kwargs)
        logits = self.fc_cls.training_logits(cls_score)
        losses = super().loss(logits, *args, **kwargs)
        if not logits.numel():
            losses['loss_cls'] = logits.sum()
        return losses

    def branch_scores(self, cls_score: Tensor) -> dict[str, Tensor]:
        """Probabilities (n, C + R) of the words by each branch (ViLD, Sec. 3.2).

        Args:
            cls_score: Logits; see :meth:`classify`.

        Returns:
            ``text_scores``, or ``image_scores`` of a head without background, which learned from
            the teacher's images alone. Background is dropped after the softmax.
        """
        if self.fc_cls.background is None:
            return {'image_scores': softmax(cls_score, dim=1)}
        return {'text_scores': softmax(cls_score, dim=1)[:, :-1]}

    def combined_scores(self, branches: dict[str, Tensor], novel: Tensor) -> Tensor:
        """Scores (n, C + R) from those of the branches, for words of which (C + R,) are novel."""
        (scores,) = branches.values()
        return scores

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
        """Detections of each image of a batch, among its own words.

        Args:
            rois: Of each image (n, 5), and so the others, as mmdet has them.
            cls_scores: Of each image, logits of its words; see :meth:`classify`.
            bbox_preds: Of each image, box deltas (n, 4).
            batch_img_metas: Of each image.
            rcnn_test_cfg: See :func:`explained_detections`. Without it the results hold the boxes
                (n, 4) and scores (n, C + R) of every RoI, before any NMS.
            rescale: Whether boxes are those of the original image.
            words: Of each image, as for :meth:`classify`.
            objectness: Of each image (n,) the RPN's scores.
        """
        nothing = [None] * len(batch_img_metas)
        images = (rois, cls_scores, bbox_preds, batch_img_metas, words or nothing)
        return [
            self._predict_by_feat_single(*image, rescale, rcnn_test_cfg)
            for image in zip(*images, objectness or nothing, strict=True)
        ]

    def _predict_by_feat_single(
        self,
        roi: Tensor,
        cls_score: Tensor,
        bbox_pred: Tensor,
        img_meta: dict,
        words: Words | None,
        objectness: Tensor | None,
        rescale: bool,
        rcnn_test_cfg: ConfigDict | None,
    ) -> InstanceData:
        # mmdet decodes the boxes; its softmax, over no logits here, is replaced.
        results = super()._predict_by_feat_single(
            roi, cls_score[:, :0], bbox_pred, img_meta, rescale, None
        )
        words = self.fc_cls.words if words is None else words
        branches = self.branch_scores(cls_score)
        scores = self.combined_scores(branches, words.novel)
        if rcnn_test_cfg is None:
            results.scores = scores
            return results
        parts = {**branches, 'objectness': objectness}
        return explained_detections(results.bboxes, scores, rcnn_test_cfg, words, parts)
