"""What the teacher sees of segments: crops of their boxes, grey outside of the masks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, scaled_dot_product_attention

from .crops import resize_windows

if TYPE_CHECKING:
    from .open_clip_teacher import OpenCLIPTeacher

#: Each channel of pixels outside of a mask (GKC's code).
GREY = 128
#: Which embedding: that of the image, or the mean of its local ones; see :func:`encode_masks`.
Token = Literal['global', 'local']


def painted_crops(
    image: np.ndarray, masks: Sequence[np.ndarray], boxes: np.ndarray, masked: bool = True
) -> list[np.ndarray]:
    """Crops (h, w, 3) of the boxes of segments, of their own sizes.

    Args:
        image: (H, W, 3) uint8.
        masks: n of (H, W) bool.
        boxes: (n, 4) ``x1, y1, x2, y2`` in pixels, with exclusive ends: the whole box. (The
            authors' code cuts its last row and column off.)
        masked: Whether pixels outside of the mask become grey.

    Raises:
        ValueError: A mask is of another picture size, or a box is empty.
    """
    crops = []
    for mask, box in zip(masks, boxes, strict=True):
        if mask.shape != image.shape[:2]:
            raise ValueError(
                f'a mask of (height, width) {mask.shape} is not of this image of '
                f'{image.shape[:2]}; segment the image that is loaded, at its own size'
            )
        x1, y1 = np.floor(box[:2]).astype(int).clip(0)
        x2, y2 = np.ceil(box[2:]).astype(int)
        crop = image[y1:y2, x1:x2]
        if not crop.size:
            raise ValueError(
                f'the box {box.tolist()} of a segment has no pixel of the image of '
                f'{image.shape[:2]}; filter such annotations out'
            )
        outside = ~mask[y1:y2, x1:x2, None] & masked
        crops.append(np.where(outside, np.uint8(GREY), crop))
    return crops


def segment_pixels(teacher: 'OpenCLIPTeacher', crops: Sequence[np.ndarray]) -> Tensor:
    """What the teacher sees of BGR crops: (n, 3, h, w) float32 on its device, normalised."""
    height, width = (max((c.shape[axis] for c in crops), default=1) for axis in (0, 1))
    canvas = np.zeros((len(crops), height, width, 3), np.uint8)
    for place, crop in zip(canvas, crops, strict=True):
        place[: crop.shape[0], : crop.shape[1]] = crop[..., ::-1]
    images = torch.from_numpy(canvas).to(teacher.device).permute(0, 3, 1, 2)
    windows = torch.tensor([[0, 0, c.shape[1], c.shape[0]] for c in crops]).view(-1, 4)
    how = teacher.input_size, teacher.crop_mode, teacher._mean, teacher._std
    images = images if images.is_cpu else images.contiguous()
    return resize_windows(images, torch.arange(len(crops)), windows, *how)


@torch.no_grad()
def encode_masks(
    teacher: 'OpenCLIPTeacher',
    image: np.ndarray,
    masks: Sequence[np.ndarray],
    boxes: np.ndarray,
    masked: bool = True,
    token: Token = 'global',
) -> Tensor:
    """Embed the segments of an image (GKC's teacher).

    Args:
        teacher: Which one.
        image: (H, W, 3) uint8, BGR as mmcv loads it.
        masks, boxes, masked: See :func:`painted_crops`.
        token: ``'global'`` is the embedding of the crop; ``'local'``, of a CLIP with a ResNet, the
            mean of the outputs of its attention pool at all places (the authors' final one).

    Returns:
        (n, D) float32 on the CPU, L2-normalised.

    Raises:
        ValueError: See :func:`painted_crops`; or the teacher has no attention pool.
    """
    visual = teacher.model.visual
    if token == 'local' and not hasattr(visual, 'attnpool'):
        raise ValueError(
            f"token='local' is of CLIP's ResNets, which have an attention pool, and "
            f"{teacher.model_name} has none; take 'global', or RN50 as the teacher"
        )
    found = [torch.zeros(0, teacher.embed_dims)]
    crops = painted_crops(image, masks, boxes, masked)
    for part in teacher.batches(len(crops)):
        pixels = segment_pixels(teacher, crops[part])
        if token == 'global':
            embeddings = teacher.encode_images(pixels)
        else:
            with torch.autocast(teacher.device.type, enabled=False):
                features = visual.stem(pixels)
                for i in (1, 2, 3, 4):
                    features = getattr(visual, f'layer{i}')(features)
                embeddings = pool_tokens(visual.attnpool, features)[:, 1:].mean(dim=1)
        found.append(normalize(embeddings.float(), dim=1).cpu())
    return torch.cat(found)


def pool_tokens(pool: nn.Module, features: Tensor) -> Tensor:
    """All outputs (n, 1 + hw, D) of CLIP's attention pool for maps (n, E, h, w).

    The first is that of the mean of the map, which is the embedding of the image. Positions are
    resized to maps of another size than the pool's own.
    """
    n, width, *size = features.shape
    first, places = pool.positional_embedding.to(features).split(
        [1, len(pool.positional_embedding) - 1]
    )
    side = round(len(places) ** 0.5)
    if size != [side, side]:
        square = places.t().reshape(1, width, side, side)
        places = interpolate(square, size, mode='bilinear')[0].flatten(1).t()
    tokens = features.flatten(2).mT
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
    tokens = tokens + torch.cat([first, places])
    heads = (
        project(tokens).view(n, -1, pool.num_heads, width // pool.num_heads).transpose(1, 2)
        for project in (pool.q_proj, pool.k_proj, pool.v_proj)
    )
    attended = scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    return pool.c_proj(attended)
