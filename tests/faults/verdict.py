"""Judging a storm by its journal: what was lost, doubled, run again, and how soon."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from .journal import OK, START, Event

# How long a thread may wait for the others between the last line of a job and the note of its
# success.
UNRECORDED_NS = 100_000_000
SHOWN = 20


class Kill(NamedTuple):
    """A SIGKILL, to a worker or the supervisor, just before it was sent, and how many jobs
    were claimed by the worker."""

    pid: int
    whom: str
    at: int
    in_hand: int = 0


@dataclass(slots=True)
class Run:
    """One run of one job, as the journal has it."""

    job: int
    attempt: int
    pid: int
    started_at: int
    ended_at: int | None = None
    succeeded: bool = False
    killed_at: int | None = None

    @property
    def over_at(self) -> int:
        """When it was over: at its end, or where its worker was killed first, then."""
        assert self.ended_at is not None or self.killed_at is not None, self
        return self.killed_at if self.ended_at is None else self.ended_at  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a storm, in numbers; ``wrong`` names each broken promise."""

    jobs: int
    kills: int
    supervisor_kills: int
    kills_of_running: int
    kills_of_ended: int
    kills_of_several: int
    most_in_hand: int
    lost: int
    doubled: int
    rerun: int
    charged_unseen: int
    recoveries_ms: tuple[float, ...]
    witnessed_ms: tuple[float, ...]
    took_seconds: float
    wrong: tuple[str, ...]

    def recovery(self, share: float) -> float:
        """The time from kill to restart, in ms, that ``share`` of the jobs came under."""
        return _under(share, self.recoveries_ms)

    def witnessed(self, share: float) -> float:
        """The same for those jobs alone that a living worker could see all the time; at
        other moments all workers were killed, and the next ones were starting."""
        return _under(share, self.witnessed_ms)

    def lines(self) -> list[tuple[str, str]]:
        """What a report says of it."""
        most = self.most_in_hand
        unseen = "attempts used by a kill between the claim and the job's first line"
        return [
            ("kills", f"{self.kills} (of them {self.supervisor_kills} of the supervisor)"),
            ("", f"{self.kills_of_running} hit a worker inside a job"),
            ("", f"{self.kills_of_ended} hit one between a job's last line and its note"),
            ("", f"{self.kills_of_several} hit one with several claimed jobs, at most {most}"),
            ("jobs", f"{self.jobs}"),
            ("lost", f"{self.lost}"),
            ("doubled", f"{self.doubled}"),
            ("re-run", f"{self.rerun} (each was running when its worker was killed)"),
            ("", f"{self.charged_unseen} {unseen}"),
            ("recovery p50", f"{self.recovery(0.5):.1f} ms from kill to the job's next start"),
            ("recovery p99", f"{self.recovery(0.99):.1f} ms"),
            ("recovery max", f"{self.recovery(1):.1f} ms"),
            ("", f"of these, {len(self.witnessed_ms)} while another worker lived all the time:"),
            ("recovery p50", f"{self.witnessed(0.5):.1f} ms while a worker lived"),
            ("recovery p99", f"{self.witnessed(0.99):.1f} ms"),
            ("recovery max", f"{self.witnessed(1):.1f} ms"),
            ("took", f"{self.took_seconds:.0f} s"),
        ]


def judge(
    pushed: Sequence[int],
    events: Sequence[Event],
    kills: Sequence[Kill],
    violations: Iterable[str],
    took_seconds: float,
    threads: int = 1,
) -> Verdict:
    """Hold the journal of a storm against what was promised to workers that run so many jobs at
    once."""
    runs = runs_of(events, kills, threads)
    lost = [id for id in pushed if not runs[id] or not runs[id][-1].succeeded]
    again = [pair for job in runs.values() for pair in pairwise(job)]
    doubled = [pair for pair in again if _overlap(*pair)]
    unexplained = [pair for pair in again if pair[0].killed_at is None]
    wrong = [f"job {id} was lost" for id in lost[:SHOWN]]
    wrong += [f"at the same time: {pair}" for pair in doubled[:SHOWN]]
    wrong += [f"run again, though nobody was killed: {pair}" for pair in unexplained[:SHOWN]]
    wrong += [f"not pushed, and run: {id}" for id in set(runs) - set(pushed)]
    lives = lives_of(events)
    killed = [run for job in runs.values() for run in job if run.killed_at is not None]
    return Verdict(
        jobs=len(pushed),
        kills=len(kills),
        supervisor_kills=sum(kill.whom == "supervisor" for kill in kills),
        kills_of_running=sum(run.ended_at is None for run in killed),
        kills_of_ended=sum(pair[0].ended_at is not None for pair in again),
        kills_of_several=sum(kill.in_hand > 1 for kill in kills),
        most_in_hand=max((kill.in_hand for kill in kills), default=0),
        lost=len(lost),
        doubled=len(doubled),
        rerun=len(again),
        charged_unseen=sum(max(0, job[-1].attempt - len(job)) for job in runs.values() if job),
        recoveries_ms=tuple(sorted(map(_recovery, again))),
        witnessed_ms=tuple(sorted(_recovery(pair) for pair in again if _witnessed(pair, lives))),
        took_seconds=took_seconds,
        wrong=(*wrong, *violations),
    )


def runs_of(events: Sequence[Event], kills: Sequence[Kill], threads: int) -> dict[int, list[Run]]:
    """The runs of each job in the order of their starts. Those that a worker had begun when it
    was killed know when that was, and so do those that it had ended at last, since their ends may
    not have been recorded."""
    runs: dict[int, list[Run]] = defaultdict(list)
    begun: dict[int, dict[int, Run]] = defaultdict(dict)
    ended: dict[int, list[Run]] = defaultdict(list)
    for event in sorted(events, key=lambda event: event.at):
        if event.name == START:
            run = Run(event.job, event.attempt, event.pid, event.at)
            runs[event.job].append(run)
            begun[event.pid][event.job] = run
        else:
            run = begun[event.pid].pop(event.job)
            run.ended_at, run.succeeded = event.at, event.name == OK
            ended[event.pid].append(run)
    for kill in kills:
        running, over = list(begun[kill.pid].values()), ended[kill.pid]
        if threads == 1:
            unrecorded = [] if running else over[-1:]
        else:
            unrecorded = [run for run in over if kill.at - (run.ended_at or 0) < UNRECORDED_NS]
        for run in [*running, *unrecorded]:
            run.killed_at = kill.at
    return runs


def _overlap(earlier: Run, later: Run) -> bool:
    return later.started_at < earlier.over_at


def _recovery(pair: tuple[Run, Run]) -> float:
    """From the kill to the next start, in ms; 0 where there was no kill."""
    killed_at = pair[0].killed_at
    return 0.0 if killed_at is None else (pair[1].started_at - killed_at) / 1e6


def _witnessed(pair: tuple[Run, Run], lives: Mapping[int, tuple[int, int]]) -> bool:
    """Whether some worker had worked before the kill, and worked still at the restart."""
    killed_at, restarted_at = pair[0].killed_at, pair[1].started_at
    if killed_at is None:
        return False
    others = (life for pid, life in lives.items() if pid != pair[0].pid)
    return any(first <= killed_at and last >= restarted_at for first, last in others)


def lives_of(events: Sequence[Event]) -> dict[int, tuple[int, int]]:
    """The instants of the first and the last line of each worker."""
    lives: dict[int, tuple[int, int]] = {}
    for event in events:
        first, last = lives.get(event.pid, (event.at, event.at))
        lives[event.pid] = (min(first, event.at), max(last, event.at))
    return lives


def _under(share: float, durations: Sequence[float]) -> float:
    return durations[round(share * (len(durations) - 1))] if durations else 0.0
