"""Starts and reaps all tasks of an agent, and outlives it.

`client` is the agent's side (asyncio, behind `altiplano.ports.launcher`).  Two
small processes do the work and import the standard library only: the
supervisor (`server` and what it uses) and above it the `keeper`.
docs/supervisor.md draws who is whose parent and what happens when one dies.
"""
