"""A ``python`` that starts at once, since its imports have been made.

A process that has imported what takes seconds to import listens on a socket. Its client stands in
for ``python``: it hands over its arguments, its environment, its folder, and its input and output,
and a child of the process runs the program. What a program starts with ``sys.executable``, or
torch's launcher as its workers, is started in the same way.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path

#: The stand-in. Isolated and without ``site``, it starts in a few milliseconds.
CLIENT = """#!{python} -IS
import json, os, socket, struct, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(connection, [struct.pack('<q', len(request))], [0, 1, 2])
    connection.sendall(request)
    status = connection.recv(4)
sys.exit(struct.unpack('<i', status)[0] if status else 'the warm python has gone')
"""


class WarmPython:
    """The stand-in as a file, and the process behind it.

    Args:
        file: Where to put the stand-in.
        setup: A Python file that is run before anything else, with ``arguments``: what it imports
            and changes is there for every program.
    """

    def __init__(self, file: Path, setup: Path, *arguments: object) -> None:
        address = str(file) + '.socket'
        file.write_text(CLIENT.format(python=sys.executable, address=address))
        file.chmod(0o755)
        command = [sys.executable, __file__, address, file, setup, *arguments]
        self.process = subprocess.Popen([str(part) for part in command], start_new_session=True)
        while not os.path.exists(address):
            assert self.process.poll() is None, f'{setup} failed'
            time.sleep(0.05)

    def stop(self) -> None:
        """End the process and what it runs."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def serve(address: str) -> tuple[list[str], str, dict[str, str]]:
    """Wait for clients. Returns in a child, for each of them, with what the client asks for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the supervisors
    while True:
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        size, files, _, _ = socket.recv_fds(connection, 8, 3)
        request = connection.makefile('rb').read(struct.unpack('<q', size)[0])
        program = os.fork()
        if program:
            supervise(program, connection)
        for standard, file in enumerate(files):
            os.dup2(file, standard)
            os.close(file)
        listener.close()
        connection.close()
        return json.loads(request)


def supervise(program: int, connection: socket.socket) -> None:
    """Tell the client how its program ended, and end it if the client is gone."""
    for file in range(3):
        os.close(file)
    while True:
        ended, status = os.waitpid(program, os.WNOHANG)
        if ended:
            connection.sendall(struct.pack('<i', os.waitstatus_to_exitcode(status)))
            os._exit(0)
        if select.select([connection], [], [], 0.02)[0]:  # closed: it has nothing else to say
            os.kill(program, signal.SIGKILL)


def run(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """What ``python`` does with its arguments."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get('PYTHONPATH', '').split(os.pathsep)
    sys.path[1:1] = [path for path in paths if path and path not in sys.path]
    sys.stdout.reconfigure(line_buffering=True)
    while arguments[0] == '-u':
        arguments = arguments[1:]
    option, *rest = arguments
    if option == '-c':
        sys.path[0], sys.argv = '', ['-c', *rest[1:]]
        exec(compile(rest[0], '<string>', 'exec'), {'__name__': '__main__'})
    elif option == '-m':
        sys.path[0], sys.argv = folder, rest
        runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    else:
        sys.path[0], sys.argv = os.path.dirname(os.path.realpath(option)), arguments
        runpy.run_path(option, run_name='__main__')


def main() -> None:
    address, executable, setup, *sys.argv[1:] = sys.argv[1:]
    runpy.run_path(setup)
    gc.freeze()  # or every child would copy what it looks through
    request = serve(address)
    sys.executable = executable
    status = 0
    try:
        run(*request)
    except SystemExit as end:
        status = end.code
        if not isinstance(status, int | None):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = 1
    # Taking the interpreter apart would take a second.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == '__main__':
    main()
