"""A tiny mini world, and MMDetection's own tools run in it as a user runs them."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import mmdet
import torch
from tiny_drawings import make_drawings

from mmdet_vild import config_path
from mmdet_vild.embedding_store import EmbeddingStore
from mmdet_vild.teacher import OpenCLIPTeacher
from mmdet_vild.vocabulary import TextEmbeddings

STOCK_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
OWN_TOOLS = Path(__file__).parents[2] / 'tools'
#: Images of 128 pixels, so that the pipelines' 192 are a resize; odd numbers of them, so that two
#: processes share them unevenly.
SIZES = ('--train', '21', '--val', '3', '--test', '7', '--unseen', '3', '--image-size', '128')
#: What makes a run short. Testing takes one image at a time: a batch of another size may round
#: differently, and some tests compare.
OPTIONS = (
    'randomness.seed=0',
    'train_cfg.val_begin=1',
    'model.roi_head.bbox_head.num_classes=5',
    'model.roi_head.mask_head.num_classes=5',
    'train_cfg.max_iters=2',
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'test_dataloader.batch_size=1',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
)
#: What MMEngine says when a checkpoint and a model do not fit together, or it must be trusted.
COMPLAINTS = ('size mismatch', 'unexpected key', 'missing keys', 'weights_only=False')


def assert_same_records(one: EmbeddingStore, two: EmbeddingStore) -> None:
    """Bit for bit."""
    assert one.header == two.header
    assert sorted(one.img_ids()) == sorted(two.img_ids())
    for img_id in one.img_ids():
        records = [s.read(dict(img_id=img_id, ori_shape=(128, 128))) for s in (one, two)]
        assert records[0].to_bytes() == records[1].to_bytes()


def settle(network: torch.nn.Module) -> None:
    """Fit a network's batch statistics to its random weights, so that pictures differ in it."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 96, 96))
    network.eval()


class StockWorld:
    """Data, a teacher with random weights, and the command lines.

    Args:
        root: An empty folder.
        programs: A folder that has the ``python`` to run them with.
    """

    def __init__(self, root: Path, programs: Path) -> None:
        self.root, self.programs = root, programs
        self.data = root / 'data'
        self.work = root / 'work'
        self.text = self.data / 'vild' / 'text.npz'
        self.store = self.data / 'vild' / 'regions'
        self.teacher = self.data / 'vild' / 'teacher.pt'

    def prepare(self) -> None:
        """Generate the data, write the teacher, encode the vocabulary."""
        drawings = make_drawings(self.root / 'drawings')
        generate = OWN_TOOLS / 'mini_lvis' / 'generate.py'
        arguments = ('--out', self.data, '--drawings', drawings, '--workers', '1')
        self.run('python', generate, *arguments, *SIZES)
        torch.manual_seed(0)
        self.teacher.parent.mkdir()
        teacher = OpenCLIPTeacher('mini-clip-lite0').model
        settle(teacher.visual.trunk)
        torch.save(teacher.state_dict(), self.teacher)
        torch.save(teacher.visual.trunk.state_dict(), self.teacher.with_name('imagenet.pth'))
        teacher = ('--model', 'mini-clip-lite0', '--pretrained', self.teacher)
        words = (self.data / 'categories.json', '--out', self.text)
        self.run('python', OWN_TOOLS / 'encode_vocabulary.py', *words, *teacher)

    def train(
        self,
        method: str,
        work_dir: str,
        *options: str,
        arguments: Sequence[str] = (),
        processes: int = 1,
        **run,
    ) -> subprocess.CompletedProcess:
        """Run the stock train tool.

        Args:
            method: Start of a mini config's file name, or a config file.
            work_dir: Name of the folder in ``work``.
            *options: Further ``--cfg-options``.
            arguments: Further arguments.
            processes: More than one uses the distributed launcher.
            **run: For :meth:`run`.
        """
        arguments = ('--work-dir', self.work / work_dir, *arguments)
        return self._stock_tool('train', processes, [self.config(method)], arguments, options, run)

    def test(
        self,
        method: str,
        checkpoint: Path,
        work_dir: str,
        *options: str,
        arguments: Sequence[str] = (),
        processes: int = 1,
        **run,
    ) -> subprocess.CompletedProcess:
        """Run the stock test tool; arguments as for :meth:`train`."""
        what = [self.config(method), checkpoint]
        arguments = ('--work-dir', self.work / work_dir, *arguments)
        done = self._stock_tool('test', processes, what, arguments, options, run)
        for complaint in COMPLAINTS:
            assert complaint not in done.stdout + done.stderr, done.stdout + done.stderr
        return done

    def _stock_tool(self, name, processes, what, arguments, options, run):
        command = ['python', STOCK_TOOLS / f'{name}.py', *what]
        options = ['--cfg-options', *OPTIONS, *options]
        if processes > 1:
            command = ['bash', STOCK_TOOLS / f'dist_{name}.sh', *what, processes]
            options.append('env_cfg.dist_cfg.backend=gloo')
        return self.run(*command, *arguments, *options, **run)

    def run(
        self, *command: object, status: int = 0, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess:
        """Run a command as in a shell with the environment activated, without a GPU.

        Args:
            *command: Program and arguments.
            status: The exit status that it must have.
            env: Further environment variables.
        """
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=self.root,
            env={
                **os.environ,
                'PATH': f'{self.programs}:{os.environ["PATH"]}',
                'PORT': port,
                'MINI_LVIS': str(self.data),
                'CUDA_VISIBLE_DEVICES': '',
                **(env or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=400)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # the launcher's processes too
            stdout, stderr = process.communicate()
            print(stdout[-5000:], stderr[-5000:])
            raise
        assert process.returncode == status, f'{stdout}\n{stderr}'
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

    @staticmethod
    def config(method: str) -> Path:
        """The config of a method, by the start of its name; a file is taken as it is."""
        if method.endswith('.py'):
            return Path(method)
        return Path(config_path(f'mini_lvis/{method}_lite0_fpn_mini-lvis.py'))

    def logged(self, work_dir: str) -> list[dict]:
        """What the latest run in a folder logged: a dict an iteration, and one of metrics."""
        file = sorted((self.work / work_dir).glob('*/vis_data/scalars.json'))[-1]
        return [json.loads(line) for line in file.read_text().splitlines()]

    def annotations(self, split: str) -> dict:
        """The content of an annotation file."""
        return json.loads(self._annotation_file(split).read_text())

    def add_split(self, split: str, content: dict) -> str:
        """Write another annotation file; returns its path inside the data folder."""
        file = self._annotation_file(split)
        file.write_text(json.dumps(content))
        return str(file.relative_to(self.data))

    def add_text(self, name: str, text: TextEmbeddings) -> str:
        """Write another text-embedding file; returns the option that chooses it."""
        file = self.data / 'vild' / f'{name}.npz'
        text.save(str(file))
        return f'model.roi_head.bbox_head.cls_predictor_cfg.text_embeddings={file}'

    def _annotation_file(self, split: str) -> Path:
        return self.data / 'annotations' / f'lvis_v1_{split}.json'
