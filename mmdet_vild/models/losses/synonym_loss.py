"""Regions are also classified among synonyms of their names (GKC's text diversification)."""

from typing import Literal

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mmdet_vild.options import NotNegative, checked_options
from mmdet_vild.vocabulary import TextEmbeddings, readable_name, repeated_names, same_teacher

from ..words import NORM_EPS, Words


@MODELS.register_module()
@checked_options
class SynonymLoss(nn.Module):
    """Cross-entropy over the names in all synonym sets.

    Three ways, of the authors' code:

    - ``'random'``: each region has one name, drawn for it, see
      :class:`mmdet_vild.datasets.DrawSynonyms`. The vocabulary of an image has the names that were
      drawn for its regions, so that two names of one category may compete; and of the other
      categories the first name.
    - ``'max'`` and ``'mean'``: the logit of a category is that of all its names.

    Args:
        text_embeddings: A text-embedding file of the classifier's categories, by its teacher, with
            their synonyms, as ``tools/diversify_vocabulary.py`` and ``tools/encode_vocabulary.py``
            make it.
        way: See above.
        loss_weight: The authors use 10.
        no_object_weight: Of regions of no category, in the weighted mean.

    Raises:
        ValueError: The file has no synonyms, or one is another category's own name, or two
            categories have the same own name.
    """

    def __init__(
        self,
        text_embeddings: str,
        way: Literal['random', 'max', 'mean'] = 'random',
        loss_weight: NotNegative = 10.0,
        no_object_weight: NotNegative = 0.1,
    ) -> None:
        super().__init__()
        text = TextEmbeddings.load(text_embeddings)
        if text.synonym_embeddings is None:
            raise ValueError(
                f'{text_embeddings} has the average of synonyms alone, and SynonymLoss needs each; '
                'name a file that tools/encode_vocabulary.py writes now'
            )
        if all(len(names) == 1 for names in text.synonyms):
            raise ValueError(
                f'{text_embeddings} has no synonyms, only the {len(text.names)} names; name the '
                'file of the vocabulary that tools/diversify_vocabulary.py made'
            )
        if repeated := repeated_names(names[0] for names in text.synonyms):
            raise ValueError(
                f'{text_embeddings} has categories of the same name, {repeated}, which would be '
                'right and wrong at once; begin the synonyms of each with another name'
            )
        pairs = list(zip(text.names, text.synonyms, strict=True))
        own = {readable_name(names[0]): name for name, names in pairs}
        for name, names in pairs:
            for synonym in names[1:]:
                if own.get(readable_name(synonym), name) != name:
                    raise ValueError(
                        f'{text_embeddings} has {synonym!r} as a synonym of {name!r}, and it is '
                        f'the name of {own[readable_name(synonym)]!r}: it would be right and wrong '
                        'at once; take it out of the vocabulary, and encode that again'
                    )
        self.path, self.text = text_embeddings, text
        self.way = way
        self.loss_weight = loss_weight
        self.no_object_weight = no_object_weight
        words = Words.from_text_embeddings(text, by_synonym=True)
        self.register_buffer('names', words.embeddings, persistent=False)  # (V, D)
        self.register_buffer('owners', words.owners, persistent=False)  # (V,)
        counts = words.owners.bincount(minlength=len(text.names))
        self.register_buffer('first', counts.cumsum(0) - counts, persistent=False)  # (C,)

    def check_vocabulary(self, vocabulary: TextEmbeddings, count: int) -> None:
        """Refuse synonyms of other categories, or of another teacher, than a classifier's.

        Raises:
            ValueError: They are.
        """
        names = vocabulary.names[:count]
        if self.text.names != names:
            unknown = sorted(set(self.text.names) - set(names))[:5]
            missing = sorted(set(names) - set(self.text.names))[:5]
            raise ValueError(
                f'{self.path} has synonyms of other categories than the classifier, or in another '
                f'order; only in it: {unknown}, only in the classifier: {missing}; make it of the '
                'same vocabulary'
            )
        if not same_teacher(self.text.teacher, vocabulary.teacher):
            raise ValueError(
                f'the teacher {self.text.teacher} encoded {self.path}, and {vocabulary.teacher} '
                "the classifier's words; both must come from one teacher"
            )

    def rows(self, labels: Tensor, drawn: Tensor) -> Tensor:
        """Rows (n,) of the names drawn for regions of ``labels`` (n,), the ``drawn``-th of each."""
        return self.first[labels] + drawn

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        rows: Tensor,
        no_object: Tensor,
        temperature: float | Tensor,
        weights: Tensor | None = None,
        novel: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar.

        Args:
            embeddings: (B, Q, D) of length 1.
            labels: (B, Q), C for no object.
            rows: (B, Q) as :meth:`rows`, of regions with a category; used by ``'random'`` alone.
            no_object: (D,) its embedding.
            temperature: As the classifier's.
            weights: (B, Q) 0 or 1, which regions count; default all.
            novel: (C,) bool, categories that do not compete; default none.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            if embeddings.dtype is not torch.float64:
                embeddings = embeddings.float()
            names = self.names.to(embeddings)
            no_object = normalize(no_object.to(embeddings), dim=0, eps=NORM_EPS)
            # Before anything is masked: -inf over a learned temperature has the gradient NaN.
            logits = embeddings @ names.T / temperature
            none = embeddings @ no_object[:, None] / temperature
            if novel is not None:
                logits = logits.masked_fill(novel[self.owners], -torch.inf)
            if self.way == 'random':
                columns = self.columns(labels, rows)
                logits = logits.masked_fill(~columns[:, None], -torch.inf)
                targets = torch.where(labels < len(self.first), rows, len(names))
            else:
                logits, targets = self._of_categories(logits), labels
            logits = torch.cat([logits, none], dim=-1)
            each = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='none')
            weighted = torch.where(labels < len(self.first), 1.0, self.no_object_weight).flatten()
            if weights is not None:
                weighted = weighted * weights.flatten()
            total = (weighted * each).sum() / weighted.sum().clamp(min=1e-6)
            return self.loss_weight * total

    def columns(self, labels: Tensor, rows: Tensor) -> Tensor:
        """(B, V) bool, which names are the vocabulary of each image; see :meth:`forward`."""
        found = labels < len(self.first)
        batch = torch.arange(len(labels), device=labels.device)[:, None].expand_as(labels)
        # A last column takes what is of no category.
        drawn = self.names.new_zeros(len(labels), len(self.names) + 1, dtype=torch.bool)
        drawn[batch, torch.where(found, rows, len(self.names))] = True
        drawn = drawn[:, :-1]
        seen = drawn.new_zeros(len(labels), len(self.first) + 1)
        seen[batch, torch.where(found, labels, len(self.first))] = True
        plain = torch.zeros_like(drawn)
        plain[:, self.first] = ~seen[:, :-1]
        return drawn | plain

    def _of_categories(self, logits: Tensor) -> Tensor:
        """Logits (B, Q, C) of (B, Q, V)."""
        reduced = logits.new_zeros(*logits.shape[:-1], len(self.first))
        way = 'amax' if self.way == 'max' else 'mean'
        owners = self.owners.expand_as(logits)
        return reduced.scatter_reduce(-1, owners, logits, way, include_self=False)
