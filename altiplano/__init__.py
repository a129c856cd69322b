"""altiplano: one pool out of a facility's machines.

Sub-packages, from the bottom: ``kit`` (small helpers), ``model`` (values), ``wire`` (messages of the
Mesos v1 API), ``ports`` (what the outside can do for us), ``adapters`` (the real outside), ``engine``
and ``link`` (the shell every process shares, and the connection of master and agent), ``executors``
and ``pagekit``, then ``master``, ``agent`` and ``sdk``, the frameworks, and ``cli`` and ``sim`` on top.
"""

__version__ = "0.1.0"

MESOS_VERSION = "1.11.0"
"""The level of the Mesos v1 API we report: clients parse it as three integers."""
