"""Runs a job in a peer's environment: answers lines of JSON; needs nothing but Python itself.

Started by ``peers.process``, isolated, with the job's module and a JSON document of settings.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import TextIO

_STATUS = Path("/proc/self/status")


def main() -> None:
    """Answer tasks from standard input until it closes."""
    job, settings = sys.argv[1], json.loads(sys.argv[2])
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a peer prints must not mix with the answers
    _limit_memory(settings["memory_bytes"])
    sys.path += [str(Path(__file__).parent.parent), *settings["folders"]]
    for name, folder in settings["packages"].items():
        _offer(name, Path(folder))
    if settings["metadata"]:
        _declare(settings["metadata"])
    tasks: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin, tasks), daemon=True).start()
    module: ModuleType | None = None
    while True:
        message = json.loads(tasks.get())
        started, reply = time.perf_counter(), {}
        try:
            module = module or _job(job, settings["folders"])
            if (task := message.pop("task")) != "import":
                reply["answer"] = getattr(module, task)(**message)
        except BaseException as error:  # noqa: BLE001 - whatever a peer raises is its result
            reply["error"] = {"kind": type(error).__name__, "text": str(error)[:2000]}
        reply |= {"seconds": time.perf_counter() - started, "peak_rss_bytes": _peak_rss_bytes()}
        channel.write(json.dumps(reply, default=str) + "\n")
        channel.flush()


def _listen(source: TextIO, tasks: queue.SimpleQueue[str]) -> None:
    """Pass lines on; when the parent is gone, end even in the middle of a task."""
    for line in source:
        tasks.put(line)
    os._exit(0)


def _job(name: str, folders: list[str]) -> ModuleType:
    jobs = importlib.import_module("peers.jobs")
    jobs.__path__ += folders
    return importlib.import_module(f"peers.jobs.{name}")


def _offer(name: str, folder: Path) -> None:
    """Make a folder importable as a package of another name."""
    if importlib.util.find_spec(name) is not None:
        return
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _declare(metadata: dict[str, str]) -> None:
    """Make a distribution known that is not installed: its entry points, in a folder of its own."""
    folder = Path.cwd() / "onnxopt.dist-info"
    folder.mkdir()
    for name, text in metadata.items():
        (folder / name).write_text(text, encoding="utf-8")
    sys.path.append(str(Path.cwd()))


def _limit_memory(limit: int | None) -> None:
    if limit is None:
        return
    with contextlib.suppress(ImportError):  # there is none on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _peak_rss_bytes() -> int:
    """Most resident memory so far; ``wait4`` would start at what the parent held at the fork."""
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit


if __name__ == "__main__":
    main()
