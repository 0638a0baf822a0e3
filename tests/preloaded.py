"""Programs that start in a twentieth of the time: `python` (-m and -c), `dvc` and `privpipe`, forked from one process.

Most of what tests of whole pipelines cost is the import of torch and of DVC, once for every stage and command. Here a
server imports the packages of others once, and none of ours. Each program is a process of its own as always, with its
arguments, environment, folder and streams, and imports our code from where it stands. What differs is that programs of
one server share a seed of hashing, and that signals reach the server's client alone: a test that compares bytes, kills
or interrupts starts programs as users do (`environment(preload=False)`).
"""

import atexit
import gc
import importlib
import marshal
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

PACKAGES = (
    *("cryptography.hazmat.primitives.ciphers.aead", "cv2", "h5py", "jinja2", "matplotlib.figure", "numpy", "pandas"),
    *("matplotlib.backends.backend_agg", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "psutil", "pydantic.main"),
    *("pydantic.fields", "pydicom", "requests", "ruamel.yaml", "safetensors.torch", "scipy.optimize", "scipy.signal"),
    *("scipy.sparse", "scipy.stats", "tifffile", "torch._dynamo", "xxhash"),
    *("dvc.cli.parser", "dvc.cachemgr", "dvc.data_cloud", "dvc.lock", "dvc.render", "dvc.repo", "dvc.repo.experiments"),
    *("dvc.repo.experiments.queue.celery", "dvc.repo.experiments.show", "dvc.repo.graph", "dvc.repo.index"),
    *("dvc.repo.plots", "dvc.stage.cache", "dvc.stage.run", "dvc_data.index", "networkx"),
)
OURS = {"privpipe", "stages", "studies"}

CLIENT = """#!{python} -IS
import os, sys
if {name!r} == "python" and sys.argv[1:2] not in (["-m"], ["-c"]):
    os.execv({python!r}, ["python", *sys.argv[1:]])
import marshal, socket
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
os.umask(mask := os.umask(0o77))
socket.send_fds(server, [b"."], [0, 1, 2])
with server.makefile("rwb") as stream:
    stream.write(marshal.dumps(({name!r}, sys.argv[1:], os.getcwd(), dict(os.environ), mask)))
    stream.flush()
    os._exit((stream.read(1) or b"\\1")[0])
"""


@cache
def folder() -> Path:
    """A folder with the programs; their server runs until this process ends."""
    home = Path(tempfile.mkdtemp(prefix="privpipe-programs-"))
    address = str(home / "socket")
    for name in ("python", "dvc", "privpipe"):
        (home / name).write_text(CLIENT.format(python=sys.executable, name=name, address=address))
        (home / name).chmod(0o700)
    command = [sys.executable, "-P", __file__, address]  # -P: its own folder is on no program's path
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=home)
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    atexit.register(stop, server, home)
    return home


def python() -> str:
    """The program that is Python."""
    return str(folder() / "python")


def stop(server: subprocess.Popen[bytes], home: Path) -> None:
    server.communicate()  # closes its standard input, at which it ends
    shutil.rmtree(home)


def serve(address: str) -> None:
    """Fork a program for each connection, until standard input ends."""
    with warnings.catch_warnings(action="ignore"):
        for package in PACKAGES:
            importlib.import_module(package)
    assert not OURS & set(sys.modules)
    gc.freeze()
    ended, wake = os.pipe()
    for end in (ended, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([0, ended, listener], [], [])
            if listener in ready:
                client, _ = listener.accept()
                pid = os.fork()
                if not pid:
                    become(client)
                running[pid] = client
            if ended in ready:
                os.read(ended, 4096)
                tell(running)
            if 0 in ready:
                for pid in running:
                    os.kill(pid, signal.SIGKILL)
                return


def tell(running: dict[int, socket.socket]) -> None:
    """Send its exit code to the client of each program that has ended."""
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            with running.pop(pid) as client, suppress(OSError):  # the client may have been killed
                client.send(bytes([code if code >= 0 else 128 - code]))


def become(client: socket.socket) -> NoReturn:
    """Be the program that a client asks for, to its end."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(socket.recv_fds(client, 1, 3)[1]):
        os.dup2(stream, number)
        os.close(stream)
    with client, client.makefile("rb") as file:
        name, arguments, cwd, environment, mask = marshal.load(file)
    os.chdir(cwd)
    os.umask(mask)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    code: object = 0
    try:
        if name == "python":
            option, what, *rest = arguments
            sys.path.insert(0, cwd)
            sys.argv = [option, *rest]
            if option == "-m":
                runpy.run_module(what, run_name="__main__", alter_sys=True)
            else:
                exec(what, sys.modules["__main__"].__dict__)
        else:
            sys.argv = [name, *arguments]
            runpy.run_path(str(Path(sys.executable).with_name(name)), run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:  # as Python does with what a program leaves uncaught
        traceback.print_exc()
        code = 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # waits for its threads, as Python does at the end
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    serve(sys.argv[1])
