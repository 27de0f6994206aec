"""The teacher: a frozen CLIP-like model that embeds words and image regions in one space."""

import hashlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmengine.logging import MMLogger
from torch import Tensor
from torch.nn.functional import normalize

from mmdet_vild.options import Count, check_options, checked_options
from mmdet_vild.vocabulary import (
    VILD_TEMPLATES,
    TextEmbeddings,
    fill_templates,
    is_novel,
    readable_name,
)

from .crops import CROP_SCALES, CropMode, crop_windows, resize_windows
from .open_clip_models import check_model, download_weights, load_tokenizer, normalisation


@TASK_UTILS.register_module()
@checked_options
class OpenCLIPTeacher:
    """Any open_clip model, by name and weights.

    It computes in float32, also where the caller has switched autocast on.

    Args:
        model_name: An open_clip model name, such as ``'ViT-B-32-quickgelu'``, or
            ``'mini-clip'``, the small one that the demo trains.
        pretrained: An open_clip tag, such as ``'openai'``, or the path of a weights file. Without
            it the weights are random, which is only good for tests.
        model_config: A JSON model config of open_clip, or a folder of them, to register first.
        device: Where it computes.
        batch_size: How many crops or texts go through it at once.
        crop_mode: How a crop becomes a square: ``'squash'`` as the authors do, ``'pad'``, or
            ``'centre_crop'`` as open_clip does.
        autocast: ``'float16'`` or ``'bfloat16'`` encodes crops in that precision; None in float32.

    Raises:
        ConnectionError: The weights or the tokenizer cannot be downloaded.
        FileNotFoundError: There is no file at ``model_config``.
        ImportError: The tokenizer needs a package that is not installed.
        ValueError: open_clip does not know the model or the weights, or the weights were trained
            with another activation than the model has; or an argument has another value.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: str | None = None,
        model_config: str | None = None,
        device: str = 'cpu',
        batch_size: Count = 256,
        crop_mode: CropMode = 'squash',
        autocast: Literal['float16', 'bfloat16', None] = None,
    ) -> None:
        import open_clip

        check_model(model_name, pretrained, model_config)
        self.tokenizer = load_tokenizer(model_name)
        download_weights(model_name, pretrained)
        from_file = pretrained is not None and Path(pretrained).is_file()
        self.model = open_clip.create_model(
            model_name,
            pretrained=pretrained,
            device=device,
            require_pretrained=bool(pretrained),
            force_preprocess_cfg=normalisation(model_name) if from_file else None,
        )
        self.model.eval().requires_grad_(False)
        self.model_name = model_name
        self.device = torch.device(device)
        self.batch_size = batch_size
        if pretrained is None:
            MMLogger.get_current_instance().warning(
                f'the teacher {model_name} has random weights: name an open_clip tag or a file in '
                '"pretrained"'
            )
        visual = self.model.visual
        size = visual.image_size
        self.input_size = (size, size) if isinstance(size, int) else tuple(size)
        stats = [getattr(visual, key, None) for key in ('image_mean', 'image_std')]
        mean = stats[0] or open_clip.OPENAI_DATASET_MEAN
        std = stats[1] or open_clip.OPENAI_DATASET_STD
        self._mean = 255 * torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(std, device=device).view(3, 1, 1)
        self.crop_mode = crop_mode
        self.autocast = autocast
        self.identity = f'{model_name}@{_weights_hash(self.model)}'
        self.embed_dims = self.encode_texts(['a']).shape[1]

    @classmethod
    def check(cls, **config) -> str:
        """Refuse what cannot be built, without reading weights or downloading anything.

        Args:
            **config: The arguments of a teacher.

        Returns:
            The part of its :attr:`identity` before the hash of the weights.

        Raises:
            TypeError: An argument is missing or has another name.
            FileNotFoundError, ValueError: As for a teacher.
        """
        check_options(cls.__name__, cls.__init__, cls, **config)
        keys = ('model_name', 'pretrained', 'model_config')
        check_model(*(config.get(key) for key in keys))
        return config['model_name']

    def to(self, device: str | torch.device) -> 'OpenCLIPTeacher':
        """Move the model; returns the teacher itself."""
        if torch.device(device) != self.device:
            self.device = torch.device(device)
            self.model.to(self.device)
            self._mean, self._std = self._mean.to(self.device), self._std.to(self.device)
        return self

    @property
    def crop_source(self) -> dict:
        """dict: what decides a region's embedding, for the header of a store."""
        return {
            'teacher': self.identity,
            'embed_dims': self.embed_dims,
            'crop_scales': list(CROP_SCALES),
            'crop_mode': self.crop_mode,
            'crop_size': list(self.input_size),
            'autocast': self.autocast,
        }

    @property
    def temperature(self) -> float:
        """float: 1 / the scale that the teacher learned for its cosine similarities."""
        return 1 / self.model.logit_scale.exp().item()

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as they are.

        Args:
            texts: n texts.

        Returns:
            (n, D) float32 on the CPU, L2-normalised.

        Raises:
            ValueError: A text has more tokens than the teacher reads.
        """
        return self._encode_texts(list(texts), [repr(text) for text in texts])

    def encode_categories(
        self, categories: Sequence[dict], templates: Sequence[str] = VILD_TEMPLATES
    ) -> TextEmbeddings:
        """Encode a vocabulary with the prompt ensemble (ViLD, Sec. 3.2).

        The embeddings of all prompts of all synonyms of a category are L2-normalised, averaged
        within each synonym, normalised, averaged over the synonyms and normalised again.

        Args:
            categories: As :func:`mmdet_vild.vocabulary.load_categories` returns them.
            templates: Prompt templates; see :func:`mmdet_vild.vocabulary.fill_templates`.

        Returns:
            The text embeddings, in the order of ``categories``.

        Raises:
            ValueError: A synonym has, in its prompts, more tokens than the teacher reads, or the
                synonyms of two categories are the same tokens to it.
        """
        self._check_distinct(categories)
        synonyms = [synonym for category in categories for synonym in category['synonyms']]
        # Some at a time: all prompts of 20,000 words would take gigabytes.
        starts = range(0, len(synonyms), self.batch_size)
        parts = (synonyms[i : i + self.batch_size] for i in starts)
        per_synonym = torch.cat([self._encode_synonyms(part, templates) for part in parts])
        counts = [len(category['synonyms']) for category in categories]
        embeddings = torch.stack([rows.mean(0) for rows in per_synonym.split(counts)])
        return TextEmbeddings(
            embeddings=normalize(embeddings, dim=1).numpy(),
            names=tuple(category['name'] for category in categories),
            novel=np.array([is_novel(category) for category in categories]),
            teacher=self.identity,
            synonyms=tuple(tuple(category['synonyms']) for category in categories),
            templates=tuple(templates),
            synonym_embeddings=per_synonym.numpy(),
        )

    def _encode_synonyms(self, synonyms: Sequence[str], templates: Sequence[str]) -> Tensor:
        """The embeddings (n, D) of n synonyms, averaged over the prompts and L2-normalised."""
        prompts = [prompt for synonym in synonyms for prompt in fill_templates(synonym, templates)]
        names = [f'a prompt of {synonym!r}' for synonym in synonyms for _ in templates]
        embeddings = self._encode_texts(prompts, names).view(-1, len(templates), self.embed_dims)
        return normalize(embeddings.mean(1), dim=1)

    @torch.no_grad()
    def _encode_texts(self, texts: list[str], names: list[str]) -> Tensor:
        """The embeddings (n, D) of n texts, of which errors say the names."""
        chunks = []
        for i in range(0, len(texts), self.batch_size):
            part = slice(i, i + self.batch_size)
            tokens = self._tokenize(texts[part], names[part]).to(self.device)
            with self._precision():
                chunks.append(self.model.encode_text(tokens).float().cpu())
        return normalize(torch.cat(chunks), dim=1)

    def _check_distinct(self, categories: Sequence[dict]) -> None:
        """Raise a ValueError if two categories are the same tokens."""
        synonyms = [synonym for category in categories for synonym in category['synonyms']]
        tokens = self._tokenize([readable_name(s) for s in synonyms], [repr(s) for s in synonyms])
        rows = (row.tobytes() for row in tokens.numpy())
        names = {}
        for category in categories:
            read = frozenset(islice(rows, len(category['synonyms'])))
            if read in names:
                raise ValueError(
                    f'{self.model_name} reads {names[read]!r} and {category["name"]!r} as the same '
                    'tokens, and could not tell them apart; leave one of them out, or give it a '
                    'synonym that is read differently'
                )
            names[read] = category['name']

    def encode_crops(self, image: np.ndarray, boxes: np.ndarray | Tensor) -> Tensor:
        """Embed regions of one image; see :meth:`encode_regions`."""
        return self.encode_regions([image], [boxes])[0]

    @torch.no_grad()
    def encode_regions(
        self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray | Tensor]
    ) -> list[Tensor]:
        """Embed regions of images (ViLD, Sec. 3.3).

        Each region is cropped at 1x and 1.5x the box (same centre, clipped to the image), resized
        to the input of the teacher, and encoded; the two embeddings are added and L2-normalised.
        On a GPU the crops of all images share the teacher's batches. On the CPU they do not, which
        would save nothing there: so an image's embeddings do not depend on the other images.

        Args:
            images: (H, W, 3) uint8 arrays, BGR as mmcv loads them.
            boxes: For each image (n, 4), ``x1, y1, x2, y2`` in its pixels.

        Returns:
            For each image (n, D) float32 on the CPU, L2-normalised.

        Raises:
            ValueError: An image or its boxes have another form.
        """
        windows = [_windows(*each) for each in zip(images, boxes, strict=True)]
        together = 1 if self.device.type == 'cpu' else max(len(images), 1)
        embeddings = [torch.zeros(0, self.embed_dims, device=self.device)]
        for i in range(0, len(images), together):
            some = slice(i, i + together)
            rows = self._encode(images[some], windows[some])
            for part in rows.split([len(w) for w in windows[some]]):
                both = part.view(len(CROP_SCALES), -1, self.embed_dims)
                embeddings.append(normalize(both.sum(0), dim=1))
        return list(torch.cat(embeddings).cpu().split([len(b) for b in boxes]))

    def crops(self, image: np.ndarray, windows: Tensor) -> Tensor:
        """What the teacher sees of windows of an image.

        Args:
            image: (H, W, 3) uint8, BGR.
            windows: (n, 4) int64; see :func:`crop_windows`.

        Returns:
            (n, 3, h, w) float32 on the teacher's device, normalised. What ``crop_mode='pad'`` adds
            is zero.
        """
        return self._crops(self._upload([image]), torch.zeros(len(windows)).long(), windows)

    @torch.no_grad()
    def encode_images(self, crops: Tensor) -> Tensor:
        """Encode what :meth:`crops` returns: (n, D) float32 on the teacher's device."""
        with self._precision(self.autocast):
            return self.model.encode_image(crops).float()

    def _precision(self, autocast: str | None = None) -> torch.autocast:
        """Within it the model computes as it says, and not as the caller's autocast does."""
        dtype = autocast and getattr(torch, autocast)
        return torch.autocast(self.device.type, dtype, enabled=bool(dtype))

    def _encode(self, images: Sequence[np.ndarray], windows: Sequence[Tensor]) -> Tensor:
        """The embeddings (n, D) of all windows of some images, ``batch_size`` at a time."""
        pixels = self._upload(images)
        owners = torch.cat([torch.full((len(w),), i) for i, w in enumerate(windows)])
        windows = torch.cat(list(windows))
        encoded = [torch.zeros(0, self.embed_dims, device=self.device)]
        for i in range(0, len(windows), self.batch_size):
            some = slice(i, i + self.batch_size)
            encoded.append(self.encode_images(self._crops(pixels, owners[some], windows[some])))
        return torch.cat(encoded)

    def _upload(self, images: Sequence[np.ndarray]) -> Tensor:
        """BGR images as (b, 3, H, W) RGB on the device; smaller ones in the upper left corner."""
        height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
        pixels = np.zeros((len(images), height, width, 3), np.uint8)
        for i, image in enumerate(images):
            pixels[i, : image.shape[0], : image.shape[1]] = image[..., ::-1]
        rgb = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)
        return rgb if rgb.is_cpu else rgb.contiguous()  # a plane a channel, to gather from

    def _crops(self, pixels: Tensor, owners: Tensor, windows: Tensor) -> Tensor:
        """As :meth:`crops`, of uploaded images."""
        how = self.input_size, self.crop_mode, self._mean, self._std
        with self._precision():
            return resize_windows(pixels, owners, windows, *how)

    def _tokenize(self, texts: list[str], names: list[str]) -> Tensor:
        """The tokens (n, context length) of texts, none of which open_clip had to cut off.

        Errors say the name of a text.
        """
        length = self.tokenizer.context_length
        padding = self.tokenizer(['']).mode().values  # most of an empty text
        tokens = self.tokenizer(texts)
        untruncated = self.tokenizer(texts, 2 * length)
        too_long = (untruncated != padding).sum(1) > (tokens != padding).sum(1)
        if too_long.any():
            first = int(too_long.nonzero()[0])
            # No text has more tokens than bytes, but for those at its start and its end.
            whole = self.tokenizer([texts[first]], len(texts[first].encode()) + 2)
            raise ValueError(
                f'{names[first]} has {int((whole != padding).sum())} tokens, more than the '
                f'{length} tokens that {self.model_name} reads, and would be cut off; shorten the '
                'name or the synonym'
            )
        return tokens


def _windows(image: np.ndarray, boxes: np.ndarray | Tensor) -> Tensor:
    """The windows of all scales, one scale after the other."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f'expected an image of shape (H, W, 3) and type uint8, found {image.shape} and '
            f'{image.dtype}'
        )
    boxes = torch.as_tensor(boxes, dtype=torch.float32).cpu()
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'expected boxes of shape (n, 4), found {tuple(boxes.shape)}')
    return torch.cat([crop_windows(boxes, scale, image.shape[:2]) for scale in CROP_SCALES])


def _weights_hash(model: torch.nn.Module) -> str:
    """16 hex digits that depend on every weight, and not on the file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b'')
    return digest.hexdigest()[:16]
