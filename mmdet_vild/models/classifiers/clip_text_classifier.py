"""The classifier: cosine similarity with text embeddings."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import compress
from typing import Literal

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmdet_vild.options import Count, Positive, checked_options
from mmdet_vild.vocabulary import TextEmbeddings, same_teacher
from mmdet_vild.vocabulary.known_words import KnownWords

from ..words import NORM_EPS, Words, level_pictures
from .checkpoint_vocabulary import VOCABULARY_KEYS, read_vocabulary, same_digest, teacher_digest


@MODELS.register_module()
@checked_options
class CLIPTextClassifier(BaseModule):
    """Classifies features by their similarity to the words of a vocabulary (ViLD, Eq. 2).

    It takes the place of the classifier of any mmdet head, of regions, queries or pixels::

        bbox_head=dict(
            num_classes=1203,
            cls_predictor_cfg=dict(type='CLIPTextClassifier', text_embeddings='lvis.npz'))

    The text embeddings are frozen and no part of a checkpoint: another file, and ``num_classes``
    to match, is another vocabulary. The checkpoint does remember the teacher, and refuses words
    that another one encoded.

    Args:
        in_features: Width F of the features that it is given.
        out_features: Categories and background, as mmdet's bbox heads count them.
        text_embeddings: A text-embedding file, see
            :class:`mmdet_vild.vocabulary.TextEmbeddings`; None for a vocabulary in the checkpoint,
            as ``tools/model_converters/bake_vocabulary.py`` writes.
        embed_dims: The teacher's embedding width D, where there is no file to say it.
        temperature: tau, what cosine similarities are divided by; the teacher's, 0.01 for CLIP.
        learned_temperature: Whether ``temperature`` is only where training starts from.
        synonyms: Compare a category with the ``'average'`` of its synonyms' embeddings (ViLD, Sec.
            4.1), or with each, and take the ``'max'`` or ``'mean'`` logit. With ``'random'`` each
            category is called by one of them, drawn anew in each pass of the training; in a test
            it is ``'max'``. So it is with synonyms of words that are asked for.
        with_background: Whether a learned background embedding competes, as not in ViLD-image.
        bias: Where a learned bias starts that is added to each word's logit, for a sigmoid of each
            in place of the softmax over words and background: words do not compete, and what is
            novel is not taught by every base word to be background (LP-OVOD, Pham et al., WACV
            2024; learned temperature and bias: SigLIP, Zhai et al., ICCV 2023, Sec. 3.2, which
            starts with -10). It needs ``with_background=False``, and a ``loss_cls`` of the head
            with ``use_sigmoid=True``. None for the softmax, which no bias of all words changes.
        mask_novel: Whether logits of novel categories are multiplied by zero in training, as the
            authors do; they stay in the softmax. With ``'drop'`` they are not in it at all, as in
            EZSD, whose teacher may tell wrong names by similarities below zero. With a ``bias``
            they have no loss at all.
        normalize_background: Whether the background embedding is L2-normalised, as the authors do;
            EZSD's do not.
        rivals: A text-embedding file of other words that compete in training too, where a region
            is labelled with a word of its own: those of an earlier training, so that fine-tuning
            does not forget them (our own). What is background may be one of them, and learns
            nothing of them. Those that an annotated object may be too are left out, see
            :func:`with_rivals`. They are not detected.
        novel_categories: Names of the novel categories, where the file's own split is not meant.

    Raises:
        ValueError: The file, or a checkpoint that is loaded, does not have the words that the
            head needs, or has words of another teacher; or it is damaged.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        text_embeddings: str | None,
        temperature: Positive = 0.01,
        with_background: bool = True,
        mask_novel: bool | Literal['drop'] = True,
        novel_categories: Sequence[str] | None = None,
        embed_dims: Count | None = None,
        learned_temperature: bool = False,
        synonyms: Literal['average', 'max', 'mean', 'random'] = 'average',
        normalize_background: bool = True,
        bias: float | None = None,
        rivals: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='Normal', std=0.01, layer='Linear'))
        baked = text_embeddings is None
        if baked != (embed_dims is not None):
            raise ValueError(
                'name either a text-embedding file in text_embeddings or, where the checkpoint has '
                f'the vocabulary, embed_dims; found {text_embeddings!r} and {embed_dims}'
            )
        if bias is not None and with_background:
            raise ValueError(
                f'bias={bias} makes each logit one of a sigmoid, where no background competes; set '
                'with_background=False, or leave bias out'
            )
        if rivals is not None and (baked or synonyms != 'average'):
            raise ValueError(
                'rivals needs a text-embedding file in text_embeddings, and synonyms="average"; '
                f'found {text_embeddings!r} and {synonyms!r}'
            )
        self.text_embeddings_file = text_embeddings
        self.trains_rivals = rivals is not None
        self.num_words = out_features - 1
        self.mask_novel = mask_novel
        self.synonyms = synonyms
        self.normalize_background = normalize_background
        self._vocabulary: TextEmbeddings | None = None
        self.register_buffer('text_embeddings', torch.empty(0), persistent=baked)
        self.register_buffer('novel', torch.empty(0, dtype=torch.bool), persistent=baked)
        self.register_buffer('owners', None, persistent=False)
        self.register_buffer('pictures', None, persistent=False)
        self.register_buffer('teacher_digest', torch.zeros(32, dtype=torch.uint8))
        if baked:
            self.register_buffer('vocabulary_json', torch.empty(0, dtype=torch.uint8))
        else:
            text = TextEmbeddings.load(text_embeddings)
            if novel_categories is not None:
                if unknown := sorted(set(novel_categories) - set(text.names)):
                    raise ValueError(
                        f'these novel categories are not in {text_embeddings}: {unknown}'
                    )
                text = replace(text, novel=np.isin(text.names, list(novel_categories)))
            embed_dims = text.embed_dims
            count = len(text.names)
            if rivals is not None:
                text = with_rivals(text, text_embeddings, TextEmbeddings.load(rivals), rivals)
        self.projection = nn.Linear(in_features, embed_dims)
        self.background = nn.Parameter(torch.empty(embed_dims)) if with_background else None
        if with_background:
            nn.init.normal_(self.background, std=0.01)
        #: tau, or where training starts from.
        self.given_temperature = temperature
        #: log(1 / tau), where it is learned (CLIP's ``logit_scale``).
        self.logit_scale = None
        if learned_temperature:
            self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.bias = None if bias is None else nn.Parameter(torch.tensor(float(bias)))
        if not baked:
            self._set_vocabulary(text, text_embeddings, count)

    def _set_vocabulary(self, text: TextEmbeddings, source: str, count: int) -> None:
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
        by_synonym = self.synonyms != 'average'
        if by_synonym and text.synonym_embeddings is None:
            raise ValueError(
                f'synonyms is {self.synonyms!r}, but {source} has the average of synonyms alone; '
                'name a file that tools/encode_vocabulary.py writes now'
            )
        self._vocabulary = text
        words = Words.from_text_embeddings(text, self.text_embeddings.device, by_synonym=by_synonym)
        self.text_embeddings, self.novel, self.owners = words.embeddings, words.novel, words.owners
        self.pictures = words.pictures
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
                f'{self.vocabulary.teacher}, but the checkpoint was trained with the words of '
                'another; encode the vocabulary with the teacher of the training'
            )
        state_dict[key] = self.teacher_digest
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def vocabulary(self) -> TextEmbeddings:
        """TextEmbeddings: its own words, and in a checkpoint also those that compete with them."""
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
    def words(self) -> Words:
        """Words: its own."""
        names = self.vocabulary.names
        rows = self.text_embeddings, self.novel, self.num_words, self.owners, self.pictures
        return Words(names, *rows)

    @property
    def embed_dims(self) -> int:
        """int: the teacher's embedding width D."""
        return self.projection.out_features

    @property
    def has_loss(self) -> bool:
        """bool: whether annotations teach it: it has a background, or a bias of a sigmoid."""
        return self.background is not None or self.bias is not None

    @property
    def temperature(self) -> float | Tensor:
        """float or Tensor: tau; a scalar tensor where it is learned."""
        if self.logit_scale is None:
            return self.given_temperature
        return (-self.logit_scale.float()).exp()

    def embed(self, features: Tensor) -> Tensor:
        """Embeddings (..., D) of features (..., F) (ViLD, Sec. 3.2: e_r), float32, of length 1."""
        projected = self.projection(features)
        with torch.autocast(projected.device.type, enabled=False):
            return normalize(projected.float(), dim=-1, eps=NORM_EPS)

    def classify(self, embeddings: Tensor, words: Words | None = None) -> Tensor:
        """Similarities with every word over the temperature, in float32 even under autocast.

        Where it has a bias, that is added.

        Args:
            embeddings: (..., D), of length 1.
            words: C words, and R that compete with them; default: its own. With pictures among
                them, the embeddings are of one image; see :func:`level_pictures`.

        Returns:
            (..., C + R + 1), background last, or (..., C + R) without background.
        """
        words = self.words if words is None else words
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            logits = level_pictures(partial(self._similarities, embeddings), words, self.words)
            if self.background is not None:
                background = self.background.float()
                if self.normalize_background:
                    background = normalize(background, dim=0, eps=NORM_EPS)
                logits = torch.cat([logits, embeddings @ background[:, None]], dim=-1)
            logits = logits / self.temperature
            return logits if self.bias is None else logits + self.bias.float()

    def _similarities(self, embeddings: Tensor, words: Words) -> Tensor:
        """Similarities (..., C) of embeddings (..., D) with words, by all rows (V) of each."""
        logits = embeddings @ words.embeddings.float().t()
        if words.owners is None:
            return logits
        if self.synonyms == 'random' and self.training:
            counts = words.owners.new_zeros(len(words.names))
            counts.index_add_(0, words.owners, torch.ones_like(words.owners))
            drawn = (torch.rand(len(counts), device=counts.device) * counts).long()
            # A product of float32 may be rounded up to the count.
            return logits[..., counts.cumsum(0) - counts + drawn.minimum(counts - 1)]
        of_words = logits.new_zeros(*logits.shape[:-1], len(words.names))
        reduce = 'mean' if self.synonyms == 'mean' else 'amax'
        owners = words.owners.expand_as(logits)
        return of_words.scatter_reduce(-1, owners, logits, reduce, include_self=False)

    def texts_of(self, labels: Tensor) -> Tensor:
        """Embeddings (n, D) of its categories ``labels`` (n,); of several rows the mean."""
        if self.owners is None:
            return self.text_embeddings[labels]
        owned = (self.owners == labels[:, None]).to(self.text_embeddings)
        return owned @ self.text_embeddings / owned.sum(dim=1, keepdim=True)

    def training_logits(self, logits: Tensor, labels: Tensor | None = None) -> Tensor:
        """What a classification loss is computed of.

        Those of :meth:`classify` for its own words, with 0 or minus infinity for novel ones if
        ``mask_novel`` says so; with a ``bias`` with what a sigmoid has no loss of. Words that only
        compete are left out, but for those of ``rivals``, which come last, after background.

        Args:
            logits: (..., C + R + 1), or (..., C + R) without background.
            labels: (...,), C where nothing is annotated. Without them all rivals compete in a
                softmax, and none has a loss of a sigmoid.

        Returns:
            (..., C + 1) or (..., C), and with ``rivals`` R more.
        """
        # A softmax, and a sigmoid whose target is 0, has no loss of this.
        nothing = torch.finfo(torch.float32).min / 4 if self.bias is None else -1e4
        own, background = logits[..., : self.num_words], logits[..., len(self.novel) :]
        if self.mask_novel:
            novel = self.novel[: self.num_words]
            if self.bias is not None:
                own = own.masked_fill(novel, nothing)
            elif self.mask_novel == 'drop':
                own = own.masked_fill(novel, -torch.inf)
            else:
                own = own * ~novel
        if not self.trains_rivals or (labels is None and self.bias is not None):
            return torch.cat([own, background], dim=-1)
        rivals = logits[..., self.num_words : len(self.novel)]
        if labels is not None:
            unnamed = (labels >= self.num_words)[..., None]
            rivals = rivals.masked_fill(unnamed, nothing)
            if self.bias is not None:  # mmdet's losses count what is unnamed as label C
                background = torch.where(unnamed, -nothing, nothing).to(logits)
        return torch.cat([own, background, rivals], dim=-1)

    def forward(self, features: Tensor, words: Words | None = None) -> Tensor:
        """Logits of features (..., F): :meth:`classify`, in training :meth:`training_logits`."""
        logits = self.classify(self.embed(features), words)
        return self.training_logits(logits) if self.training else logits


def with_rivals(
    text: TextEmbeddings, source: str, rivals: TextEmbeddings, rivals_source: str
) -> TextEmbeddings:
    """Words, and after them those of another vocabulary, which a region of theirs cannot be.

    What the words denote, its kinds and what it is a kind of are left out.

    Raises:
        ValueError: Another teacher encoded them.
    """
    if not same_teacher(text.teacher, rivals.teacher) or text.embed_dims != rivals.embed_dims:
        raise ValueError(
            f'{rivals_source} was encoded by the teacher {rivals.teacher}, {source} by '
            f'{text.teacher}; encode both with one teacher'
        )
    return KnownWords(rivals).add_rivals(text, with_related=False)
