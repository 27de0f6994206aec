"""What makes a head of queries and masks one of any words, taught by synonyms and a teacher."""

from collections.abc import Sequence
from typing import Literal

import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmdet_vild.options import Count, Fraction, checked_options
from mmdet_vild.vocabulary import same_space

from ..classifiers import CLIPTextClassifier
from ..losses import FeatureDistillLoss, SynonymLoss, TextGuidedDistillLoss
from ..words import NORM_EPS

#: Fields of the ground truth that ``PackSegmentInputs`` adds.
SEGMENT_FIELDS = ('embeddings', 'synonyms')


@checked_options
class TextQueryHeadMixin:
    """Put before a head of mmdet that classifies queries by ``cls_embed``.

    Of a query q after prediction l, c = W_c LN(q) is its feature, e_l = W_l ReLU(c) + b_l its
    embedding, and the logits are cosines of e_l with the words and one "no object" embedding over
    the temperature (GKC, as the authors' code has it). W_l of the last prediction, which inference
    uses, is the projection of the :class:`CLIPTextClassifier`.

    In training the ground truth is one instance a segment, as
    :class:`mmdet_vild.datasets.SegmentInstances` makes it; ``gt_sem_seg`` is not used. Categories
    that the classifier says are novel leave the softmax in training, unless ``mask_novel=False``.

    Args:
        *args: As the head.
        cls_predictor_cfg: Config of the :class:`CLIPTextClassifier`, with background.
        shared_projection: Whether all predictions share one projection, and not one each.
        synonym_loss: Config of :class:`SynonymLoss`; None to train with the classifier's words.
        distill_loss: Config of :class:`FeatureDistillLoss` or :class:`TextGuidedDistillLoss`; None
            without a teacher.
        student: What is distilled: P_l c (``'prior'``, the authors' final one), P_l e_l
            (``'posterior'``), either after a ReLU, or e_l itself (``'direct'``).
        region_dropout: The fraction of queries with a segment that are left out of the
            classification losses, drawn anew for each.
        max_regions: At most this many segments of a batch, drawn at random, are distilled.
        **kwargs: As the head.

    Raises:
        TypeError: The classifier or a loss is of another kind.
        ValueError: The parts do not fit together.
    """

    def __init__(
        self,
        *args,
        cls_predictor_cfg: ConfigType,
        shared_projection: bool = False,
        synonym_loss: ConfigType | None = None,
        distill_loss: ConfigType | None = None,
        student: Literal['prior', 'prior_relu', 'posterior', 'posterior_relu', 'direct'] = 'prior',
        region_dropout: Fraction = 0.0,
        max_regions: Count = 200,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        name, width = type(self).__name__, self.cls_embed.in_features
        if len(self.class_weight) != self.num_classes + 1:
            raise ValueError(
                f'class_weight of loss_cls of {name} has {len(self.class_weight)} numbers for '
                f'{self.num_classes} categories; it needs one a category and one for no object, as '
                f'in [1.0] * {self.num_classes} + [0.1]'
            )
        self.fc_cls = MODELS.build(
            cls_predictor_cfg,
            default_args=dict(in_features=width, out_features=self.num_classes + 1),
        )
        if not isinstance(self.fc_cls, CLIPTextClassifier):
            raise TypeError(
                f'cls_predictor_cfg of {name} must be a CLIPTextClassifier, found '
                f'{type(self.fc_cls).__name__}'
            )
        if self.fc_cls.background is None:
            raise ValueError(
                f'{name} needs an embedding of no object; leave with_background=False out of its '
                'classifier'
            )
        if self.fc_cls.trains_rivals:
            raise ValueError(
                f'rivals of the classifier of {name} have no place in its losses, which know its '
                'own words and no object; leave rivals out'
            )
        nn.init.normal_(self.fc_cls.background, std=512**-0.5)
        self.cls_embed = nn.Linear(width, width)
        dims, others = self.fc_cls.embed_dims, 0 if shared_projection else self.num_predictions - 1
        self.projections = nn.ModuleList(nn.Linear(width, dims) for _ in range(others))
        self.synonym_loss = None if synonym_loss is None else MODELS.build(synonym_loss)
        if not isinstance(self.synonym_loss, SynonymLoss | None):
            raise TypeError(
                f'synonym_loss of {name} must be a SynonymLoss, found '
                f'{type(self.synonym_loss).__name__}'
            )
        if self.synonym_loss is not None and self.fc_cls.names:
            self.synonym_loss.check_vocabulary(self.fc_cls.vocabulary, self.num_classes)
        self.distill_loss = None if distill_loss is None else MODELS.build(distill_loss)
        if not isinstance(self.distill_loss, FeatureDistillLoss | TextGuidedDistillLoss | None):
            raise TypeError(
                f'distill_loss of {name} must be a FeatureDistillLoss or a TextGuidedDistillLoss, '
                f'found {type(self.distill_loss).__name__}'
            )
        self.student = student
        self.distill_projections = nn.ModuleList()
        if distill_loss is not None and student != 'direct':
            given = width if student.startswith('prior') else dims
            self.distill_projections.extend(nn.Linear(given, dims) for _ in range(others + 1))
        self.region_dropout = region_dropout
        weights = torch.tensor(self.class_weight)
        self.register_buffer('class_weights', weights, persistent=False)
        self.max_regions = max_regions
        self._targets: list[tuple[Tensor, ...]] = []

    @property
    def num_predictions(self) -> int:
        """int: L, how often queries are classified in training."""
        raise NotImplementedError

    def project(self, features: Tensor, prediction: int) -> Tensor:
        """e_l (..., D) of c (..., F) after a prediction l, before it has the length 1."""
        last = prediction in (-1, self.num_predictions - 1) or not len(self.projections)
        return (self.fc_cls.projection if last else self.projections[prediction])(features.relu())

    def embed(self, features: Tensor, prediction: int = -1) -> Tensor:
        """e_l (..., D) of length 1 in float32, of c (..., F)."""
        projected = self.project(features, prediction)
        with torch.autocast(projected.device.type, enabled=False):
            return normalize(projected.float(), dim=-1, eps=NORM_EPS)

    def embed_student(self, features: Tensor, prediction: int) -> Tensor:
        """What is compared with the teacher: (n, D) of c (n, F); see ``student``."""
        if not self.student.startswith('prior'):
            features = self.project(features, prediction)
        if self.student == 'direct':
            return features
        if self.student.endswith('relu'):
            features = features.relu()
        return self.distill_projections[prediction % len(self.distill_projections)](features)

    def training_logits(self, embeddings: Tensor) -> Tensor:
        """Logits (B, Q, C + 1) of (B, Q, D); novel categories are -inf, if they are masked."""
        logits = self.fc_cls.classify(embeddings)
        return logits.masked_fill(nn.functional.pad(self._novel, (0, 1)), -torch.inf)

    @property
    def _novel(self) -> Tensor:
        """(C,) bool, which categories are left out of the softmax in training."""
        return self.fc_cls.novel[: self.num_classes] & bool(self.fc_cls.mask_novel)

    def preprocess_gt(
        self, batch_gt_instances: InstanceList, batch_gt_semantic_segs: Sequence
    ) -> InstanceList:
        """The instances with masks (n, h, w) as tensors, and what the teacher says of each."""
        found = super().preprocess_gt(batch_gt_instances, [None] * len(batch_gt_instances))
        for instances, packed in zip(found, batch_gt_instances, strict=True):
            for field in SEGMENT_FIELDS:
                if field in packed:
                    instances.set_field(packed.get(field), field)
            instances.set_metainfo(dict(teacher=packed.get('teacher', 'unknown')))
        return found

    def _get_targets_single(self, *args, **kwargs) -> tuple:
        """mmdet's; what is matched is kept, and some queries leave the classification."""
        targets = super()._get_targets_single(*args, **kwargs)
        labels, weights, _, _, matched, _, sampling_result = targets
        if self.region_dropout:
            weights[matched] = self._kept(matched).to(weights)
        self._targets.append((labels, weights, matched, sampling_result.pos_assigned_gt_inds))
        return targets

    def _kept(self, queries: Tensor) -> Tensor:
        """(n,) bool, which of some queries with a segment stay in a classification loss."""
        return torch.rand(len(queries), device=queries.device) >= self.region_dropout

    def _loss_by_feat_single(self, cls_scores: Tensor, *args, **kwargs) -> tuple[Tensor, ...]:
        """mmdet's; queries that are left out are not counted in its mean either."""
        loss_cls, *others = super()._loss_by_feat_single(cls_scores, *args, **kwargs)
        if self.region_dropout:
            labels, weights, *_ = zip(*self._targets[-len(cls_scores) :], strict=True)
            counted = self.class_weights[torch.stack(labels)]
            kept = (counted * torch.stack(weights)).sum().clamp(min=1e-6)
            loss_cls = loss_cls * counted.sum() / kept
        return loss_cls, *others

    def loss_by_feat(
        self,
        all_cls_scores: Sequence[Tensor],
        all_mask_preds: Sequence[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
    ) -> dict[str, Tensor]:
        """mmdet's losses, and after each prediction those of synonyms and of the teacher.

        Args:
            all_cls_scores: After each prediction c (B, Q, F), what ``forward`` returns.
            all_mask_preds: After each, mask logits (B, Q, h, w).
            batch_gt_instances: ``labels`` (n,), ``masks`` (n, h, w) and :data:`SEGMENT_FIELDS`.
            batch_img_metas: Not used.

        Raises:
            ValueError: The ground truth has no embeddings or drawn names, and a loss needs them.
        """
        self._check_fields(batch_gt_instances)
        embeddings = [self.embed(features, i) for i, features in enumerate(all_cls_scores)]
        logits = list(map(self.training_logits, embeddings))
        self._targets = []
        losses = super().loss_by_feat(logits, all_mask_preds, batch_gt_instances, batch_img_metas)
        targets, self._targets = self._targets, []
        chosen = self._chosen(batch_gt_instances)
        images, last = len(batch_gt_instances), len(embeddings) - 1
        for i, (features, embedded) in enumerate(zip(all_cls_scores, embeddings, strict=True)):
            matched = targets[i * images : (i + 1) * images]
            more = self._synonym_losses(embedded, matched, batch_gt_instances)
            more |= self._distill_losses(features, i, matched, batch_gt_instances, chosen)
            losses |= {name if i == last else f'd{i}.{name}': loss for name, loss in more.items()}
        if isinstance(self.distill_loss, TextGuidedDistillLoss):
            losses['distill_scale'] = self.distill_loss.scale.detach()
        return losses

    def _check_fields(self, batch_gt_instances: list[InstanceData]) -> None:
        random = getattr(self.synonym_loss, 'way', '') == 'random'
        for instances in batch_gt_instances:
            if random and 'synonyms' not in instances:
                raise ValueError(
                    'the ground truth of a training sample has no drawn synonyms, which '
                    'SynonymLoss(way="random") needs; add DrawSynonyms after SegmentInstances, and '
                    'PackSegmentInputs in place of PackDetInputs'
                )
            if self.distill_loss is None:
                continue
            if 'embeddings' not in instances:
                raise ValueError(
                    'the ground truth of a training sample has no embeddings, which distill_loss '
                    'needs; add SegmentEmbeddings after SegmentInstances, and PackSegmentInputs in '
                    'place of PackDetInputs, or train with distill_loss=None'
                )
            found, expected = instances.teacher, self.fc_cls.vocabulary.teacher
            if not same_space(found, expected):
                raise ValueError(
                    f'the segment embeddings come from the teacher {found}, the text embeddings '
                    f'from {expected}; both must come from one teacher'
                )

    def _chosen(self, batch_gt_instances: list[InstanceData]) -> Sequence[Tensor | None]:
        """(n,) bool of each image, which segments are distilled; None for all."""
        counts = [len(instances) for instances in batch_gt_instances]
        if sum(counts) <= self.max_regions:
            return [None] * len(counts)
        chosen = torch.zeros(sum(counts), dtype=torch.bool, device=self.cls_embed.weight.device)
        chosen[torch.randperm(len(chosen), device=chosen.device)[: self.max_regions]] = True
        return chosen.split(counts)

    def _synonym_losses(
        self, embeddings: Tensor, matched: Sequence, batch_gt_instances: list[InstanceData]
    ) -> dict[str, Tensor]:
        if self.synonym_loss is None:
            return {}
        labels = torch.stack([labels for labels, *_ in matched])
        rows = torch.zeros_like(labels)
        weights = torch.ones_like(labels, dtype=embeddings.dtype)
        images = zip(rows, weights, matched, batch_gt_instances, strict=True)
        for row, weight, (_, _, queries, segments), instances in images:
            if 'synonyms' in instances:
                names = self.synonym_loss.rows(instances.labels, instances.synonyms)
                row[queries] = names[segments]
            if self.region_dropout:
                weight[queries] = self._kept(queries).to(weight)
        classifier = self.fc_cls
        loss = self.synonym_loss(
            embeddings, labels, rows, classifier.background, classifier.temperature, weights,
            self._novel,
        )  # fmt: skip
        return {'loss_synonym': loss}

    def _distill_losses(
        self,
        features: Tensor,
        prediction: int,
        matched: Sequence,
        batch_gt_instances: list[InstanceData],
        chosen: Sequence[Tensor | None],
    ) -> dict[str, Tensor]:
        if self.distill_loss is None:
            return {}
        regions, teacher, texts, counts = [], [], [], []
        images = zip(features, matched, batch_gt_instances, chosen, strict=True)
        for of_image, (_, _, queries, segments), instances, wanted in images:
            order = segments.argsort()  # as the segments are, in every prediction
            if wanted is not None:
                order = order[wanted[segments[order]]]
            regions.append(of_image[queries[order]])
            teacher.append(instances.embeddings[segments[order]].float())
            if isinstance(self.distill_loss, TextGuidedDistillLoss):
                texts.append(self._texts(instances)[segments[order]])
            counts.append(len(order))
        student = self.embed_student(torch.cat(regions), prediction)
        if not texts:
            return {'loss_distill': self.distill_loss(student, torch.cat(teacher))}
        return self.distill_loss(student, torch.cat(teacher), torch.cat(texts), counts)

    def _texts(self, instances: InstanceData) -> Tensor:
        """(n, D) of each segment's drawn name, or else of its category."""
        if getattr(self.synonym_loss, 'way', '') == 'random':
            return self.synonym_loss.names[
                self.synonym_loss.rows(instances.labels, instances.synonyms)
            ]
        return self.fc_cls.texts_of(instances.labels)

    def predict(
        self, x: tuple[Tensor], batch_data_samples: SampleList
    ) -> tuple[list[Tensor], Tensor]:
        """Logits (Q, C + R + 1) of each image, of its own words, and mask logits (B, Q, H, W).

        As mmdet's; the masks are of the size of the padded batch. :class:`Words` in the meta
        information ``words`` of an image take the place of the vocabulary for it.
        """
        features, masks = super().predict(x, batch_data_samples)
        asked = [sample.metainfo.get('words') for sample in batch_data_samples]
        return list(map(self.fc_cls.classify, self.embed(features), asked)), masks
