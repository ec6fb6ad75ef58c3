"""Running a verb in the background: a queue of commands, a detached worker, one child process a job.

    WORKSPACE/jobs/<id>/job.json     what to run; never changes
                       state.json    how it stands
                       log.txt       the command's stderr
                       result.json   the command's stdout (its --json output)
                       end.json      its return code, written by the node when it ran on a cluster
                       progress.json stage, rate and heartbeat, written by the command itself
    WORKSPACE/jobs.sqlite            an index of these folders, rebuilt from them at any time

The folders are the truth. SQLite gives quick lists, and makes every change of state a compare-and-set.
It locks files, so on a network drive the app, the worker and `d2c jobs` of one workspace run on one machine.
The nodes of a cluster touch only the folders.
"""

from d2c.jobs.folder import LIVE, STATES, Job
from d2c.jobs.queue import any_live, cancel, ensure_worker, get, jobs, reindex, remove, retry, submit
from d2c.jobs.supervisor import worker

__all__ = [
    "LIVE",
    "STATES",
    "Job",
    "any_live",
    "cancel",
    "ensure_worker",
    "get",
    "jobs",
    "reindex",
    "remove",
    "retry",
    "submit",
    "worker",
]
