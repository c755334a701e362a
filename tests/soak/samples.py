"""What processes use, looked at every few seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil


@dataclass
class Life:
    """What one process used, from its start to its end.

    times: of the samples, in seconds since the run began. memory: resident set size, in bytes.
    cpu: seconds of all threads, until then.
    """

    name: str
    times: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    handles: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, time: float, process: psutil.Process) -> None:
        """Add a sample, unless the process has ended."""
        try:
            with process.oneshot():
                memory, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
                handles, threads = process.num_fds(), process.num_threads()
        except psutil.Error:
            return
        if not memory:  # it has ended, and nobody has asked for its status
            return
        self.times.append(time)
        self.memory.append(memory)
        self.cpu.append(cpu)
        self.handles.append(handles)
        self.threads.append(threads)

    @property
    def seconds(self) -> float:
        return self.times[-1] - self.times[0] if self.times else 0.0


@dataclass
class Samples:
    """lives: by the name of the process. times, requests: of the server, and what it had answered
    until then, by operation. left: messages in the queue.
    """

    lives: dict[str, Life] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    requests: list[Counter[str]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    def take(
        self,
        time: float,
        pids: Mapping[str, int],
        requests: Callable[[], Counter[str]],
        left: int,
    ) -> None:
        """Look at all. pids: of the processes that run, by their names."""
        for name, pid in pids.items():
            try:
                process = psutil.Process(pid)
            except psutil.NoSuchProcess:
                continue
            self.lives.setdefault(name, Life(name)).add(time, process)
        self.times.append(time)
        self.requests.append(requests())
        self.left.append(left)
