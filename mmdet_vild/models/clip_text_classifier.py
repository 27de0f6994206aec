"""The classifier of ViLD: cosine similarity with text embeddings."""

import hashlib
from collections.abc import Sequence

import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmdet_vild.vocabulary import TextEmbeddings

#: TensorFlow's ``l2_normalize`` floors the squared norm at 1e-12; see the authors' code.
NORM_EPS = 1e-6


@MODELS.register_module()
class CLIPTextClassifier(BaseModule):
    """Classifies a region by its similarity to the words of a vocabulary (ViLD, Eq. 2).

    It takes the place of the classifier of any mmdet bbox head::

        bbox_head=dict(
            num_classes=1203,
            cls_predictor_cfg=dict(type='CLIPTextClassifier', text_embeddings='lvis.npz'))

    The text embeddings are frozen and no part of a checkpoint: a trained detector is given
    another vocabulary by naming another file, and ``num_classes`` to match. The checkpoint does
    remember the teacher, and refuses words that another one encoded.

    Args:
        in_features: Width of the features that the bbox head gives it.
        out_features: Categories and background, as mmdet's bbox heads count them.
        text_embeddings: A text-embedding file, see
            :class:`mmdet_vild.vocabulary.TextEmbeddings`.
        temperature: tau, what cosine similarities are divided by. It belongs to the teacher:
            0.01 suits CLIP.
        with_background: Whether a learned background embedding competes with the words.
            ViLD-image has none.
        mask_novel: Whether the logits of novel categories are multiplied by zero in training,
            as the authors do; the categories stay in the softmax with logit 0.
        novel_categories: Names of the novel categories, where the file's own split is not meant.

    Raises:
        ValueError: The file holds another number of categories than ``num_classes`` says, a
            novel category that the vocabulary does not have, or the temperature is not positive;
            or a checkpoint is loaded whose words were encoded by another teacher.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        text_embeddings: str,
        temperature: float = 0.01,
        with_background: bool = True,
        mask_novel: bool = True,
        novel_categories: Sequence[str] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Normal', std=0.01, layer='Linear'))
        if temperature <= 0:
            raise ValueError(f'the temperature must be positive, found {temperature}')
        text = TextEmbeddings.load(text_embeddings)
        if len(text.names) != out_features - 1:
            raise ValueError(
                f'{text_embeddings} holds {len(text.names)} categories, but the bbox head has '
                f'num_classes={out_features - 1}; set num_classes to {len(text.names)} or name '
                'the text-embedding file of the other vocabulary'
            )
        self.text_embeddings_file = text_embeddings
        self.names = text.names
        self.teacher = text.teacher
        self.temperature = temperature
        self.mask_novel = mask_novel
        self.projection = nn.Linear(in_features, text.embed_dims)
        self.background = nn.Parameter(torch.empty(text.embed_dims)) if with_background else None
        embeddings = normalize(torch.from_numpy(text.embeddings), dim=1, eps=NORM_EPS)
        self.register_buffer('text_embeddings', embeddings, persistent=False)
        digest = hashlib.sha256(text.teacher.encode()).digest()
        self.register_buffer('teacher_digest', torch.tensor(list(digest), dtype=torch.uint8))
        novel = torch.from_numpy(text.novel)
        if novel_categories is not None:
            unknown = sorted(set(novel_categories) - set(text.names))
            if unknown:
                raise ValueError(f'these novel categories are not in {text_embeddings}: {unknown}')
            novel = torch.tensor([name in set(novel_categories) for name in text.names])
        self.register_buffer('novel', novel, persistent=False)
        if with_background:
            nn.init.normal_(self.background, std=0.01)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        key = f'{prefix}teacher_digest'
        # Weights from elsewhere do not say which teacher they belong to.
        digest = state_dict.setdefault(key, self.teacher_digest)
        if not torch.equal(digest.cpu(), self.teacher_digest.cpu()):
            raise ValueError(
                f'{self.text_embeddings_file} was encoded by the teacher {self.teacher}, but the '
                'checkpoint was trained with the words of another; encode the vocabulary with '
                'the teacher of the training'
            )
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def embed_dims(self) -> int:
        """int: the teacher's embedding width D."""
        return self.text_embeddings.shape[1]

    def embed(self, features: Tensor) -> Tensor:
        """Region embeddings (ViLD, Sec. 3.2: e_r).

        Args:
            features: (n, in_features).

        Returns:
            (n, D) float32, L2-normalised.
        """
        projected = self.projection(features)
        with torch.autocast(projected.device.type, enabled=False):
            return normalize(projected.float(), dim=1, eps=NORM_EPS)

    def classify(self, embeddings: Tensor) -> Tensor:
        """Similarities with every word over the temperature, in float32 even under autocast.

        Args:
            embeddings: (n, D), L2-normalised.

        Returns:
            (n, C + 1) with background last, as mmdet has it, or (n, C) without background.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            words = self.text_embeddings
            logits = embeddings.float() @ words.t() / self.temperature
            if self.training and self.mask_novel:
                logits = logits * ~self.novel
            if self.background is None:
                return logits
            background = normalize(self.background.float(), dim=0, eps=NORM_EPS)
            background_logit = embeddings.float() @ background[:, None] / self.temperature
            return torch.cat([logits, background_logit], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features; see :meth:`classify`."""
        return self.classify(self.embed(features))
