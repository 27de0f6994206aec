"""The classifier: cosine similarity with text embeddings."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from typing import Literal

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmdet_vild.options import Count, Positive, checked_options
from mmdet_vild.vocabulary import TextEmbeddings

from ..words import NORM_EPS, Words
from .checkpoint_vocabulary import VOCABULARY_KEYS, read_vocabulary, same_digest, teacher_digest


@MODELS.register_module()
@checked_options
class CLIPTextClassifier(BaseModule):
    """Classifies features by their similarity to the words of a vocabulary (ViLD, Eq. 2).

    It takes the place of the classifier of any mmdet head, of regions, queries or pixels::

        bbox_head=dict(
            num_classes=1203,
            cls_predictor_cfg=dict(type='CLIPTextClassifier', text_embeddings='lvis.npz'))

    The text embeddings are frozen and no part of a checkpoint: a trained detector is given
    another vocabulary by naming another file, and ``num_classes`` to match. The checkpoint does
    remember the teacher, and refuses words that another one encoded. With
    ``text_embeddings=None`` the vocabulary is in the checkpoint, where
    ``tools/model_converters/bake_vocabulary.py`` puts it; see ``checkpoint_vocabulary.py``.

    Args:
        in_features: Width F of the features that it is given.
        out_features: Categories and background, as mmdet's bbox heads count them.
        text_embeddings: A text-embedding file, see
            :class:`mmdet_vild.vocabulary.TextEmbeddings`; None for the checkpoint's vocabulary.
        embed_dims: The teacher's embedding width D, where there is no file to say it.
        temperature: tau, what cosine similarities are divided by. It belongs to the teacher:
            0.01 suits CLIP.
        learned_temperature: Whether ``temperature`` is only where training starts from.
        synonyms: What a category of several synonyms is compared with: ``'average'``, the average
            of their embeddings (ViLD, Sec. 4.1); or each of them, of whose logits the ``'max'`` or
            the ``'mean'`` is the category's. Words that are asked for have their average.
        with_background: Whether a learned background embedding competes with the words.
            ViLD-image has none.
        mask_novel: Whether the logits of novel categories are multiplied by zero in training,
            as the authors do; the categories stay in the softmax with logit 0.
        novel_categories: Names of the novel categories, where the file's own split is not meant.

    Raises:
        ValueError: The file holds another number of categories than ``num_classes`` says, or not
            a novel category; or a checkpoint is loaded whose words were encoded by another teacher,
            or which was to have a vocabulary and has none, or a damaged one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        text_embeddings: str | None,
        temperature: Positive = 0.01,
        with_background: bool = True,
        mask_novel: bool = True,
        novel_categories: Sequence[str] | None = None,
        embed_dims: Count | None = None,
        learned_temperature: bool = False,
        synonyms: Literal['average', 'max', 'mean'] = 'average',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Normal', std=0.01, layer='Linear'))
        if (text_embeddings is None) != (embed_dims is not None):
            raise ValueError(
                'name either a text-embedding file in text_embeddings or, where the checkpoint has '
                f'the vocabulary, embed_dims; found {text_embeddings!r} and {embed_dims}'
            )
        self.text_embeddings_file = text_embeddings
        self.num_words = out_features - 1
        self.mask_novel = mask_novel
        self.synonyms = synonyms
        self._vocabulary: TextEmbeddings | None = None
        baked = text_embeddings is None
        if baked and synonyms != 'average':
            raise ValueError(
                f'synonyms is {synonyms!r}, but the vocabulary of a checkpoint has the average of '
                'synonyms alone; name a text-embedding file in text_embeddings'
            )
        self.register_buffer('text_embeddings', torch.empty(0), persistent=baked)
        self.register_buffer('novel', torch.empty(0, dtype=torch.bool), persistent=baked)
        self.register_buffer('owners', None, persistent=False)
        self.register_buffer('teacher_digest', torch.zeros(32, dtype=torch.uint8))
        if baked:
            self.register_buffer('vocabulary_json', torch.empty(0, dtype=torch.uint8))
        else:
            text = TextEmbeddings.load(text_embeddings)
            if novel_categories is not None:
                unknown = sorted(set(novel_categories) - set(text.names))
                if unknown:
                    raise ValueError(
                        f'these novel categories are not in {text_embeddings}: {unknown}'
                    )
                text = replace(text, novel=np.isin(text.names, list(novel_categories)))
            embed_dims = text.embed_dims
        self.projection = nn.Linear(in_features, embed_dims)
        self.background = nn.Parameter(torch.empty(embed_dims)) if with_background else None
        if with_background:
            nn.init.normal_(self.background, std=0.01)
        self._temperature = temperature
        #: log(1 / tau), where it is learned (CLIP's ``logit_scale``).
        self.logit_scale = None
        if learned_temperature:
            self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        if not baked:
            self._set_vocabulary(text, text_embeddings)

    def _set_vocabulary(self, text: TextEmbeddings, source: str, count: int | None = None) -> None:
        count = len(text.names) if count is None else count
        if count != self.num_words:
            raise ValueError(
                f'{source} holds {count} categories, but the bbox head has '
                f'num_classes={self.num_words}; set num_classes to {count} or name '
                'the text-embedding file of the other vocabulary. It holds '
                f'{", ".join(text.names[:20])}{", ..." if count > 20 else ""}'
            )
        if text.embed_dims != self.embed_dims:
            raise ValueError(
                f'the embeddings of {source} are {text.embed_dims} wide, but embed_dims is '
                f'{self.embed_dims}; set it to {text.embed_dims}'
            )
        self._vocabulary = text
        by_synonym = self.synonyms != 'average'
        if by_synonym and text.synonym_embeddings is None:
            raise ValueError(
                f'synonyms is {self.synonyms!r}, but {source} has the average of synonyms alone; '
                'encode the vocabulary again with tools/encode_vocabulary.py'
            )
        words = Words.from_text_embeddings(text, self.text_embeddings.device, by_synonym=by_synonym)
        self.text_embeddings, self.novel, self.owners = words.embeddings, words.novel, words.owners
        self.teacher_digest = teacher_digest(text.teacher).to(self.teacher_digest.device)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        if self.text_embeddings_file is None:
            text, count = read_vocabulary(state_dict, prefix)
            self._set_vocabulary(text, 'the checkpoint', count)
            self.vocabulary_json = torch.empty_like(state_dict[f'{prefix}vocabulary_json'])
        else:  # the words are the file's, whatever the checkpoint has
            for key in VOCABULARY_KEYS:
                state_dict.pop(f'{prefix}{key}', None)
        key = f'{prefix}teacher_digest'
        if not same_digest(state_dict.get(key), self.teacher_digest):
            raise ValueError(
                f'{self.text_embeddings_file or "its vocabulary"} was encoded by the teacher '
                f'{self.teacher}, but the checkpoint was trained with the words of another; encode '
                'the vocabulary with the teacher of the training'
            )
        state_dict[key] = self.teacher_digest
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def vocabulary(self) -> TextEmbeddings:
        """TextEmbeddings: its own words, and in a checkpoint also those that compete with them.

        Raises:
            ValueError: They are in the checkpoint, and none has been loaded.
        """
        if self._vocabulary is None:
            raise ValueError(
                'the vocabulary of this detector is in its checkpoint, which was not loaded; load '
                'it, or name a text-embedding file in text_embeddings'
            )
        return self._vocabulary

    @property
    def names(self) -> tuple[str, ...]:
        """tuple[str]: names of its own words; none before they are loaded."""
        return self._vocabulary.names[: self.num_words] if self._vocabulary else ()

    @property
    def novel_names(self) -> tuple[str, ...]:
        """tuple[str]: those of the novel ones among its own words."""
        return tuple(compress(self.names, self.vocabulary.novel)) if self._vocabulary else ()

    @property
    def teacher(self) -> str:
        """str: the identity of the teacher that encoded the vocabulary."""
        return self.vocabulary.teacher

    @property
    def words(self) -> Words:
        """Words: its own."""
        return Words(
            self.vocabulary.names, self.text_embeddings, self.novel, self.num_words, self.owners
        )

    @property
    def embed_dims(self) -> int:
        """int: the teacher's embedding width D."""
        return self.projection.out_features

    @property
    def temperature(self) -> float | Tensor:
        """float or Tensor: tau; a scalar tensor where it is learned."""
        return self._temperature if self.logit_scale is None else (-self.logit_scale.float()).exp()

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (ViLD, Sec. 3.2: e_r).

        Args:
            features: (..., F).

        Returns:
            (..., D) float32, L2-normalised.
        """
        projected = self.projection(features)
        with torch.autocast(projected.device.type, enabled=False):
            return normalize(projected.float(), dim=-1, eps=NORM_EPS)

    def classify(self, embeddings: Tensor, words: Words | None = None) -> Tensor:
        """Similarities with every word over the temperature, in float32 even under autocast.

        Args:
            embeddings: (..., D), L2-normalised.
            words: C words, and R that compete with them; default: its own.

        Returns:
            (..., C + R + 1) with background last, as mmdet has it, or (..., C + R) without
            background.
        """
        words = self.words if words is None else words
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            logits = embeddings @ words.embeddings.float().t()
            if words.owners is not None:
                logits = self._of_words(logits, words)
            if self.background is not None:
                background = normalize(self.background.float(), dim=0, eps=NORM_EPS)
                logits = torch.cat([logits, embeddings @ background[:, None]], dim=-1)
            return logits / self.temperature

    def _of_words(self, logits: Tensor, words: Words) -> Tensor:
        """Logits (..., C + R) of words from those (..., V) of their rows."""
        reduce = 'amax' if self.synonyms == 'max' else 'mean'
        empty = logits.new_zeros(*logits.shape[:-1], len(words.names))
        owners = words.owners.expand_as(logits)
        return empty.scatter_reduce(-1, owners, logits, reduce, include_self=False)

    def training_logits(self, logits: Tensor) -> Tensor:
        """What a classification loss is computed of.

        Args:
            logits: (..., C + R + 1) or (..., C + R) of its own words; see :meth:`classify`.

        Returns:
            (..., C + 1) or (..., C): without the words that only compete, and with 0 for novel
            ones if ``mask_novel`` says so.
        """
        own, background = logits[..., : self.num_words], logits[..., len(self.novel) :]
        if self.mask_novel:
            own = own * ~self.novel[: self.num_words]
        return torch.cat([own, background], dim=-1)

    def forward(self, features: Tensor, words: Words | None = None) -> Tensor:
        """Logits of features (..., F), as a head of mmdet asks for them.

        See :meth:`classify`, and in training :meth:`training_logits`.
        """
        logits = self.classify(self.embed(features), words)
        return self.training_logits(logits) if self.training else logits
