"""Turn the authors' released ViLD weights into an MMDetection checkpoint.

    python tools/model_converters/vild_tf_to_mmdet.py resnet50_vild.tar.gz \\
        configs/vild_official/vild_r50_fpn_tf_32xb8-lsj-180k_lvis-v1.py \\
        checkpoints/vild_r50_fpn_tf.pth --categories data/lvis_v1/annotations/lvis_v1_val.json

It writes the checkpoint, and the checkpoint's text embeddings to the text-embedding file that the
config names. TensorFlow is not needed.
"""

import argparse
import copy
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from authors_words import add_arguments, authors_words, check_words
from checkpoint_file import write_checkpoint
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from tf_checkpoint import open_checkpoint
from torch import Tensor

from mmdet_vild.models import ViLD, ViLDEnsembleBBoxHead
from mmdet_vild.vocabulary import TextEmbeddings

#: Variables of the training, not of the network.
DROPPED = re.compile(r'global_step|.*/Momentum')
WORDS = 'frcnn_layer_0/fast_rcnn_head/class-predict/kernel'
#: Theirs predicts dy, dx, dh, dw, mmdet dx, dy, dw, dh.
XY = [1, 0, 3, 2]


def read(variables: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A variable as float32.

    Raises:
        ValueError: It holds anything but finite numbers of that range.
    """
    variable = np.asarray(variables[name])
    if variable.dtype.kind != 'f':
        raise ValueError(f'{name} is of type {variable.dtype}; expected floating point numbers')
    with np.errstate(over='ignore'):
        converted = variable.astype(np.float32)
    if not np.isfinite(converted).all():
        raise ValueError(f'{name} has values that are not finite in float32')
    return converted


class Conversion:
    """Variables on their way into the parameters of a model.

    Args:
        variables: The authors', by name.
        model: The detector that they are for.

    Raises:
        ValueError: A variable is missing or has another shape, or one is left over.
    """

    def __init__(self, variables: Mapping[str, np.ndarray], model: ViLD) -> None:
        self.variables = variables
        self.used: set[str] = set()
        self.state_dict: dict[str, Tensor] = {}
        self._shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        _backbone(self, model.backbone)
        _neck(self, model.neck.num_outs)
        _rpn_head(self, model.neck.num_outs, model.rpn_head.num_convs)
        _bbox_head(self, model.roi_head.bbox_head)
        _mask_head(self, model.roi_head.mask_head.num_convs)
        self.dropped = sorted(name for name in variables if DROPPED.fullmatch(name))
        left = sorted(set(variables) - self.used - set(self.dropped) - {WORDS})
        if left:
            raise ValueError(
                f'the checkpoint has {len(left)} variables that the config has no place for: {left}'
            )
        # Those that count batches start at zero, and of the teacher nothing is known.
        own = {n for n in self._shapes if n.endswith(('num_batches_tracked', 'teacher_digest'))}
        unfilled = sorted(set(self._shapes) - set(self.state_dict) - own)
        if unfilled:
            raise ValueError(f'no variable of the checkpoint is for the parameters {unfilled}')

    def set(self, target: str, name: str, change: Callable[[Tensor], Tensor] = Tensor.clone):
        """Make the parameter ``target`` of the variable ``name``."""
        if name not in self.variables:
            raise ValueError(
                f'the checkpoint has no variable {name}, which becomes {target}; is it that of '
                'another config (ResNet-50 or 152, ViLD or ViLD-ensemble)?'
            )
        if target not in self._shapes:
            raise ValueError(
                f'{name} becomes {target}, which the model of the config does not have; name the '
                'config in configs/vild_official'
            )
        variable = read(self.variables, name)
        expected = self._shapes[target]
        try:
            value = change(torch.from_numpy(variable)).contiguous()
            found = tuple(value.shape)
        except (IndexError, RuntimeError):
            found = None
        if found != expected:
            raise ValueError(
                f'{name} has the shape {variable.shape}, which is not that of {target}, '
                f"{expected}, in TensorFlow's layout; is it that of another config?"
            )
        self.used.add(name)
        self.state_dict[target] = value

    def conv(self, target: str, name: str, bias: bool = True) -> None:
        """(h, w, in, out) to (out, in, h, w); a deconvolution's (h, w, out, in) too."""
        self.set(f'{target}.weight', f'{name}/kernel', lambda k: k.permute(3, 2, 0, 1))
        if bias:
            self.set(f'{target}.bias', f'{name}/bias')

    def linear(self, target: str, name: str) -> None:
        """(in, out) to (out, in)."""
        self.set(f'{target}.weight', f'{name}/kernel', Tensor.t)
        self.set(f'{target}.bias', f'{name}/bias')

    def norm(self, target: str, name: str) -> None:
        """A batch norm."""
        self.set(f'{target}.weight', f'{name}/gamma')
        self.set(f'{target}.bias', f'{name}/beta')
        self.set(f'{target}.running_mean', f'{name}/moving_mean')
        self.set(f'{target}.running_var', f'{name}/moving_variance')

    def conv_norm(self, target: str, conv: str, norm: str) -> None:
        """A conv and its norm; mmdet's conv has no bias there, so it is taken from the mean."""
        self.conv(f'{target}.conv', conv, bias=False)
        self.norm(f'{target}.bn', norm)
        mean = self.state_dict[f'{target}.bn.running_mean']
        self.set(f'{target}.bn.running_mean', f'{conv}/bias', lambda bias: mean - bias)


def _backbone(to: Conversion, backbone: ResNet) -> None:
    prefix = f'resnet{backbone.depth}'
    count = 0

    def conv_norm(conv: str, norm: str) -> None:
        nonlocal count
        suffix = f'_{count}' if count else ''
        to.conv(f'backbone.{conv}', f'{prefix}/conv2d{suffix}', bias=False)
        to.norm(f'backbone.{norm}', f'{prefix}/batch_normalization{suffix}')
        count += 1

    conv_norm('conv1', 'bn1')
    for stage, blocks in enumerate(backbone.stage_blocks, 1):
        for block in range(blocks):
            place = f'layer{stage}.{block}'
            if block == 0:
                conv_norm(f'{place}.downsample.0', f'{place}.downsample.1')
            for i in (1, 2, 3):
                conv_norm(f'{place}.conv{i}', f'{place}.bn{i}')


def _neck(to: Conversion, num_outs: int) -> None:
    for i in range(num_outs):
        if i < num_outs - 1:
            to.conv(f'neck.lateral_convs.{i}.conv', f'fpn/l{i + 2}')
            to.conv(f'neck.fpn_convs.{i}.conv', f'fpn/post_hoc_d{i + 2}')
        else:
            to.conv(f'neck.fpn_convs.{i}.conv', f'fpn/p{i + 2}')
        to.norm(f'neck.out_norms.{i}', f'fpn/p{i + 2}-bn')


def _rpn_head(to: Conversion, num_levels: int, num_convs: int) -> None:
    for i in range(num_convs):
        suffix = f'-{i}' if i else ''
        to.conv(f'rpn_head.rpn_conv.{i}', f'rpn_head/rpn{suffix}')
        for level in range(num_levels):
            to.norm(f'rpn_head.rpn_norms.{level}.{i}', f'rpn_head/rpn-l{level + 2}-bn{suffix}')
    to.conv('rpn_head.rpn_cls', 'rpn_head/rpn-class')

    def each_anchor(values: Tensor) -> Tensor:
        return values.view(*values.shape[:-1], -1, 4)[..., XY].flatten(-2)

    to.set(
        'rpn_head.rpn_reg.weight',
        'rpn_head/rpn-box/kernel',
        lambda k: each_anchor(k).permute(3, 2, 0, 1),
    )
    to.set('rpn_head.rpn_reg.bias', 'rpn_head/rpn-box/bias', each_anchor)


def _bbox_head(to: Conversion, head: torch.nn.Module) -> None:
    scope, count = 'frcnn_layer_0/fast_rcnn_head', 0

    def norm_name() -> str:
        nonlocal count
        count += 1
        return f'{scope}/batch_normalization' + (f'_{count - 1}' if count > 1 else '')

    def branch(target: str, kind: str, projection: str) -> None:
        for i in range(head.num_shared_convs):
            to.conv_norm(f'{target}.shared_convs.{i}', f'{scope}/{kind}conv_{i}', norm_name())
        for i in range(head.num_shared_fcs):
            fc, name = f'{target}.shared_fcs.{i}', f'{scope}/{kind}fc{i + 6}'
            if i == 0:
                to.set(f'{fc}.0.weight', f'{name}/kernel', from_hwc)
                to.set(f'{fc}.0.bias', f'{name}/bias')
            else:
                to.linear(f'{fc}.0', name)
            to.norm(f'{fc}.1', norm_name())
        to.linear(f'{target}.fc_cls.projection', f'{scope}/{projection}')

    def from_hwc(kernel: Tensor) -> Tensor:
        # They flatten (H, W, C), mmdet (C, H, W).
        height, width = head.roi_feat_size
        return kernel.view(height, width, -1, kernel.shape[1]).permute(3, 2, 0, 1).flatten(1)

    branch('roi_head.bbox_head', '', 'project-to-clip')
    if isinstance(head, ViLDEnsembleBBoxHead):
        branch('roi_head.bbox_head.image_branch', 'distill_', 'distill-project-to-clip')
    to.set(
        'roi_head.bbox_head.fc_cls.background',
        f'{scope}/background-class-predict/kernel',
        lambda kernel: kernel[:, 0],
    )
    box = 'roi_head.bbox_head.fc_reg'
    to.set(f'{box}.weight', f'{scope}/box-predict/kernel', lambda kernel: kernel.t()[XY])
    to.set(f'{box}.bias', f'{scope}/box-predict/bias', lambda bias: bias[XY])


def _mask_head(to: Conversion, num_convs: int) -> None:
    head = 'roi_head.mask_head'
    for i in range(num_convs):
        norm = 'mask_head/batch_normalization' + (f'_{i}' if i else '')
        to.conv_norm(f'{head}.convs.{i}', f'mask_head/mask-conv-l{i}', norm)
    to.conv(f'{head}.upsample.0', 'mask_head/conv5-mask')
    to.norm(f'{head}.upsample.1', f'mask_head/batch_normalization_{num_convs}')
    to.conv(f'{head}.conv_logits', 'mask_head/mask_fcn_logits')


def words_file(cfg: Config) -> str:
    """The text-embedding file that a config names.

    Raises:
        ValueError: Its model is no ViLD.
    """
    bbox_head = cfg.get('model', {}).get('roi_head', {}).get('bbox_head', {})
    classifier = bbox_head.get('cls_predictor_cfg', {})
    if classifier.get('type') != 'CLIPTextClassifier':
        raise ValueError(
            f'the bbox head of {cfg.filename} has no CLIPTextClassifier; name the config in '
            'configs/vild_official'
        )
    return classifier.text_embeddings


def build_model(cfg: Config, text: TextEmbeddings) -> ViLD:
    """The detector of a config, with these words in place of those it names."""
    model_cfg = copy.deepcopy(cfg.model)
    with tempfile.TemporaryDirectory() as folder:
        words = f'{folder}/text.npz'
        text.save(words)
        model_cfg.roi_head.bbox_head.cls_predictor_cfg.text_embeddings = words
        return MODELS.build(model_cfg)


def main() -> None:
    """Parse the command line, convert, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'source',
        help='a .tar.gz as released, the folder it unpacks to, an .index file in it, or an .npz of '
        'var/<name> arrays',
    )
    parser.add_argument('config', help='the config in configs/vild_official that describes it')
    parser.add_argument('out', help='the .pth file to write')
    add_arguments(parser)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='as in train.py')
    args = parser.parse_args()

    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    init_default_scope('mmdet')
    variables = open_checkpoint(args.source)
    if WORDS not in variables:
        raise ValueError(f'{args.source} has no variable {WORDS}: it is not one of ViLD')
    words = words_file(cfg)
    where = f'{args.source}: {WORDS}'
    text = authors_words(read(variables, WORDS), args.categories, args.rare_mask, where)
    check_words(text, words)
    conversion = Conversion(variables, build_model(cfg, text))
    text.save(words)
    out = Path(args.out)
    write_checkpoint(out, cfg, text.names, conversion.state_dict)
    print(
        f'{out}: {len(conversion.used)} variables of {args.source}\n'
        f'{words}: {WORDS}, {len(text.names)} categories ({int(text.novel.sum())} novel)'
    )
    print(
        f'dropped {len(conversion.dropped)} variables of the training:',
        *conversion.dropped,
        sep='\n    ',
    )


if __name__ == '__main__':
    main()
