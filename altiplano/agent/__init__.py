"""The agent: runs tasks on one machine and tells the master what became of them.

Pure, in the order to read them:
``state``        what an agent knows, and `apply`
``launch``       the way of a task from its arrival to its end: a table of stages
``updates``      one stream of status updates per task, the head in flight
``recovery``     what to do with what an earlier process of this agent left behind
``membership``   finding, greeting and losing the master
``core``         events to decisions; ``events``, ``facts``, ``effects`` are its words
``environment``, ``isolation``, ``sandbox``   what a container gets
``view``         state to what people and programs read

Acting:
``shell``        carries effects out
``fetcher``      files for sandboxes
``detect``       what this machine has
``server``, ``api``   HTTP
"""
