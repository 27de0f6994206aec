"""Trains the mini world's teacher: a small CLIP that knows the world from captioned pictures alone.

    python tools/mini_lvis/train_teacher.py --categories data/mini_lvis/categories.json \\
        --out data/mini_lvis/mini_clip.pt

It is an ``open_clip.CLIP`` (``mmdet_vild/teacher/model_configs/mini-clip.json``), trained with
open_clip's contrastive loss on crops of scenes of its own (another random stream than the
detection data's) and on captions: the 63 prompts of ViLD around the names and synonyms of the
category list, base and novel alike, and of everything else that the concept library can draw.
Crops that cut an object or lose it in its surroundings are captioned as what they are
(``part of a red heart``), which teaches the teacher to tell a good box from a bad one.

An interrupted run goes on from its last checkpoint, a finished one does nothing. Beside the
weights, ``mini_clip.json`` records the arguments and what the teacher learned.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from concepts import DEFAULT_CATEGORIES, load_categories, parse_name
from crops import IMAGE_SIZE, LISTED_PART, Key, render_crops
from render import paint_layout, sample_layout
from tqdm import tqdm

import mmdet_vild.teacher
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import fill_templates

MODEL_NAME = 'mini-clip'
#: Raised whenever the same arguments would give another teacher.
TEACHER_VERSION = 1
#: The second of the random seeds, where the training scenes have another (see ``crops.py``).
BATCH_STREAM, HELD_OUT_STREAM = 1001, 1002
#: How often a batch shows an object whole, in part and far away.
KIND_WEIGHTS = {'whole': 0.65, 'part': 0.22, 'far': 0.08}
BACKGROUND_WEIGHT = 0.01
#: How often it shows a patterned surface that is not of the category list, against a plain one.
OTHER_PATTERN_WEIGHT = 0.3
CHECKPOINT_SECONDS = 15.0

PART_TEMPLATES = ('part of {}.', 'a photo of part of {}.', 'a piece of {}.', 'half of {}.')
FAR_TEMPLATES = ('{} in the distance.', 'a photo of {} and its surroundings.', '{} far away.')
BACKGROUND = ('the background.', 'a photo of the background.', 'nothing.', 'a photo of nothing.')


def captions(key: Key, names: list[str]) -> list[str]:
    """Every caption for crops of a kind.

    Args:
        key (Key): what they show.
        names (list[str]): the object's name and its synonyms.
    """
    if key.concept is None:
        return list(BACKGROUND)
    if key.kind == 'whole':
        return [text for name in names for text in fill_templates(name)]
    templates = PART_TEMPLATES if key.kind == 'part' else FAR_TEMPLATES
    articles = ('{article} {}', 'the {}')
    return [
        text
        for name in names
        for article in articles
        for text in fill_templates(name, [t.replace('{}', article) for t in templates])
    ]


class Batches:
    """Draws batches in which no caption is true of another one's crop.

    ClipLoss takes every other caption of a batch as wrong, so a key may be in it only once.

    Args:
        seed (int): with the step, it decides a batch.
        keys (list[Key]): (n,) what the crops show.
        crops (ndarray): (n, side, side, 3) uint8 RGB.
        categories (list[dict]): the category list.
        tokenizer (Callable): open_clip's.
    """

    def __init__(
        self,
        seed: int,
        keys: list[Key],
        crops: np.ndarray,
        categories: list[dict],
        tokenizer: Callable,
    ) -> None:
        self.seed, self.crops = seed, torch.from_numpy(crops)
        members: dict[Key, list[int]] = {}
        for i, key in enumerate(keys):
            members.setdefault(key, []).append(i)
        self.members = list(members.values())
        names = {
            parse_name(c['name']): list(dict.fromkeys([c['name'], *c['synonyms']]))
            for c in categories
        }
        others = len({key.concept for key in members} - {*names, None})
        rng = np.random.default_rng([seed, BATCH_STREAM])
        chance, self.tokens = [], []
        for key in members:
            if key.concept is None:
                chance.append(BACKGROUND_WEIGHT)
                texts = captions(key, [])
            elif key.concept in names:
                chance.append(KIND_WEIGHTS[key.kind] * LISTED_PART / len(names))
                texts = captions(key, names[key.concept])
            else:
                pattern = OTHER_PATTERN_WEIGHT if key.concept.pattern else 1
                chance.append(KIND_WEIGHTS[key.kind] * (1 - LISTED_PART) / others * pattern)
                texts = captions(key, key.concept.synonyms)
                texts = [texts[i] for i in rng.permutation(len(texts))[:6]]  # tokenizing is slow
            self.tokens.append(tokenizer(texts))
        self.chance = np.array(chance) / sum(chance)

    def __call__(self, step: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A step's crops, (size, 3, side, side) uint8, and tokenized captions, (size, length)."""
        rng = np.random.default_rng([self.seed, BATCH_STREAM, step + 1])
        size = min(size, len(self.members))
        drawn = rng.choice(len(self.members), size, replace=False, p=self.chance)
        crops = self.crops[[rng.choice(self.members[i]) for i in drawn]]
        texts = [self.tokens[i][rng.integers(len(self.tokens[i]))] for i in drawn]
        return crops.permute(0, 3, 1, 2), torch.stack(texts)


def build_model(seed: int) -> torch.nn.Module:
    """The untrained model, from open_clip's factory."""
    torch.manual_seed(seed)
    open_clip.add_model_config(Path(mmdet_vild.teacher.__file__).parent / 'model_configs')
    logging.disable(logging.WARNING)  # of the weights that it does not have yet
    try:
        return open_clip.create_model(MODEL_NAME)
    finally:
        logging.disable(logging.NOTSET)


def build_optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """AdamW, and for the token table, of whose 49,408 rows a step touches a hundred, SparseAdam."""
    model.token_embedding.sparse = True
    table = model.token_embedding.weight
    others = [p for p in model.parameters() if p is not table]
    groups = [
        {'params': [p for p in others if p.ndim > 1], 'weight_decay': 0.05},
        {'params': [p for p in others if p.ndim <= 1], 'weight_decay': 0.0},
    ]
    return [
        torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98)),
        torch.optim.SparseAdam([table], lr=rate, betas=(0.9, 0.98)),
    ]


def save_atomically(path: Path, content: dict) -> None:
    """torch.save, so that the file is either whole or absent."""
    part = path.with_name(f'.{path.name}.part')
    torch.save(content, part)
    os.replace(part, path)


def load_checkpoint(path: Path, arguments: dict) -> dict | None:
    """The checkpoint that a run with the same arguments left, if any."""
    if not path.exists():
        return None
    saved = torch.load(path, map_location='cpu', weights_only=True)
    return saved if saved['arguments'] == arguments else None


def train(
    model: torch.nn.Module,
    draw_batch: Callable,
    arguments: dict,
    checkpoint: Path,
    saved: dict | None,
) -> None:
    """Trains the model in place.

    Args:
        model (Module): as ``build_model`` gives it.
        draw_batch (Callable): a ``Batches``.
        arguments (dict): of this run; ``steps``, ``batch_size`` and ``lr`` are used.
        checkpoint (Path): where to save the state now and then.
        saved (dict, optional): a checkpoint to go on from.
    """
    steps, rate = arguments['steps'], arguments['lr']
    optimizers = build_optimizers(model, rate)
    first = 0
    if saved:
        first = saved['step']
        model.load_state_dict(saved['model'])
        for optimizer, state in zip(optimizers, saved['optimizers'], strict=True):
            optimizer.load_state_dict(state)
        tqdm.write(f'going on from step {first} of {steps}')
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)
    compute_loss = open_clip.ClipLoss()
    model.to(memory_format=torch.channels_last).train()
    progress = tqdm(range(first, steps), total=steps, initial=first, desc='steps', mininterval=1)
    saved_at = time.monotonic()
    for step in progress:
        warmup = min(1.0, (step + 1) / (0.05 * steps))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group['lr'] = rate * warmup * (0.5 + 0.5 * float(np.cos(np.pi * step / steps)))
            optimizer.zero_grad()
        crops, texts = draw_batch(step, arguments['batch_size'])
        pixels = ((crops.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
        loss = compute_loss(*model(pixels, texts))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, np.log(100))
        if step % 20 == 0:
            progress.set_postfix(loss=f'{loss.item():.2f}', refresh=False)
        if step + 1 == steps or time.monotonic() - saved_at > CHECKPOINT_SECONDS:
            state = {
                'arguments': arguments,
                'step': step + 1,
                'model': model.state_dict(),
                'optimizers': [optimizer.state_dict() for optimizer in optimizers],
            }
            save_atomically(checkpoint, state)
            saved_at = time.monotonic()


def jittered_box(rng: np.random.Generator, box: np.ndarray, low: float, high: float) -> np.ndarray:
    """A random box whose IoU with the given one is in a range."""
    size = box[2:] - box[:2]
    while True:
        half = size / 2 * np.exp(rng.uniform(-0.7, 0.7, 2))
        centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.4, 0.4, 2) * size
        other = np.clip(np.concatenate([centre - half, centre + half]), 0, IMAGE_SIZE)
        overlap = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
        overlap = np.clip(overlap, 0, None).prod()
        union = size.prod() + (other[2:] - other[:2]).prod() - overlap
        if low <= overlap / union <= high:
            return other


def evaluate(teacher: OpenCLIPTeacher, categories: list[dict], seed: int, scenes: int) -> dict:
    """What the teacher makes of objects in held-out scenes of the category list.

    Args:
        teacher (OpenCLIPTeacher): the trained teacher, as the detectors will load it.
        categories (list[dict]): the category list.
        seed (int): of this run.
        scenes (int): how many to look at.

    Returns:
        dict: ``base`` and ``novel``: zero-shot accuracy on the objects' boxes; ``framing``: how
        often an object's name fits a box of IoU 0.8 to 1 better than one of 0.3 to 0.5 (percent);
        ``logit_scale``: the learned one.
    """
    concepts = [parse_name(c['name']) for c in categories]
    texts = torch.from_numpy(teacher.encode_categories(categories).embeddings)
    right, framed = {'base': [], 'novel': []}, []
    for index in range(scenes):
        rng = np.random.default_rng([seed, HELD_OUT_STREAM, index])
        layout = sample_layout(rng, concepts, np.ones(len(concepts)), IMAGE_SIZE)
        image = paint_layout(layout, rng)
        boxes = [np.array(o.visible.bounds) for o in layout.objects]
        good = [jittered_box(rng, box, 0.8, 1.0) for box in boxes]
        bad = [jittered_box(rng, box, 0.3, 0.5) for box in boxes]
        fit = teacher.encode_crops(image, np.stack(boxes + good + bad)) @ texts.T
        for obj, whole, good_fit, bad_fit in zip(layout.objects, *fit.chunk(3), strict=True):
            label = concepts.index(obj.concept)
            group = 'novel' if categories[label]['frequency'] == 'r' else 'base'
            right[group].append(int(whole.argmax()) == label)
            framed.append(bool(good_fit[label] > bad_fit[label]))
    percent = {**right, 'framing': framed}
    return {
        **{k: round(100 * float(np.mean(v)), 1) if v else None for k, v in percent.items()},
        'logit_scale': round(1 / teacher.temperature, 2),
    }


def make_teacher(
    categories: list[dict],
    out: Path,
    seed: int = 0,
    scenes: int = 3000,
    steps: int = 1500,
    batch_size: int = 96,
    lr: float = 4e-3,
    held_out: int = 60,
    workers: int = 1,
) -> dict:
    """Trains a teacher and writes its weights, or finds them written.

    Args:
        categories (list[dict]): as ``load_categories`` gives them.
        out (Path): the weights file; its ``.json`` and ``.ckpt`` are written beside it.
        seed (int): of the run.
        scenes (int): training scenes, of about 16 crops each.
        steps (int): training steps.
        batch_size (int): crops a step.
        lr (float): peak learning rate.
        held_out (int): scenes to test it on.
        workers (int): processes that draw the scenes; the scenes do not depend on it.

    Returns:
        dict: as ``evaluate`` gives it.

    Raises:
        ValueError: a size is not positive, or ``out`` was made with other arguments.
    """
    arguments = {
        'version': TEACHER_VERSION,
        'seed': seed,
        'scenes': scenes,
        'steps': steps,
        'batch_size': batch_size,
        'lr': lr,
        'held_out': held_out,
        'categories': categories,
    }
    for name in ('scenes', 'steps', 'batch_size', 'lr', 'held_out'):
        if arguments[name] <= 0:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} must be positive, but is {arguments[name]}')
    report = out.with_suffix('.json')
    if out.exists() and report.exists():
        found = json.loads(report.read_text(encoding='utf-8'))
        if found['arguments'] == arguments:
            return found['learned']
        differing = [k for k, v in arguments.items() if found['arguments'].get(k) != v]
        raise ValueError(
            f'{out} was made with other arguments ({", ".join(differing)} differ). Delete it and '
            f'{report.name} to train anew, or choose another --out.'
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = out.with_suffix('.ckpt')
    saved = load_checkpoint(checkpoint, arguments)
    model = build_model(seed)
    if saved and saved['step'] == steps:
        model.load_state_dict(saved['model'])
    else:
        concepts = [parse_name(c['name']) for c in categories]
        side = model.visual.image_size
        side = side if isinstance(side, int) else side[0]
        keys, crops = render_crops(seed, concepts, scenes, side, workers)
        tokenizer = open_clip.get_tokenizer(MODEL_NAME)
        batches = Batches(seed, keys, crops, categories, tokenizer)
        train(model, batches, arguments, checkpoint, saved)
    save_atomically(out, {k: v.contiguous() for k, v in model.state_dict().items()})
    learned = evaluate(OpenCLIPTeacher(MODEL_NAME, str(out)), categories, seed, held_out)
    part = report.with_name(f'.{report.name}.part')
    content = {'arguments': arguments, 'learned': learned}
    part.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    os.replace(part, report)
    checkpoint.unlink(missing_ok=True)
    return learned


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ' (default: %(default)s)'
    parser.add_argument('--categories', type=Path, default=DEFAULT_CATEGORIES)
    parser.add_argument('--out', type=Path, default=Path('data/mini_lvis/mini_clip.pt'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--scenes', type=int, default=3000, help='training scenes' + default)
    parser.add_argument('--steps', type=int, default=1500, help='training steps' + default)
    parser.add_argument('--batch-size', type=int, default=96, help='crops a step' + default)
    parser.add_argument('--lr', type=float, default=4e-3, help='peak learning rate' + default)
    parser.add_argument('--held-out', type=int, default=60, help='scenes to test it on' + default)
    parser.add_argument(
        '--workers', type=int, default=os.cpu_count() or 1, help='processes that draw' + default
    )
    args = vars(parser.parse_args(argv))
    try:
        learned = make_teacher(load_categories(args.pop('categories')), **args)
    except (OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    print(
        f'{args["out"]}: zero-shot accuracy on held-out objects {learned["base"]}% (base) and '
        f"{learned['novel']}% (novel);\nan object's name fits a good box better than a bad one in "
        f'{learned["framing"]}% of pairs; learned logit scale {learned["logit_scale"]}'
    )


if __name__ == '__main__':
    main()
