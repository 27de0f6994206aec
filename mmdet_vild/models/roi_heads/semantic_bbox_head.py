"""A bbox head whose boxes depend on the word of their class."""

from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import pad

from mmdet_vild.options import CountOrZero, checked_options

from ..words import Words
from .vild_bbox_head import ViLDBBoxHead, through


@MODELS.register_module()
@checked_options
class SemanticBBoxHead(ViLDBBoxHead):
    """:class:`ViLDBBoxHead` with semantic regression and, if wanted, branches (EZSD).

    A linear layer of [box features, text embedding of the class] is one of the features plus one of
    the embedding: ``fc_reg`` plus ``class_shift``. So a class adds four numbers to the box deltas
    of a RoI, which are the same for all its classes: boxes stay class-agnostic. In training the
    class is the assigned one, in testing the one of the highest logit, among the words that compete
    too; background adds nothing.

    Args:
        num_cls_convs, num_cls_fcs: Convs and FCs of the classification alone, after those shared.
        num_reg_convs, num_reg_fcs: The same of the boxes.
        class_conditioned: Whether the class shifts its boxes; False leaves the branches alone.
        shift_background: Whether in testing a RoI that looks like background is shifted all the
            same, by its best word. At a score threshold of 0 such RoIs are detected too.
        **kwargs: As :class:`ViLDBBoxHead`, but for ``loss_iou``.

    Raises:
        TypeError: There are no text embeddings: the classifier is no :class:`CLIPTextClassifier`.
        ValueError: A branch has convs after shared FCs, or there is no FC before an output; there
            is a ``loss_iou``, or no boxes.
    """

    SEPARATE = True

    def __init__(
        self,
        num_shared_fcs: CountOrZero = 0,
        num_cls_convs: CountOrZero = 0,
        num_cls_fcs: CountOrZero = 0,
        num_reg_convs: CountOrZero = 0,
        num_reg_fcs: CountOrZero = 0,
        class_conditioned: bool = True,
        shift_background: bool = False,
        **kwargs,
    ) -> None:
        separate = dict(num_cls_convs=num_cls_convs, num_cls_fcs=num_cls_fcs)
        separate |= dict(num_reg_convs=num_reg_convs, num_reg_fcs=num_reg_fcs)
        late = num_shared_fcs and (num_cls_convs or num_reg_convs)
        if late or not (num_shared_fcs or (num_cls_fcs and num_reg_fcs)):
            raise ValueError(
                f'found num_shared_fcs={num_shared_fcs} and {separate}; SemanticBBoxHead needs '
                'either shared FCs, and then no convs in its branches, or FCs in both branches'
            )
        if not kwargs.get('with_reg', True):
            raise ValueError(
                'with_reg=False of SemanticBBoxHead leaves out the boxes, which are all that '
                'it adds; take a ViLDBBoxHead'
            )
        if kwargs.get('loss_iou') is not None:
            raise ValueError(
                f'SemanticBBoxHead predicts no IoU, found loss_iou={kwargs["loss_iou"]}; leave it '
                'out, or take a ViLDBBoxHead'
            )
        super().__init__(num_shared_fcs=num_shared_fcs, **separate, **kwargs)
        self.shift_background = shift_background
        self.class_shift = None
        if class_conditioned:
            dims = self.bbox_coder.encode_size
            self.class_shift = nn.Linear(self.fc_cls.embed_dims, dims, bias=False)
            if kwargs.get('init_cfg') is None:
                self.init_cfg += [dict(type='Normal', std=0.001, override=dict(name='class_shift'))]

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`ViLDBBoxHead.embed`; the deltas (n, 4) are those of no class."""
        shared = self._shared(x)
        return self._embeddings(shared), self._deltas(shared)

    def forward_distill(self, x: Tensor, num_distill: int) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`ViLDBBoxHead.forward_distill`, without boxes for distillation RoIs."""
        shared = self._shared(x)
        sampled, distilled = self._embeddings(shared).split([len(x) - num_distill, num_distill])
        return self.classify(sampled), self._deltas(shared[: len(sampled)]), distilled

    def _shared(self, x: Tensor) -> Tensor:
        if len(self.shared_fcs):
            return through(x, self.shared_convs, self.shared_fcs)
        for conv in self.shared_convs:
            x = conv(x)
        return x

    def _embeddings(self, shared: Tensor) -> Tensor:
        return self.fc_cls.embed(through(shared, self.cls_convs, self.cls_fcs))

    def _deltas(self, shared: Tensor) -> Tensor:
        return self.fc_reg(through(shared, self.reg_convs, self.reg_fcs))

    def shifts(self, words: Words | None = None) -> Tensor:
        """(C + R + 1, 4): what each word adds to the deltas; the last, background's, is zero."""
        words = self.fc_cls.words if words is None else words
        shifts = self.class_shift(words.embeddings)
        if words.owners is not None:  # several rows a word, of which it has the mean
            of_words = shifts.new_zeros(len(words.names), shifts.shape[1])
            owners = words.owners[:, None].expand_as(shifts)
            shifts = of_words.scatter_reduce(0, owners, shifts, 'mean', include_self=False)
        return pad(shifts, (0, 0, 0, 1))

    def loss(
        self, cls_score: Tensor, bbox_pred: Tensor, rois: Tensor, labels: Tensor, *args, **kwargs
    ) -> dict:
        """As :meth:`ViLDBBoxHead.loss`, of the boxes (n, 4) of the assigned classes (n,).

        The mean lengths of the shifts of base and of novel words are logged with the losses, as
        ``shift_base`` and ``shift_novel``. Novel ones are learned from base words alone, in so far
        as their embeddings are alike.
        """
        if self.class_shift is None:
            return super().loss(cls_score, bbox_pred, rois, labels, *args, **kwargs)
        shifts = self.shifts()
        rows = torch.where(labels == self.num_classes, len(shifts) - 1, labels)
        losses = super().loss(cls_score, bbox_pred + shifts[rows], rois, labels, *args, **kwargs)
        lengths, novel = shifts[:-1].detach().norm(dim=1), self.fc_cls.words.novel
        for name, which in (('base', ~novel), ('novel', novel)):
            losses[f'shift_{name}'] = (lengths * which).sum() / which.sum().clamp(min=1)
        return losses

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
        """As :meth:`ViLDBBoxHead.predict_by_feat`, each box shifted by its best word."""
        if self.class_shift is not None:
            asked = [None] * len(batch_img_metas) if words is None else words
            left_out = int(self.shift_background and self.fc_cls.background is not None)
            bbox_preds = [
                deltas + self.shifts(each)[logits[:, : logits.shape[1] - left_out].argmax(1)]
                for deltas, logits, each in zip(bbox_preds, cls_scores, asked, strict=True)
            ]
        return super().predict_by_feat(
            rois, cls_scores, bbox_preds, batch_img_metas, rcnn_test_cfg, rescale, words, objectness
        )
