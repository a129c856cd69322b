"""`/agent/<agent id>/<path>`: an agent's own API, through its link, for agents that nobody can dial."""

from __future__ import annotations

from altiplano.engine import http
from altiplano.link import proxy
from altiplano.master.shell import Shell

PREFIX = proxy.PREFIX


class AgentProxy:
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    async def __call__(self, scope: http.Scope, receive: http.Receive, send: http.Send) -> None:
        asked = proxy.split(scope["path"])
        if asked is None:
            raise http.Refusal(404, f"write {PREFIX}<agent id>/<path of the agent>")
        agent_id, path = asked
        connection = self._shell.connection_of(agent_id)
        if connection is None:
            known = agent_id in self._shell.core.state.agents
            sentence = f"agent {agent_id} is not connected" if known else f"No agent found with ID {agent_id}"
            raise http.Refusal(503 if known else 404, sentence)
        await proxy.pass_on(connection.streams, path, scope, receive, send, cause=self._shell.cause("proxy"))
