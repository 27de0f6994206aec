"""Tunes the norms of a teacher's image encoder to the pictures of a detection dataset."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.structures.bbox import get_box_tensor
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    normalize,
    one_hot,
)
from torch.nn.modules.batchnorm import _BatchNorm

from mmdet_vild.options import Count, checked_options
from mmdet_vild.vocabulary import TextEmbeddings, same_space

#: Modules whose scales and shifts are tuned.
NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)
#: Where the learned bias of the binary loss begins, in units of the teacher's scale. Cosines of
#: wrong names are positive, so that without it each name would begin as a certain yes.
FIRST_BIAS = -0.8


@MODELS.register_module()
@checked_options
class TeacherTuner(BaseModel):
    """A teacher that learns to name crops of base categories by its norms alone (EZSD, re-norm).

    For MMDetection's train tool; ``tools/model_converters/tuned_teacher.py`` makes a weights file
    for ``OpenCLIPTeacher(pretrained=...)`` of its checkpoint. Learned are the scales and shifts of
    the LayerNorms, GroupNorms and BatchNorms of the image encoder, whose running statistics stay.
    Everything else is frozen, the text encoder and with it all words, too.

    Samples are what ``PackDetInputs`` makes of pictures as they were loaded, not resized; the
    teacher's own ``crop_scales``, ``crop_mode`` and ``min_side`` say what it sees of their boxes.

    Args:
        teacher: Config of the raw :class:`OpenCLIPTeacher`.
        text_embeddings: A text-embedding file that the raw teacher wrote, of the dataset's classes.
            Those that it says are novel are never trained on.
        loss: ``'ce'``, a softmax over the base names, or ``'bce'``, a sigmoid for each, as the
            authors have; of the teacher's cosine similarities times its own scale.
        bias: Of ``'bce'``, ``'learned'``: a scalar added to all logits; None as the authors have
            it, which spoils the features for the first hundreds of iterations.
        size_weighted: Whether smaller boxes count more, by exp(-sqrt(box area / image area)), with
            a mean of 1 over an image; the authors' choice for LVIS.
        max_regions: At most this many boxes of a process's batch, drawn at random.
        data_preprocessor: Default: one that changes nothing, and leaves pictures and boxes on the
            host, where they are cropped.

    Raises:
        ValueError: The image encoder has no norms; the teacher is tuned already; another teacher
            encoded the words; they are all novel; or a training sample has an annotation of a novel
            category.
    """

    #: No annotation of a novel category may be trained on; see ``VocabularyCheckHook``.
    mask_novel = True

    def __init__(
        self,
        teacher: dict,
        text_embeddings: str,
        loss: Literal['ce', 'bce'] = 'ce',
        bias: Literal['learned', None] = 'learned',
        size_weighted: bool = False,
        max_regions: Count = 512,
        data_preprocessor: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor or _OnHost())
        self.teacher = TASK_UTILS.build(teacher)
        self.clip = self.teacher.model
        self.loss_type = loss
        self.size_weighted = size_weighted
        self.max_regions = max_regions
        self.vocabulary = TextEmbeddings.load(text_embeddings)
        wide = self.teacher.embed_dims, self.vocabulary.embed_dims
        if not same_space(self.teacher.identity, self.vocabulary.teacher) or wide[0] != wide[1]:
            raise ValueError(
                f'the teacher to be tuned is {self.teacher.identity} and {wide[0]} wide, but '
                f'{self.vocabulary.teacher} encoded {text_embeddings}, {wide[1]} wide; encode the '
                'words with the raw teacher'
            )
        if '+' in self.teacher.identity:
            raise ValueError(
                f'the weights of the teacher to be tuned, {teacher.get("pretrained")}, are tuned '
                'already, and no words would fit what came of it; name the raw ones (a tuning that '
                'was interrupted goes on with --resume)'
            )
        if self.vocabulary.novel.all():
            raise ValueError(f'all words of {text_embeddings} are novel; nothing could be trained')
        words = normalize(torch.from_numpy(self.vocabulary.embeddings), dim=1)
        self.novel = torch.from_numpy(self.vocabulary.novel)  # on the host, as the labels are
        self.register_buffer('words', words, persistent=False)
        self.register_buffer('base_words', words[~self.novel], persistent=False)
        self.scale = 1 / self.teacher.temperature
        with_bias = loss == 'bce' and bias == 'learned'
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS * self.scale)) if with_bias else None
        self.tuned = [
            parameter.requires_grad_()
            for module in self.clip.visual.modules()
            if isinstance(module, NORMS)
            for parameter in module.parameters(recurse=False)
        ]
        if not self.tuned:
            raise ValueError(
                f'the image encoder of {self.teacher.model_name} has no LayerNorm, GroupNorm or '
                'BatchNorm with weights that could be tuned; take another teacher'
            )

    @property
    def names(self) -> tuple[str, ...]:
        """tuple[str]: all words, in label order."""
        return self.vocabulary.names

    @property
    def novel_names(self) -> tuple[str, ...]:
        """tuple[str]: the novel ones of them."""
        pairs = zip(self.names, self.vocabulary.novel, strict=True)
        return tuple(name for name, novel in pairs if novel)

    def init_weights(self) -> None:
        """Nothing: the weights are the teacher's."""

    def train(self, mode: bool = True) -> 'TeacherTuner':
        """The teacher stays in evaluation mode: BatchNorms keep their running statistics."""
        super().train(mode)
        self.clip.eval()
        return self

    def forward(
        self, inputs: Sequence[Tensor], data_samples: SampleList | None = None, mode: str = 'loss'
    ) -> dict | SampleList:
        """:meth:`loss` or :meth:`predict` of pictures (3, H, W) uint8, BGR."""
        self.teacher.to(self.words.device)
        images = [image.permute(1, 2, 0).cpu().numpy() for image in inputs]
        return (self.predict if mode == 'predict' else self.loss)(images, data_samples)

    def loss(self, images: Sequence[np.ndarray], data_samples: SampleList) -> dict:
        """``loss_crops`` of the annotated boxes, and their ``accuracy`` among base names in %."""
        boxes = [_boxes(sample) for sample in data_samples]
        labels = [sample.gt_instances.labels.cpu() for sample in data_samples]
        self._check_base(torch.cat(labels), data_samples)
        boxes, labels = self._drawn(boxes, labels)
        targets = ((~self.novel).cumsum(0) - 1)[torch.cat(labels)].to(self.words.device)
        if not len(targets):  # a gradient all the same, which other processes wait for
            zero = sum(parameter.sum() for parameter in self._learned()) * 0
            return dict(loss_crops=zero)
        embeddings = self._embed(images, boxes)
        with torch.autocast(embeddings.device.type, enabled=False):
            logits = self.scale * embeddings.float() @ self.base_words.T
            losses = self.row_losses(logits, targets)
            if self.size_weighted:
                sizes = [image.shape[:2] for image in images]
                losses = losses * size_weights(boxes, sizes).to(losses)
            accuracy = (logits.argmax(1) == targets).float().mean() * 100
        return dict(loss_crops=losses.mean(), accuracy=accuracy)

    def row_losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(n,) losses of logits (n, B), the scaled similarities with B names, and labels (n,)."""
        if self.loss_type == 'ce':
            return cross_entropy(logits, targets, reduction='none')
        logits = logits if self.bias is None else logits + self.bias
        hot = one_hot(targets, logits.shape[1]).to(logits)
        return binary_cross_entropy_with_logits(logits, hot, reduction='none').mean(1)

    @torch.no_grad()
    def predict(self, images: Sequence[np.ndarray], data_samples: SampleList) -> SampleList:
        """Name the annotated boxes among all words: ``pred_instances`` with ``bboxes`` (n, 4),
        ``scores`` (n,) and ``labels`` (n,), in the order of ``gt_instances``."""
        boxes = [_boxes(sample) for sample in data_samples]
        embeddings = self.teacher.embed_regions(images, boxes)
        found = (self.scale * embeddings @ self.words.T).softmax(1).max(1)
        counts = list(map(len, boxes))
        parts = (each.split(counts) for each in found)
        for sample, each, scores, labels in zip(data_samples, boxes, *parts, strict=True):
            sample.pred_instances = InstanceData(bboxes=each, scores=scores, labels=labels)
        return data_samples

    def _learned(self) -> list[Tensor]:
        return self.tuned + ([] if self.bias is None else [self.bias])

    def _embed(self, images: Sequence[np.ndarray], boxes: Sequence[Tensor]) -> Tensor:
        """(n, D), as :meth:`OpenCLIPTeacher.encode_regions`, with a gradient."""
        crops = self.teacher.region_crops(images, boxes)
        encoded = self.clip.encode_image(crops.flatten(0, 1)).float()
        return normalize(encoded.view(*crops.shape[:2], -1).sum(0), dim=1)

    def _check_base(self, labels: Tensor, data_samples: SampleList) -> None:
        novel = self.novel[labels]
        if novel.any():
            name = self.names[labels[novel][0]]
            raise ValueError(
                f'a training sample (of {[s.get("img_path") for s in data_samples]}) has an '
                f'annotation of the novel category {name!r}, which tuning must not see; take '
                'OpenVocabularyLVISDataset or OpenVocabularyCocoDataset without test_mode, and '
                'with drop_novel=True'
            )

    def _drawn(self, boxes: list[Tensor], labels: list[Tensor]) -> tuple[list, list]:
        """The boxes and labels, without those that are too many."""
        count = sum(map(len, labels))
        if count <= self.max_regions:
            return boxes, labels
        keep = torch.zeros(count, dtype=torch.bool)
        keep[torch.randperm(count)[: self.max_regions]] = True
        parts = keep.split([len(each) for each in labels])
        return tuple(
            [each[part.to(each.device)] for each, part in zip(several, parts, strict=True)]
            for several in (boxes, labels)
        )


class _OnHost(BaseDataPreprocessor):
    """A GPU has no use for the pictures, of which the teacher sees crops."""

    def cast_data(self, data: dict) -> dict:
        return data


def size_weights(boxes: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Weights of all boxes, more for smaller ones, with a mean of 1 over each image.

    Args:
        boxes: (n, 4) of each image, ``x1, y1, x2, y2``.
        sizes: (height, width) of each.
    """
    found = []
    for each, (height, width) in zip(boxes, sizes, strict=True):
        areas = (each[:, 2:] - each[:, :2]).clamp(min=0).prod(1)
        weights = (-(areas / (height * width)).sqrt()).exp()
        found.append(weights * (len(weights) / weights.sum().clamp(min=1e-12)))
    return torch.cat(found)


def _boxes(data_sample) -> Tensor:
    return get_box_tensor(data_sample.gt_instances.bboxes)
