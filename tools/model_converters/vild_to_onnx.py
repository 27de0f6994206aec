"""Export a ViLD to ONNX, with the words' text embeddings as an input.

    python tools/model_converters/vild_to_onnx.py configs/vild/vild_r50_fpn_20e_lvis-v1.py \\
        work_dirs/vild_r50_fpn_20e_lvis-v1/epoch_20.pth --out deployed/vild-onnx

writes three graphs by PyTorch's own exporter, and beside them ``config.py``, with which
MMDetection's tools and ``DetInferencer`` run them, without a checkpoint:

- ``features.onnx``: ``picture`` (1, 3, H, W), as the config's ``data_preprocessor`` makes it, H and
  W multiples of 32; to ``features_0`` and on, and the RPN's ``rpn_scores_*`` and ``rpn_deltas_*``;
- ``regions.onnx``: the feature maps, ``rois`` (n, 5) (number of the picture, x1, y1, x2, y2) and
  ``text_embeddings`` (V, D), of length 1; to ``logits`` and ``deltas`` (n, 4), and with
  ``loss_iou`` the logit of the IoU as a fifth;
- ``masks.onnx``: the feature maps and ``rois``; to logits ``masks`` (n, 1, S, S), or of each class.

``logits`` are of the V words and of background, and of an ensemble the image branch's V words after
these. A branch's scores are their softmax, without background; where the classifier has a ``bias``
there is no background, and they are the words' sigmoids. How branches and the IoU come together,
see ``ViLDEnsembleBBoxHead.scores`` and ``ViLDBBoxHead.predict_by_feat``. NMS of proposals and of
detections is no part of the graphs: :class:`mmdet_vild.models.ONNXViLD` has them.
Needs ``pip install "mmdet_vild[onnx]"``.
"""

import argparse
import copy
import warnings
from pathlib import Path

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_vild.models import ViLD
from mmdet_vild.models.detectors.onnx_vild import (
    INPUTS,
    FeaturesGraph,
    MasksGraph,
    RegionsGraph,
    check_exportable,
    kind,
    write_kind,
)
from mmdet_vild.safe_loading import load_all_weights

#: The first with RoIAlign as torchvision aligns it.
OPSET = 16
#: Of the picture that is traced.
SIZE = 128


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, load, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='the config of the detector')
    parser.add_argument('checkpoint', help='its checkpoint')
    parser.add_argument('--out', required=True, help='the folder to write')
    args = parser.parse_args(argv)
    try:
        import onnx  # noqa: F401  # torch's exporter needs it, in the end
    except ImportError:
        parser.error('onnx is not installed; pip install "mmdet_vild[onnx]"')
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = MODELS.build(copy.deepcopy(cfg.model))  # which changes what it is given
    try:
        check_exportable(model)
    except ValueError as error:
        parser.error(str(error))
    load_all_weights(model, args.checkpoint)
    export(model, Path(args.out))
    cfg.model.type = 'ONNXViLD'
    cfg.model.onnx = '{{ fileDirname }}'  # MMEngine puts the folder of the config here
    cfg.dump(Path(args.out) / 'config.py')
    print(f'{args.out}: {", ".join(sorted(path.name for path in Path(args.out).iterdir()))}')


@torch.no_grad()
def export(model: ViLD, out: Path) -> None:
    """Write the graphs of a detector into a folder.

    Raises:
        ValueError: A part of it is not exported, see :func:`check_exportable`.
    """
    check_exportable(model)
    model.eval()
    out.mkdir(parents=True, exist_ok=True)
    picture = torch.rand(1, 3, SIZE, SIZE)
    found = FeaturesGraph(model)(picture)
    levels = len(found) // 3
    outputs = [f'{part}_{i}' for part in ('features', 'rpn_scores', 'rpn_deltas')
               for i in range(levels)]  # fmt: skip
    _export(out / 'features.onnx', FeaturesGraph(model), [picture], outputs)
    # Of every size, so that all levels are used.
    corner = torch.tensor([8.0, 20, 40, 60, 90, 120])
    rois = torch.stack([corner * 0, corner * 0, corner * 0, corner, corner], dim=1)
    features, text = found[:levels], model.text_classifier.text_embeddings
    _export(
        out / 'regions.onnx', RegionsGraph(model), [*features, rois, text], ['logits', 'deltas']
    )
    write_kind(out / 'regions.onnx', kind(model))
    if model.roi_head.with_mask:
        _export(out / 'masks.onnx', MasksGraph(model), [*features, rois], ['masks'])


def _export(path: Path, graph: torch.nn.Module, inputs: list, outputs: list[str]) -> None:
    names = INPUTS[path.stem](len(inputs))
    axes = dict(rois={0: 'rois'}, text_embeddings={0: 'words'})
    axes |= dict(logits={0: 'rois', 1: 'classes'}, deltas={0: 'rois'}, masks={0: 'rois'})
    for name in (*names, *outputs):
        if name == 'picture' or name.startswith(('features', 'rpn')):
            axes[name] = {2: f'{name}_height', 3: f'{name}_width'}
            if path.stem != 'features':  # RoIs may be of several
                axes[name][0] = 'pictures'
    with warnings.catch_warnings():
        # It warns of itself, for there is a newer one. This one knows torchvision's RoIAlign in
        # every version of PyTorch that is supported here.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            graph.eval(),
            tuple(inputs),
            str(path),
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: axes[name] for name in (*names, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )


if __name__ == '__main__':
    main()
