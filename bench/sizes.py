"""How much each chapter measures: in minutes, in seconds, or just enough to run it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers that a run of all chapters takes."""

    rounds: int
    crews: tuple[int, ...]
    """How many workers share the work, where several do."""
    pushes: int
    bulk: int
    drain: int
    ordinary: int
    """Drained of each kind of job."""
    shared: int
    """Drained by several processes, and by one."""
    backlog: int
    growth: tuple[int, ...]
    latency: int
    idle_seconds: float
    imports: int
    payloads: tuple[tuple[str, int, int], ...]
    """For each payload its name, its bytes, and how many jobs have it."""
    pages: tuple[tuple[str, int, int, int], ...]
    """The same, and how many more are in the file."""
    memory: tuple[tuple[str, int, int], ...]
    """For each payload its name, its bytes, and how many a worker drains."""
    at_once: tuple[int, ...]
    """How many jobs that wait run at once."""
    waits: int
    """How many of them each has to do."""
    naps: int
    profile: int


FULL = Sizes(
    rounds=3,
    crews=(2, 4),
    pushes=4_000,
    bulk=50_000,
    drain=20_000,
    ordinary=4_000,
    shared=30_000,
    backlog=300_000,
    growth=(1_000, 10_000, 100_000, 1_000_000),
    latency=200,
    idle_seconds=30,
    imports=15,
    payloads=(("100 B", 100, 3_000), ("10 kB", 10_000, 1_500), ("1 MB", 1_000_000, 30)),
    pages=(
        ("100 B", 100, 3_000, 1_000_000),
        ("300 B", 300, 3_000, 300_000),
        ("1 kB", 1_000, 3_000, 300_000),
        ("2 kB", 2_000, 2_000, 150_000),
        ("10 kB", 10_000, 1_000, 30_000),
        ("100 kB", 100_000, 100, 3_000),
    ),
    memory=(
        ("100 B", 100, 1_000),
        ("100 B", 100, 100_000),
        ("20 kB", 20_000, 1_000),
        ("20 kB", 20_000, 100_000),
        ("1 MB", 1_000_000, 1_000),
    ),
    at_once=(4, 16, 64),
    waits=100,
    naps=2_000,
    profile=5_000,
)

QUICK = Sizes(
    rounds=1,
    crews=(2, 4),
    pushes=500,
    bulk=5_000,
    drain=1_000,
    ordinary=400,
    shared=1_000,
    backlog=20_000,
    growth=(1_000, 10_000),
    latency=20,
    idle_seconds=2,
    imports=3,
    payloads=(("100 B", 100, 300), ("10 kB", 10_000, 100), ("1 MB", 1_000_000, 3)),
    pages=(("1 kB", 1_000, 500, 5_000), ("100 kB", 100_000, 20, 100)),
    memory=(("100 B", 100, 1_000), ("20 kB", 20_000, 1_000)),
    at_once=(4, 16),
    waits=20,
    naps=200,
    profile=500,
)

# For the test that keeps these scripts alive.
TINY = Sizes(
    rounds=1,
    crews=(2,),
    pushes=20,
    bulk=50,
    drain=50,
    ordinary=20,
    shared=50,
    backlog=100,
    growth=(100,),
    latency=3,
    idle_seconds=0.1,
    imports=1,
    payloads=(("100 B", 100, 5), ("1 MB", 1_000_000, 1)),
    pages=(("1 kB", 1_000, 5, 20),),
    memory=(("20 kB", 20_000, 10),),
    at_once=(2,),
    waits=2,
    naps=10,
    profile=20,
)
