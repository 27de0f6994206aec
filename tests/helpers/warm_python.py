"""A ``python`` that starts at once, since its imports have been made.

Importing MMDetection takes longer than most commands of the tests. A process that has done so
listens on a socket; a file that stands in for ``python`` hands over its arguments, environment,
folder, input and output, and a child of the process runs the program. What a program starts with
``sys.executable``, or a shell script as ``python``, is started in the same way.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

#: The stand-in. Isolated and without ``site``, it starts in a few milliseconds.
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [b' '], [0, 1, 2])
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)])
    connection.sendall(request.encode() + b'\\n')
    status = connection.recv(1)
if not status:
    os.kill(os.getpid(), signal.SIGKILL)  # as the program was
sys.exit(status[0])
"""


class WarmPython:
    """The stand-in as a file, and the process behind it.

    Args:
        file: Where to put the stand-in.
        setup: Python code that is run before anything else: what it imports and changes is there
            for every program.
        environment: Of that process.
    """

    def __init__(self, file: Path, setup: str, environment: dict[str, str]) -> None:
        address = f'{file}.socket'
        file.write_text(CLIENT.format(python=sys.executable, address=address))
        file.chmod(0o755)
        command = [sys.executable, __file__, address, str(file), setup]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
        while not os.path.exists(address):
            assert self.process.poll() is None, f'{setup} failed'
            time.sleep(0.05)

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(address: str) -> socket.socket:
    """Wait for clients until the input ends; returns in a child for each, with its connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    while select.select([listener, sys.stdin], [], [])[0] == [listener]:
        connection, _ = listener.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return connection
        connection.close()
    sys.exit()


def run(connection: socket.socket) -> None:
    """What ``python`` does with the arguments of a client."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    arguments, folder, environment = json.loads(connection.makefile().readline())
    threading.Thread(target=end_with, args=(connection,), daemon=True).start()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = ['', *filter(None, environment.get('PYTHONPATH', '').split(os.pathsep))]
    sys.stdout.reconfigure(line_buffering=True)
    option, *rest = arguments[1:] if arguments[0] == '-u' else arguments
    if option == '-c':
        sys.path[0], sys.argv = '', ['-c', *rest[1:]]
        exec(compile(rest[0], '<string>', 'exec'), {'__name__': '__main__'})
    elif option == '-m':
        sys.path[0], sys.argv = folder, rest
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
        sys.path[0], sys.argv = os.path.dirname(os.path.realpath(option)), [option, *rest]
        runpy.run_path(option, run_name='__main__')


def end_with(connection: socket.socket) -> None:
    """End this process when its client has ended, who has nothing else to say."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    address, executable, setup = sys.argv[1:]
    exec(setup, {})
    gc.freeze()  # or every child would copy what it looks through
    connection = serve(address)
    sys.executable, status = executable, 0
    try:
        run(connection)
    except SystemExit as end:
        status = end.code or 0
        if not isinstance(status, int):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(bytes([status]))
    os._exit(status)  # taking the interpreter apart would take a second


if __name__ == '__main__':
    main()
