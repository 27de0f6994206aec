"""The classifier of ViLD: cosine similarity with text embeddings."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmdet_vild.vocabulary import TextEmbeddings, knows_weights

from ..words import NORM_EPS, Words, asked_words

#: What a checkpoint with a vocabulary has, beside the weights.
_VOCABULARY_KEYS = ('text_embeddings', 'novel', 'vocabulary_json')


@MODELS.register_module()
class CLIPTextClassifier(BaseModule):
    """Classifies a region by its similarity to the words of a vocabulary (ViLD, Eq. 2).

    It takes the place of the classifier of any mmdet bbox head::

        bbox_head=dict(
            num_classes=1203,
            cls_predictor_cfg=dict(type='CLIPTextClassifier', text_embeddings='lvis.npz'))

    The text embeddings are frozen and no part of a checkpoint: a trained detector is given
    another vocabulary by naming another file, and ``num_classes`` to match. The checkpoint does
    remember the teacher, and refuses words that another one encoded. With
    ``text_embeddings=None`` the vocabulary is in the checkpoint, where
    ``tools/model_converters/bake_vocabulary.py`` puts it.

    Args:
        in_features: Width of the features that the bbox head gives it.
        out_features: Categories and background, as mmdet's bbox heads count them.
        text_embeddings: A text-embedding file, see
            :class:`mmdet_vild.vocabulary.TextEmbeddings`; None for the checkpoint's vocabulary.
        embed_dims: The teacher's embedding width D, where there is no file to say it.
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
            or a checkpoint is loaded whose words were encoded by another teacher, or which was to
            have a vocabulary and has none, or a damaged one.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        text_embeddings: str | None,
        temperature: float = 0.01,
        with_background: bool = True,
        mask_novel: bool = True,
        novel_categories: Sequence[str] | None = None,
        embed_dims: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Normal', std=0.01, layer='Linear'))
        if temperature <= 0:
            raise ValueError(f'the temperature must be positive, found {temperature}')
        if (text_embeddings is None) != (embed_dims is not None):
            raise ValueError(
                'name either a text-embedding file in text_embeddings or, where the checkpoint has '
                f'the vocabulary, embed_dims; found {text_embeddings!r} and {embed_dims}'
            )
        self.text_embeddings_file = text_embeddings
        self.num_words = out_features - 1
        self.temperature = temperature
        self.mask_novel = mask_novel
        self._vocabulary: TextEmbeddings | None = None
        baked = text_embeddings is None
        self.register_buffer('text_embeddings', torch.empty(0), persistent=baked)
        self.register_buffer('novel', torch.empty(0, dtype=torch.bool), persistent=baked)
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
        words = Words.from_text_embeddings(text, self.text_embeddings.device)
        self.text_embeddings, self.novel = words.embeddings, words.novel
        digest = hashlib.sha256(text.teacher.encode()).digest()
        if not knows_weights(text.teacher):
            digest = bytes(len(digest))
        self.teacher_digest = torch.tensor(
            list(digest), dtype=torch.uint8, device=self.teacher_digest.device
        )

    @staticmethod
    def baked_state(text: TextEmbeddings, count: int) -> dict[str, Tensor]:
        """What a checkpoint with a vocabulary has, without the prefix; tensors alone.

        Args:
            text: The words, and after them those that compete with them.
            count: How many are detected.
        """
        words = Words.from_text_embeddings(text)
        rest = {key: getattr(text, key) for key in ('names', 'teacher', 'synonyms', 'templates')}
        rest['count'] = count
        encoded = np.frombuffer(json.dumps(rest).encode(), np.uint8).copy()
        values = (words.embeddings, words.novel, torch.from_numpy(encoded))
        return dict(zip(_VOCABULARY_KEYS, values, strict=True))

    def _set_baked(self, state_dict: dict, prefix: str) -> None:
        missing = [key for key in _VOCABULARY_KEYS if f'{prefix}{key}' not in state_dict]
        if missing:
            raise ValueError(
                'text_embeddings is None, which takes the vocabulary from the checkpoint, but this '
                f'one has no {", ".join(missing)}; make one that has with '
                'tools/model_converters/bake_vocabulary.py, or name a text-embedding file'
            )
        try:
            embeddings, novel, encoded = (
                np.asarray(state_dict[f'{prefix}{key}'].cpu()) for key in _VOCABULARY_KEYS
            )
            rest = json.loads(encoded.tobytes())
            count = int(rest['count'])
            text = TextEmbeddings(
                embeddings,
                tuple(map(str, rest['names'])),
                novel,
                str(rest['teacher']),
                rest['synonyms'],
                rest['templates'],
            )
            if count > len(text.names):
                raise ValueError(f'{count} of its {len(text.names)} words are to be detected')
        # RuntimeError: from torch, or of JSON that is nested too deeply.
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"the checkpoint's vocabulary is damaged: {error}") from error
        self._set_vocabulary(text, 'the checkpoint', count)
        self.vocabulary_json = torch.empty_like(state_dict[f'{prefix}vocabulary_json'])

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        if self.text_embeddings_file is None:
            self._set_baked(state_dict, prefix)
        else:  # the words are the file's, whatever the checkpoint has
            for key in _VOCABULARY_KEYS:
                state_dict.pop(f'{prefix}{key}', None)
        key = f'{prefix}teacher_digest'
        # Weights from elsewhere do not say which teacher they belong to.
        digest = state_dict.get(key)
        if digest is None or (isinstance(digest, Tensor) and not digest.any()):
            digest = state_dict[key] = self.teacher_digest
        if not isinstance(digest, Tensor) or not torch.equal(
            digest.cpu(), self.teacher_digest.cpu()
        ):
            raise ValueError(
                f'{self.text_embeddings_file or "its vocabulary"} was encoded by the teacher '
                f'{self.teacher}, but the checkpoint was trained with the words of another; encode '
                'the vocabulary with the teacher of the training'
            )
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
        return tuple(compress(self.names, self.novel.tolist()))

    @property
    def teacher(self) -> str:
        """str: the identity of the teacher that encoded the vocabulary."""
        return self.vocabulary.teacher

    @property
    def words(self) -> Words:
        """Words: those that were asked for, otherwise its own; in training always these."""
        # torch.compile cannot follow asked_words, and training needs not be held up by that.
        asked = None if self.training else asked_words()
        if asked is not None:
            return asked
        own = Words(self.vocabulary.names, self.text_embeddings, self.novel, self.num_words)
        return own.without_rivals() if self.training else own

    @property
    def embed_dims(self) -> int:
        """int: the teacher's embedding width D."""
        return self.projection.out_features

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
            words = self.words
            logits = embeddings.float() @ words.embeddings.t() / self.temperature
            if self.training and self.mask_novel:
                logits = logits * ~words.novel
            if self.background is None:
                return logits
            background = normalize(self.background.float(), dim=0, eps=NORM_EPS)
            background_logit = embeddings.float() @ background[:, None] / self.temperature
            return torch.cat([logits, background_logit], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features; see :meth:`classify`."""
        return self.classify(self.embed(features))
