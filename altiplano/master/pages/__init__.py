"""The master's web pages: overview, agents, frameworks, tasks, one task with its output.

The master's server mounts them with one call:

    from altiplano.master import pages

    shown = pages.build(api=api.InProcess(public_app), version=lambda: facts_applied, clock=clock)
    # Serve `shown.app` for "/", and everything below "/ui/" and "/static/"; behind the same guard as the APIs.
    # Run `shown.sample()` in the process's task group: it feeds the plot and ends only by cancellation.

* `api` reaches the *public* APIs: `POST /api/v1` (GET_STATE, GET_MASTER, GET_METRICS), `GET /journal?subject=ID`,
  and the agents' own behind `/agent/<agent_id>/…`: `POST api/v1` (READ_FILE, LIST_FILES, GET_CONTAINERS,
  KILL_CONTAINER), `GET journal?subject=ID`, `GET files/download?path=`.  In-process it must be the application
  *without* its guard, for the viewer has passed the guard already.
* `version` is cheap, without effect, and grows with every change worth showing.
* Pages work as well in front of any other Mesos master, with `api=pagekit.api.Remote("http://host:5050")`;
  what only ours has (the journal, the way to the agents) is then missing.

``snapshot``  the state of the pool, fetched once for all viewers
``views``     what pages show, computed from a snapshot: pure
``site``      the pages themselves
"""

from altiplano.master.pages.site import Pages, build

__all__ = ["Pages", "build"]
