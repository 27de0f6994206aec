"""A GPU that is not there: the CPU computes, and what a GPU would refuse or wait for is noticed.

    with PretendGPU() as gpu:
        model.to('cuda').train_step(batch, optim_wrapper)
    print(gpu.waits, gpu.uploads)

A tensor is "on the GPU" if its storage is, so that views, gradients and what autograd saves are,
too. Every operator that comes to PyTorch's dispatcher is judged, also those that C++ calls in a
backward pass. Raised as errors: tensors of both devices in one operator (of no dimension, and
indices on the CPU, aside) and ``numpy()`` of one on the GPU. Counted by the line of code that
causes them: ``waits``, where the host waits for a result of the GPU (``item``, ``nonzero``, a mask
as an index, NMS ...), and ``uploads``, copies to the GPU, for which it waits as well; not those
from pinned memory with ``non_blocking``. Copies to the CPU with ``non_blocking`` are no waits, but
what they bring must not be used before the host has waited for an event recorded after them. What
another stream has made must not be used before that was waited for.
Autocast on the GPU is that on the CPU, in the same type; ``torch.cuda.is_available()`` is true.

It has a clock, for tests of what happens at the same time: ``compute`` gives the current stream
work of some seconds, ``pass_time`` lets the host work; at each wait the host's clock moves on to
the end of the stream's work, and ``idle`` of a stream is how long it had nothing to do in between.

It cannot see what kernels refuse (types, sizes), speed and memory, and whether a random number
generator of a GPU draws other numbers.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter

CUDA = torch.device('cuda', 0)
#: Operators whose result has a size, or goes to a place, that the host has to know.
WAITING = {
    'aten::_local_scalar_dense': 'item',
    'aten::nonzero': 'nonzero',
    'aten::masked_select': 'masked_select',
    'aten::_unique2': 'unique',
    'aten::unique_dim': 'unique',
    'aten::unique_consecutive': 'unique',
    'aten::bincount': 'bincount',
    'aten::equal': 'equal',
    'torchvision::nms': 'nms',
}
INDEXING = {'aten::index', 'aten::index_put', 'aten::index_put_', 'aten::_index_put_impl_'}
#: They take tensors of both devices.
MIXING = INDEXING | {'aten::copy_', 'aten::lift_fresh', 'aten::set_', 'aten::detach'}
#: Reading what is in a tensor, which may not have arrived yet.
READING = ('numpy', '__array__', 'tolist', 'item')
#: Files that are not the cause of what happens in them; compat/mmcv_ext.py stands for mmcv's own.
INNER = ('/torch/', '/torchvision/', '/compat/mmcv_ext.py', __file__)


def tensors_in(*values) -> list[torch.Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    return [each for each in tree_iter(values) if isinstance(each, torch.Tensor)]


class PretendGPU(TorchFunctionMode):
    """A context in which ``'cuda'`` is a device; see above.

    Attributes:
        waits: How often the host waited, by ``(kind, file:line)``.
        uploads: How often something was copied to the GPU, likewise.
        host: Seconds at which the host is now.
        streams: All of them, the default one first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.uploads = Counter(), Counter()
        self.host = 0.0
        self.streams = [PretendStream(self)]
        self._stream = self.streams[0]
        #: Of what is on the GPU: the stream that made it, and as which of its works.
        self._storages: dict[int, tuple[StorageWeakRef, PretendStream, int]] = {}
        self._pinned = {}
        self._arriving: dict[int, tuple[StorageWeakRef, PretendStream, int]] = {}
        self._inherits = [False]  # whether what is made of nothing is on the GPU
        self._silent = 0

    def __enter__(self) -> 'PretendGPU':
        init = torch.autocast.__init__

        def of_cpu(autocast, device_type, dtype=None, *args, **kwargs):
            if device_type == 'cuda':
                device_type, dtype = 'cpu', dtype or torch.float16
            init(autocast, device_type, dtype, *args, **kwargs)

        self._contexts = ExitStack()
        for where, name, value in (
            (torch.autocast, '__init__', of_cpu),
            (torch.cuda, 'is_available', lambda: True),
            (torch.cuda, 'is_bf16_supported', lambda *args: True),
            (torch.cuda, 'Event', lambda *args, **kwargs: PretendEvent(self)),
            (torch.cuda, 'Stream', self._new_stream),
            (torch.cuda, 'current_stream', lambda *args: self._stream),
            (torch.cuda, 'stream', self._within),
        ):
            self._contexts.enter_context(mock.patch.object(where, name, value))
        self._contexts.enter_context(_Dispatched(self))
        return super().__enter__()

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self._contexts.close()

    def has(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is on the GPU."""
        with torch._C.DisableTorchFunction():
            # The reference keeps the address from being used again.
            return tensor.layout is torch.strided and (
                tensor.untyped_storage()._cdata in self._storages
            )

    def _new_stream(self, *args, **kwargs) -> 'PretendStream':
        self.streams.append(PretendStream(self))
        return self.streams[-1]

    @contextmanager
    def _within(self, stream: 'PretendStream') -> Iterator[None]:
        was, self._stream = self._stream, stream
        try:
            yield
        finally:
            self._stream = was

    def compute(self, seconds: float) -> None:
        """The stream is given work, which it begins when it has done what it was given before."""
        stream = self._stream
        begin = max(self.host, stream.until)
        stream.idle += begin - stream.until
        stream.until = begin + seconds

    def pass_time(self, seconds: float) -> None:
        """The host works, or waits for something else than the GPU."""
        self.host += seconds

    def ours(self) -> dict[tuple[str, str], int]:
        """The waits and uploads that lines of ``mmdet_vild`` cause."""
        both = self.waits + self.uploads
        return {key: count for key, count in both.items() if '/mmdet_vild/' in key[1]}

    def _take(self, out: object, on_gpu: bool = True) -> object:
        """Put tensors of a result on the GPU, or not."""
        with torch._C.DisableTorchFunction():
            self._stream.works += 1
            for tensor in tensors_in(out):
                storage = tensor.untyped_storage()
                if on_gpu:
                    made = StorageWeakRef(storage), self._stream, self._stream.works
                    self._storages[storage._cdata] = made
                else:
                    self._storages.pop(storage._cdata, None)
        if len(self._storages) > 20_000:
            alive = {key: made for key, made in self._storages.items() if not made[0].expired()}
            self._storages = alive
        return out

    def _count(self, counter: Counter, kind: str, until: tuple | None = None) -> None:
        if self._silent:
            return
        self._wait_for(*(until or self._stream.now()))
        frame = sys._getframe(1)
        while frame.f_back and any(part in frame.f_code.co_filename for part in INNER):
            frame = frame.f_back
        counter[kind, f'{frame.f_code.co_filename}:{frame.f_lineno}'] += 1

    def _operator(self, func, args: tuple, kwargs: dict) -> object:
        """One operator of the dispatcher."""
        name = func._schema.name
        tensors = tensors_in(args, kwargs)
        if not func.is_view:
            self._check_arrived(name, tensors)
        with_gpu = [self.has(tensor) for tensor in tensors]
        if not tensors:
            return self._take(func(*args, **kwargs), self._inherits[-1])
        if any(with_gpu):
            self._check_stream(name, [t for t, on in zip(tensors, with_gpu, strict=True) if on])
            self._judge(name, func, args, kwargs, tensors, with_gpu)
        if name == 'aten::bmm' and any(with_gpu) and args[0].dtype is torch.float16:
            # As a GPU adds up; and a CPU takes 50 times as long.
            out = func(args[0].float(), args[1].float()).half()
        else:
            out = func(*args, **kwargs)
        to_gpu = with_gpu[0] if name in MIXING else any(with_gpu)
        if to_gpu:
            # Not what it was given: a CPU's tensor of no dimension stays where it is.
            self._take([t for t in tensors_in(out) if all(t is not each for each in tensors)])
        return out

    def _judge(self, name, func, args, kwargs, tensors, with_gpu) -> None:
        if name in WAITING:
            self._count(self.waits, WAITING[name])
        elif name == 'aten::repeat_interleave' and kwargs.get('output_size') is None:
            self._count(self.waits, 'repeat_interleave')
        elif name in INDEXING:
            indices = tensors_in(args[1])
            if with_gpu[0] and any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                # Filling by a mask needs no indices.
                if name == 'aten::index' or args[2].numel() != 1 or len(indices) > 1:
                    self._count(self.waits, 'mask as an index')
            elif with_gpu[0] and not all(map(self.has, indices)):
                self._count(self.uploads, 'indices')
            values = tensors_in(args[2:]) if name != 'aten::index' else []
            if not with_gpu[0] or any(v.dim() and not self.has(v) for v in values):
                self._refuse(name, tensors, with_gpu)
        elif name == 'aten::copy_' and with_gpu[0] != with_gpu[1]:
            self._count(*((self.uploads, 'copy_') if with_gpu[0] else (self.waits, 'copy_')))
        elif name not in MIXING:
            sized = [on for tensor, on in zip(tensors, with_gpu, strict=True) if tensor.dim()]
            if len(set(sized)) > 1:
                self._refuse(name, tensors, with_gpu)

    def _wait_for(self, stream: 'PretendStream', works: int, until: float) -> None:
        """The host waits until the stream has done so many works."""
        self.host = max(self.host, until)
        for each in self.streams:
            each.knows(stream, works)

    def _check_stream(self, name: str, tensors: list) -> None:
        if len(self.streams) < 2:
            return
        for tensor in tensors:
            made = self._storages.get(tensor.untyped_storage()._cdata)
            if made and made[1] is not self._stream and self._stream.known[made[1]] < made[2]:
                raise RuntimeError(
                    f'{name}: {tuple(tensor.shape)} was made by another stream, which this one '
                    'has not waited for'
                )

    def _check_arrived(self, name: str, tensors: list) -> None:
        if not self._arriving:
            return
        with torch._C.DisableTorchFunction():
            for tensor in tensors:
                storage = tensor.untyped_storage()._cdata if tensor.layout is torch.strided else 0
                if storage in self._arriving:
                    raise RuntimeError(
                        f'{name}: {tuple(tensor.shape)} may not have arrived on the CPU yet'
                    )

    def _refuse(self, name: str, tensors: list, with_gpu: list[bool]) -> None:
        said = ', '.join(
            f'{tuple(tensor.shape)} on {"cuda:0" if on else "cpu"}'
            for tensor, on in zip(tensors, with_gpu, strict=True)
        )
        raise RuntimeError(f'{name}: expected all tensors to be on the same device, found {said}')

    def __torch_function__(self, func, types, args=(), kwargs=None) -> object:
        """One call of Python's."""
        kwargs = kwargs or {}
        name = getattr(func, '__name__', '')
        if name == '__get__' and self.has(args[0]):
            known = {'device': CUDA, 'is_cuda': True, 'is_cpu': False}
            attribute = getattr(func.__self__, '__name__', '')
            return known[attribute] if attribute in known else func(*args, **kwargs)
        # deepcopy brings a dict of all that it has copied.
        if name in READING:
            self._check_arrived(name, args[:1])
        given = args[:1] if name == '__deepcopy__' else (args, kwargs)
        on_gpu = any(map(self.has, tensors_in(given)))
        if name in ('to', 'cuda', 'cpu', 'type_as'):
            return self._move(func, name, args, kwargs)
        if name in ('numpy', '__array__') and on_gpu:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name == 'pin_memory':
            pinned = args[0].clone()
            self._pinned[pinned.untyped_storage()._cdata] = pinned
            return pinned
        if name == 'get_device' and on_gpu:
            return 0
        device = kwargs.get('device')
        if device is not None:
            was, on_gpu = on_gpu, torch.device(device).type == 'cuda'
            kwargs = {**kwargs, 'device': 'cpu'}
            if on_gpu and (name in ('tensor', 'new_tensor') or (name == 'as_tensor' and not was)):
                self._count(self.uploads, name)
        elif name == 'new_tensor' and on_gpu:
            self._count(self.uploads, name)
        if name == 'tolist' and on_gpu:
            self._count(self.waits, name)
        # A GPU's one_hot does not look at the labels if it is told how many there are.
        silent = name == 'tolist' or (name == 'one_hot' and len(args) + len(kwargs) > 1)
        self._silent += silent
        self._inherits.append(on_gpu)
        try:
            out = func(*args, **kwargs)
        finally:
            self._inherits.pop()
            self._silent -= silent
        makes = device is not None or name == '__deepcopy__' or name.startswith('new_')
        return self._take(out, on_gpu) if makes else out

    def _move(self, func, name: str, args: tuple, kwargs: dict) -> torch.Tensor:
        tensor, *others = args
        was = target = self.has(tensor)
        if name in ('cuda', 'cpu'):
            target, others = name == 'cuda', []
        for i, other in enumerate(others):
            if isinstance(other, (str, torch.device)):
                target, others[i] = torch.device(other).type == 'cuda', 'cpu'
            elif type(other) is int:
                target, others[i] = True, 'cpu'
            elif isinstance(other, torch.Tensor):
                target = self.has(other)
        kwargs = dict(kwargs)
        if kwargs.get('device') is not None:
            target, kwargs['device'] = torch.device(kwargs['device']).type == 'cuda', 'cpu'
        if 'other' in kwargs:
            target = self.has(kwargs['other'])
        if target and not was:
            pinned = tensor.untyped_storage()._cdata in self._pinned
            if not (pinned and kwargs.get('non_blocking')):
                self._count(self.uploads, 'to')
        later = was and not target and kwargs.get('non_blocking')
        if was and not target and not later:
            self._count(self.waits, 'to')
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            if was:
                self._check_stream('to', [tensor])
            self._stream.works += 1
            out = tensor if name in ('cuda', 'cpu') else func(tensor, *others, **kwargs)
            if out is not tensor or target != was:
                out = out.clone() if out.data_ptr() == tensor.data_ptr() else out
                self._take(out, target)
            if later:
                storage, (stream, works, _) = out.untyped_storage(), self._stream.now()
                self._arriving[storage._cdata] = StorageWeakRef(storage), stream, works
        return out


class PretendStream:
    """``torch.cuda.Stream``."""

    def __init__(self, gpu: PretendGPU) -> None:
        self.until = self.idle = 0.0
        self.works = 0
        self.known = Counter()  # of other streams, how many works it has waited for
        self._gpu = gpu

    def now(self) -> tuple:
        """Itself, how many works it was given, and when they will be done."""
        return self, self.works, self.until

    def knows(self, stream: 'PretendStream', works: int) -> None:
        self.known[stream] = max(self.known[stream], works)

    def wait_stream(self, stream: 'PretendStream') -> None:
        self.knows(stream, stream.works)
        self.until = max(self.until, stream.until)


class PretendEvent:
    """``torch.cuda.Event``: how far the GPU has come where it was recorded."""

    def __init__(self, gpu: PretendGPU) -> None:
        self._gpu = gpu

    def __deepcopy__(self, memo: dict) -> None:
        raise TypeError('a copy of an event is one that was never recorded')

    def record(self) -> None:
        gpu = self._gpu
        self._recorded = gpu._stream.now()

    def synchronize(self) -> None:
        """What its stream copied to the CPU before has arrived."""
        gpu, (stream, works, _) = self._gpu, self._recorded
        gpu._count(gpu.waits, 'event', self._recorded)
        gpu._arriving = {
            key: copy
            for key, copy in gpu._arriving.items()
            if copy[1] is not stream or copy[2] > works
        }


class _Dispatched(TorchDispatchMode):
    def __init__(self, gpu: PretendGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunction():
            return self.gpu._operator(func, args, kwargs or {})
