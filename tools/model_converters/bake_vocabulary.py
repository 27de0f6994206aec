"""Write a checkpoint that carries its vocabulary, for machines without the teacher.

    python tools/model_converters/bake_vocabulary.py configs/vild/vild_r50_fpn_20e_lvis-v1.py \\
        work_dirs/vild_r50_fpn_20e_lvis-v1/epoch_20.pth --out deployed/vild.pth \\
        --texts "toy elephant . sofa / couch . cat"

``--texts`` is what DetInferencer takes: words, a file of words, or a text-embedding file; the other
words of the detector's vocabulary, which compete with them, come along. Without it the words are
those of the config. It writes the checkpoint and, beside it, its config (deployed/vild.py). They
need neither open_clip, nor the teacher's weights, nor any other file:

    from mmdet.apis import DetInferencer
    DetInferencer('deployed/vild.py', 'deployed/vild.pth')('picture.jpg', out_dir='pictures')
"""

import argparse
import copy
from pathlib import Path

from checkpoint_file import write_checkpoint
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmdet_vild  # noqa: F401  before any checkpoint is loaded
from mmdet_vild.models import CLIPTextClassifier, ViLD, vocabulary_state
from mmdet_vild.safe_loading import load_all_weights


def main() -> None:
    """Parse the command line, encode the words, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config of the detector')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--texts', help="words or a file; default: the config's vocabulary")
    parser.add_argument('--out', required=True, help='the .pth file to write; the .py goes beside')
    args = parser.parse_args()
    out = Path(args.out)
    if out.suffix != '.pth':
        parser.error(f'--out must end in .pth, found {args.out}')

    written = {out.resolve(), out.with_suffix('.py').resolve()}
    for name in (args.config, args.checkpoint):
        if Path(name).resolve() in written:
            parser.error(f'--out {args.out} would overwrite {name}; name another file')

    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(copy.deepcopy(cfg.model))  # which changes what it is given
    if type(model) is not ViLD:
        parser.error(
            f'only a ViLD can do without its teacher; {args.config} is a {type(model).__name__}'
        )
    load_all_weights(model, args.checkpoint)
    if args.texts is None:
        everything, words = model.vocabulary, model.dataset_meta['classes']
    else:
        text = model.encode_words(args.texts)
        everything, words = model.add_rivals(text), text.names

    set_words(cfg, len(words), everything.embed_dims)
    state = model.state_dict()
    baked = vocabulary_state(everything, len(words))
    for name, module in model.named_modules():
        if isinstance(module, CLIPTextClassifier):
            state.update({f'{name}.{key}': value for key, value in baked.items()})
    # What is written can be read.
    MODELS.build(copy.deepcopy(cfg.model)).load_state_dict(state, strict=True)

    write_checkpoint(out, cfg, words, state)
    cfg.dump(out.with_suffix('.py'))
    print(
        f'{out} and {out.with_suffix(".py")}: {len(words)} words '
        f'({int(everything.novel[: len(words)].sum())} novel), with which '
        f'{len(everything.names) - len(words)} compete, by {everything.teacher}'
    )


def set_words(cfg: Config, count: int, embed_dims: int) -> None:
    """Change a config to that of a checkpoint with its vocabulary."""
    cfg.model.pop('teacher', None)
    head = cfg.model.roi_head
    classifier = head.bbox_head.cls_predictor_cfg
    classifier.text_embeddings = None
    classifier.embed_dims = embed_dims
    classifier.pop('novel_categories', None)
    classifier.pop('rivals', None)  # they are in the vocabulary
    head.bbox_head.num_classes = count
    if head.get('mask_head'):
        head.mask_head.num_classes = count


if __name__ == '__main__':
    main()
