"""Times GKC against plain Mask2Former and against a teacher that sees every predicted mask.

    python tools/benchmarks/segmentation.py [--device cuda] [--categories 20 150 847] [--tiny]

Three segmentors with one backbone, pixel decoder and transformer decoder and random weights, in one
run, turn by turn: MMDetection's Mask2Former with a linear classifier; GKC; and the two-stage rival
of the paper's comparison, in which CLIP's image encoder sees the crop of each predicted mask. All
end with the map of words, which OpenVocabularyFusionHead makes of their logits.

In a round each has one image, every other round in the opposite order, and the first does not
count. Milliseconds are medians over rounds, and ratios are medians of the ratios in a round: of GKC
to Mask2Former, and of the rival, which takes part in the first --rival-images alone, to GKC. Memory
is by how much the peak of a GPU's tensors, or of the process on a CPU, exceeds what there was
before. On one core of a CPU the rival takes most of the time: --images 5 --rival-images 1 is short.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmdet.models.detectors import Mask2Former
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config, ConfigDict
from timing import timed
from torch import Tensor, nn

from mmdet_vild import config_path
from mmdet_vild.models.segmentors.clip_on_masks import box_of
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.teacher.masked_crops import encode_masks
from mmdet_vild.vocabulary import TextEmbeddings

KINDS = ('mask2former', 'gkc', 'two-stage')
#: What the time of a kind is divided by, and the ratio that is aimed at.
AIMS = {'gkc': ('mask2former', 'at most', 1.02), 'two-stage': ('gkc', 'at least', 10)}
BACKBONE = dict(type='ResNet', depth=50, out_indices=(0, 1, 2, 3))


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--categories', type=int, nargs='+', default=[20, 150, 847])
    parser.add_argument('--height', type=int, default=512)
    parser.add_argument('--width', type=int, default=683)
    parser.add_argument('--images', type=int, default=10, help='rounds')
    parser.add_argument('--rival-images', type=int, default=3, help='rounds with the rival')
    parser.add_argument('--teacher', default='RN50-quickgelu', help='an open_clip model name')
    parser.add_argument('--tiny', action='store_true', help='a small network, to try the tool')
    args = parser.parse_args(argv)
    sizes = (args.height, args.width, args.images, args.rival_images, *args.categories)
    if min(sizes) < 1 or args.rival_images > args.images:
        parser.error(
            '--height, --width, --images, --rival-images and --categories must be 1 or more, and '
            '--rival-images at most --images'
        )
    register_all_modules()
    teacher = OpenCLIPTeacher('mini-clip' if args.tiny else args.teacher, device=args.device)
    image = np.random.default_rng(0).integers(0, 255, (args.height, args.width, 3), dtype=np.uint8)
    print(f'{args.width} x {args.height}, {args.device}, median of {args.images} images')
    print('| categories | segmentor | ms | ratio | aim | MB |\n|---|---|---|---|---|---|')
    for count in args.categories:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / 'words.npz')
            models = segmentors(count, path, args.tiny, teacher.embed_dims)
        rounds = args.images, args.rival_images
        times, memory = measured(models, teacher, image, *rounds, args.device)
        for kind in KINDS:
            ms = 1000 * statistics.median(times[kind].values())
            print(
                f'| {count} | {kind} | {ms:.1f} | {compared(times, kind)} | {memory[kind]:.0f} |',
                flush=True,
            )


def compared(times: dict[str, dict[int, float]], kind: str) -> str:
    """The median over rounds of a kind's ratio to another's, and whether it is what is aimed at.

    Args:
        times: Seconds of each kind, by the number of the round.
        kind: One of :data:`KINDS`.
    """
    if kind not in AIMS:
        return '|'
    other, bound, aim = AIMS[kind]
    ratio = statistics.median(time / times[other][number] for number, time in times[kind].items())
    met = ratio <= aim if bound == 'at most' else ratio >= aim
    return f'{ratio:.3f} of {other} | {bound} {aim}: {"met" if met else "missed"}'


class PlainMask2Former(Mask2Former):
    """MMDetection's, with the fusion head that makes maps."""

    def segment(self, inputs: Tensor, samples: list[DetDataSample]) -> Tensor:
        """The map (H, W) of one image."""
        logits, masks = self.panoptic_head.predict(self.extract_feat(inputs), samples)
        return self.panoptic_fusion_head.predict(logits, masks, samples, True)[0]['sem_results']


def segmentors(count: int, path: str, tiny: bool, width: int) -> dict[str, nn.Module]:
    """Mask2Former and GKC with the same weights, of as many categories."""
    config = Config.fromfile(config_path('gkc/gkc-plain_r50-clip_8xb14-50k_coco-panoptic.py')).model
    names = tuple(f'word {i}' for i in range(count))
    rows = np.random.default_rng(0).normal(size=(count, width))
    TextEmbeddings(rows, names, np.zeros(count, bool), 'random').save(path)
    head = config.panoptic_head
    head.cls_predictor_cfg.text_embeddings = path
    for part in (head, config.panoptic_fusion_head):
        part.num_things_classes = count
    head.loss_cls.class_weight = [1.0] * count + [0.1]
    config.teacher, config.backbone = None, dict(BACKBONE)
    if tiny:
        config.backbone = dict(BACKBONE, depth=18, base_channels=8)
        head.update(in_channels=[8, 16, 32, 64], num_queries=8)
        head.pixel_decoder.encoder.num_layers = head.transformer_decoder.num_layers = 1
    torch.manual_seed(0)
    gkc = MODELS.build(config)
    plain = {key: value for key, value in config.items() if key not in ('type', 'teacher')}
    plain = ConfigDict(plain)
    plain.panoptic_head.type = 'Mask2FormerHead'
    plain = PlainMask2Former(**plain)
    shared = {k: v for k, v in gkc.state_dict().items() if 'cls_embed' not in k}
    plain.load_state_dict(shared, strict=False)
    return {'mask2former': plain.eval(), 'gkc': gkc.eval()}


def measured(
    models, teacher, image: np.ndarray, images: int, rival_images: int, device: str
) -> tuple[dict[str, dict[int, float]], dict[str, float]]:
    """Of each kind, the seconds of each round, and the megabytes."""
    for model in models.values():
        model.to(device)
    height, width = image.shape[:2]
    padded = [-(-side // 32) * 32 for side in (height, width)]
    inputs = torch.zeros(1, 3, *padded, device=device)
    inputs[0, :, :height, :width] = torch.from_numpy(image).permute(2, 0, 1) / 60.0 - 2
    shape = dict.fromkeys(('img_shape', 'ori_shape'), (height, width))
    gkc = models['gkc']

    def sample() -> list[DetDataSample]:
        return [DetDataSample(metainfo=dict(shape, batch_input_shape=padded))]

    def two_stage():
        """The masks of GKC; of each, its crop in CLIP, compared with the words."""
        samples = sample()
        head, fusion = gkc.panoptic_head, gkc.panoptic_fusion_head
        logits, masks = head.predict(gkc.extract_feat(inputs), samples)
        found = (masks[0, :, :height, :width] > 0).cpu().numpy()
        boxes = np.array([box_of(m) if m.any() else (0, 0, 1, 1) for m in found], float)
        embeddings = encode_masks(teacher, image, list(found), boxes).to(device)
        seen = head.fc_cls.classify(embeddings)
        seen[:, -1] = logits[0][:, -1]
        return fusion.predict([seen], masks, samples, True)

    runs = {
        'mask2former': lambda: models['mask2former'].segment(inputs, sample()),
        'gkc': lambda: gkc.predict(inputs, sample()),
        'two-stage': two_stage,
    }
    times, memory = {kind: {} for kind in KINDS}, dict.fromkeys(KINDS, 0.0)
    with torch.no_grad():
        for number in range(images + 1):
            for kind in KINDS if number % 2 else reversed(KINDS):
                if kind == 'two-stage' and number > rival_images:
                    continue
                before = used(device, reset=True)
                taken, _ = timed(runs[kind], device, time.perf_counter)
                if number:  # the first warms up
                    times[kind][number] = taken
                memory[kind] = max(memory[kind], (used(device) - before) / 2**20)
    return times, memory


def used(device: str, reset: bool = False) -> int:
    """Bytes, now after a reset, or at most since the last: of a GPU's tensors, or of the process.

    Of a process it is known on Linux alone; elsewhere 0.
    """
    if device != 'cpu':
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()
    try:
        if reset:
            Path('/proc/self/clear_refs').write_text('5')
        status = Path('/proc/self/status').read_text()
    except OSError:
        return 0
    return 1024 * int(status.split('VmHWM:')[1].split()[0])


if __name__ == '__main__':
    main()
