"""The teacher: a frozen CLIP-like model that embeds words and image regions in one space."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmengine.logging import MMLogger
from torch import Tensor
from torch.nn.functional import normalize

from mmdet_vild.options import Count, NotNegative, check_options, checked_options
from mmdet_vild.vocabulary import (
    VILD_TEMPLATES,
    TextEmbeddings,
    fill_templates,
    is_novel,
    is_picture,
    readable_name,
)

from .crops import CROP_SCALES, CropMode, crop_windows, resize_windows
from .masked_crops import encode_masks
from .open_clip_models import check_model, download_weights, load_tokenizer, normalisation
from .tuned_weights import raw_values


@TASK_UTILS.register_module()
@checked_options
class OpenCLIPTeacher:
    """Any open_clip model, by name and weights.

    It computes in float32, also where the caller has switched autocast on.

    Args:
        model_name: An open_clip model name, such as ``'ViT-B-32-quickgelu'``, or
            ``'mini-clip-lite0'``, the small one that the demo trains.
        pretrained: An open_clip tag, such as ``'openai'``, or the path of a weights file. Without
            it the weights are random, which is only good for tests.
        model_config: A JSON model config of open_clip, or a folder of them, to register first.
        device: Where it computes.
        batch_size: At most how many crops or texts go through it at once; default: 256, and on a
            CPU, whose caches hold the features of few, 40.
        crop_mode: How a crop becomes a square; see :func:`resize_windows`.
        crop_scales: A region is seen at so many times its size; the embeddings are added.
        min_side: Regions narrower or lower than this many pixels are seen as that wide or high.
        autocast: The precision in which crops are encoded; None for float32.

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
        batch_size: Count | None = None,
        crop_mode: CropMode = 'squash',
        autocast: Literal['float16', 'bfloat16', None] = None,
        crop_scales: Sequence[float] = CROP_SCALES,
        min_side: NotNegative = 0,
    ) -> None:
        import open_clip

        check_scales(crop_scales)
        check_model(model_name, pretrained, model_config)
        self.tokenizer = load_tokenizer(model_name)
        download_weights(model_name, pretrained)
        from_file = pretrained and Path(pretrained).is_file()
        self.model = open_clip.create_model(
            model_name,
            pretrained=pretrained,
            device=device,
            require_pretrained=bool(pretrained),
            force_preprocess_cfg=normalisation(model_name) if from_file else None,
        )
        self.model.eval().requires_grad_(False)
        # In this layout convolutions take less time on a CPU.
        self.model.to(memory_format=torch.channels_last)
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
        mean = getattr(visual, 'image_mean', None) or open_clip.OPENAI_DATASET_MEAN
        std = getattr(visual, 'image_std', None) or open_clip.OPENAI_DATASET_STD
        self._mean = 255 * torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(std, device=device).view(3, 1, 1)
        self.crop_mode = crop_mode
        self.autocast = autocast
        self.crop_scales = tuple(crop_scales)
        self.min_side = min_side
        #: int: How many crops :meth:`encode_regions` has encoded.
        self.encoded = 0
        self.identity = f'{model_name}@{_digests(self.model.state_dict(), pretrained)}'
        self.embed_dims = self.encode_texts(['a']).shape[1]

    @classmethod
    def check(cls, **config) -> str:
        """Refuse arguments as building a teacher does, but without reading or downloading weights.

        Returns the part of its :attr:`identity` before the hash of the weights.
        """
        check_options(cls.__name__, cls.__init__, cls, **config)
        check_scales(config.get('crop_scales', CROP_SCALES))
        check_model(*(config.get(key) for key in ('model_name', 'pretrained', 'model_config')))
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
        source = {
            'teacher': self.identity,
            'embed_dims': self.embed_dims,
            'crop_scales': list(self.crop_scales),
            'crop_mode': self.crop_mode,
            'crop_size': list(self.input_size),
            'autocast': self.autocast,
        }
        # Left out where it changes nothing, for stores that were begun before there was one.
        return {**source, 'min_side': self.min_side} if self.min_side else source

    @property
    def temperature(self) -> float:
        """float: 1 / the scale that the teacher learned for its cosine similarities."""
        return 1 / self.model.logit_scale.exp().item()

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str], names: Sequence[str] | None = None) -> Tensor:
        """Encode n texts as they are: (n, D) float32 on the CPU, L2-normalised.

        Raises:
            ValueError: A text, which the message names, has more tokens than the teacher reads.
        """
        texts, names, encoded = list(texts), names or [repr(text) for text in texts], []
        for part in self.batches(len(texts)):
            tokens = self._tokenize(texts[part], names[part]).to(self.device)
            with self._precision():
                encoded.append(self.model.encode_text(tokens).float().cpu())
        return normalize(torch.cat(encoded), dim=1)

    def encode_categories(
        self, categories: Sequence[dict], templates: Sequence[str] = VILD_TEMPLATES
    ) -> TextEmbeddings:
        """Encode a vocabulary with the prompt ensemble (ViLD, Sec. 3.2).

        The embeddings of all prompts of all synonyms of a category are L2-normalised, averaged
        within each synonym, normalised, averaged over the synonyms and normalised again. A category
        with ``examples`` has the average of its pictures, each encoded as a region is.

        Args:
            categories: As :func:`mmdet_vild.vocabulary.load_categories` returns them.
            templates: See :func:`mmdet_vild.vocabulary.fill_templates`.

        Raises:
            ValueError: A synonym has, in its prompts, more tokens than the teacher reads, or the
                synonyms of two categories are the same tokens to it.
        """
        self.check_distinct(categories)
        given = [synonym for category in categories for synonym in category['synonyms']]
        synonyms = [synonym for synonym in given if not is_picture(synonym)]
        # Some at a time: all prompts of 20,000 words would take gigabytes.
        parts = (synonyms[part] for part in self.batches(len(synonyms)))
        of_words = (row for part in parts for row in self._encode_synonyms(part, templates))
        pictures = [each for category in categories for each in category.get('examples', ())]
        seen = [e.image for e in pictures], [e.box[None] for e in pictures]
        of_pictures = iter(self.encode_regions(*seen) if pictures else ())
        per_synonym = torch.stack(
            [next(of_pictures)[0] if is_picture(each) else next(of_words) for each in given]
        )
        counts = [len(category['synonyms']) for category in categories]
        embeddings = torch.stack([rows.mean(0) for rows in per_synonym.split(counts)])
        return TextEmbeddings(
            embeddings=normalize(embeddings, dim=1).numpy(),
            names=[category['name'] for category in categories],
            novel=[is_novel(category) for category in categories],
            teacher=self.identity,
            synonyms=[category['synonyms'] for category in categories],
            templates=templates,
            synonym_embeddings=per_synonym.numpy(),
        )

    def _encode_synonyms(self, synonyms: Sequence[str], templates: Sequence[str]) -> Tensor:
        """The embeddings (n, D) of n synonyms, averaged over the prompts and L2-normalised."""
        prompts = [prompt for synonym in synonyms for prompt in fill_templates(synonym, templates)]
        names = [f'a prompt of {synonym!r}' for synonym in synonyms for _ in templates]
        embeddings = self.encode_texts(prompts, names).view(-1, len(templates), self.embed_dims)
        return normalize(embeddings.mean(1), dim=1)

    def batches(self, count: int) -> Iterator[slice]:
        """What of so many goes through it at once: parts of about the same size."""
        most = self.batch_size or (40 if self.device.type == 'cpu' else 256)
        parts = -(-count // most)
        return (slice(i * count // parts, (i + 1) * count // parts) for i in range(parts))

    def check_distinct(self, categories: Sequence[dict]) -> None:
        """Raise a ValueError if all synonyms of two categories are the same tokens.

        Pictures are not looked at.
        """
        categories = [c for c in categories if not all(map(is_picture, c['synonyms']))]
        if not categories:
            return
        synonyms = [synonym for category in categories for synonym in category['synonyms']]
        tokens = self._tokenize([readable_name(s) for s in synonyms], [repr(s) for s in synonyms])
        rows, names = (row.tobytes() for row in tokens.numpy()), {}
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

    def encode_masks(
        self, image: np.ndarray, masks: Sequence[np.ndarray], boxes: np.ndarray, masked: bool = True
    ) -> Tensor:
        """Embed segments of one image; see :func:`mmdet_vild.teacher.masked_crops.encode_masks`."""
        return encode_masks(self, image, masks, boxes, masked)

    def encode_regions(
        self,
        images: Sequence[np.ndarray],
        boxes: Sequence[np.ndarray | Tensor],
        crop_scales: Sequence[float] | None = None,
    ) -> list[Tensor]:
        """Embed regions of images (ViLD, Sec. 3.3).

        Each region is cropped at ``crop_scales`` of the box (same centre, clipped to the image),
        1x and 1.5x if nothing else is said, resized to the input of the teacher, and encoded; the
        embeddings are added and L2-normalised.
        On a GPU the crops of all images share batches; on the CPU that would save nothing.

        Args:
            images: (H, W, 3) uint8 arrays, BGR as mmcv loads them.
            boxes: For each image (n, 4), ``x1, y1, x2, y2`` in its pixels.
            crop_scales: In place of the teacher's own, and then without its ``min_side``.

        Returns:
            For each image (n, D) float32 on the CPU, L2-normalised.

        Raises:
            ValueError: An image or its boxes have another form.
        """
        rows = self.embed_regions(images, boxes, crop_scales)
        return list(rows.cpu().split([len(b) for b in boxes]))

    @torch.no_grad()
    def embed_regions(
        self,
        images: Sequence[np.ndarray],
        boxes: Sequence[np.ndarray | Tensor],
        crop_scales: Sequence[float] | None = None,
    ) -> Tensor:
        """As :meth:`encode_regions`, of all images (n, D) on its device, which may still compute.

        The host waits for the GPU only to know boxes that are there.
        """
        scales, min_side = crop_scales or self.crop_scales, 0 if crop_scales else self.min_side
        windows = [_windows(*each, scales, min_side) for each in zip(images, boxes, strict=True)]
        together = 1 if self.device.type == 'cpu' else max(len(images), 1)
        embeddings = [torch.zeros(0, self.embed_dims, device=self.device)]
        for i in range(0, len(images), together):
            some = slice(i, i + together)
            rows = self._encode(images[some], windows[some])
            for part in rows.split(list(map(len, windows[some]))):
                both = part.view(len(scales), -1, self.embed_dims)
                embeddings.append(normalize(both.sum(0), dim=1))
        return torch.cat(embeddings)

    def region_crops(
        self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray | Tensor]
    ) -> Tensor:
        """What :meth:`encode_regions` encodes: (S, n, 3, h, w) for S scales of n boxes in all."""
        how = self.crop_scales, self.min_side
        windows = [_windows(*each, *how) for each in zip(images, boxes, strict=True)]
        scales = zip(*(each.chunk(len(self.crop_scales)) for each in windows), strict=True)
        owners = torch.cat([torch.full((len(each),), i) for i, each in enumerate(boxes)])
        pixels = self._upload(images)
        return torch.stack([self._crops(pixels, owners, torch.cat(each)) for each in scales])

    def crops(self, image: np.ndarray, windows: Tensor) -> Tensor:
        """What the teacher sees of an image (H, W, 3), BGR, in :func:`crop_windows` (n, 4).

        (n, 3, h, w) float32 on its device, normalised; zero is what ``crop_mode='pad'`` adds.
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
        """The embeddings (n, D) of all windows of some images, by :meth:`batches`."""
        pixels = self._upload(images)
        owners = torch.cat([torch.full((len(w),), i) for i, w in enumerate(windows)])
        windows = torch.cat(list(windows))
        self.encoded += len(windows)
        encoded = [torch.zeros(0, self.embed_dims, device=self.device)]
        for part in self.batches(len(windows)):
            encoded.append(self.encode_images(self._crops(pixels, owners[part], windows[part])))
        return torch.cat(encoded)

    def _upload(self, images: Sequence[np.ndarray]) -> Tensor:
        """BGR images as (b, 3, H, W) RGB on the device; smaller ones in the upper left corner."""
        height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
        pixels = np.zeros((len(images), height, width, 3), np.uint8)
        for i, image in enumerate(images):
            pixels[i, : image.shape[0], : image.shape[1]] = image[..., ::-1]
        rgb = torch.from_numpy(pixels).permute(0, 3, 1, 2)
        if self.device.type == 'cpu':
            return rgb
        # From pinned memory, so that the host does not wait; a plane a channel, to gather from.
        return rgb.pin_memory().to(self.device, non_blocking=True).contiguous()

    def _crops(self, pixels: Tensor, owners: Tensor, windows: Tensor) -> Tensor:
        """As :meth:`crops`, of uploaded images."""
        how = self.input_size, self.crop_mode, self._mean, self._std
        with self._precision():
            return resize_windows(pixels, owners, windows, *how)

    def _tokenize(self, texts: list[str], names: list[str]) -> Tensor:
        """The tokens (n, context length) of texts, of which none is cut off; errors say names."""
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


def _windows(
    image: np.ndarray, boxes: np.ndarray | Tensor, scales: Sequence[float], min_side: float
) -> Tensor:
    """The windows (S n, 4) of all boxes, one scale after the other."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f'expected an image of shape (H, W, 3) and type uint8, found {image.shape} and '
            f'{image.dtype}'
        )
    boxes = torch.as_tensor(boxes, dtype=torch.float32).cpu()
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f'expected boxes of shape (n, 4), found {tuple(boxes.shape)}')
    size = image.shape[:2]
    return torch.cat([crop_windows(boxes, scale, size, min_side) for scale in scales])


def _digests(weights: dict[str, Tensor], pretrained: str | None) -> str:
    """The :func:`_weights_hash`; of tuned weights, that of the raw ones before it."""
    raw = raw_values(pretrained, weights) if pretrained else {}
    return '+'.join(map(_weights_hash, ([{**weights, **raw}] if raw else []) + [weights]))


def _weights_hash(weights: dict[str, Tensor]) -> str:
    """16 hex digits that depend on every weight, and not on the file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b'')
    return digest.hexdigest()[:16]


def check_scales(crop_scales: Sequence[float]) -> None:
    """Raise a ValueError unless there are crops, and each has a size."""
    if not crop_scales or min(crop_scales) <= 0:
        raise ValueError(f'crop_scales must be numbers above 0, found {crop_scales!r}')
