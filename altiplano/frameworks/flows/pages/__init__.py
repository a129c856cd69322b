"""The flows' web pages: the list of flows, and one flow as a live graph.

    from altiplano.frameworks.flows import pages

    app = pages.build(flows=lambda: [pages.of_state(state)], version=lambda: position, clock=clock)

`flows` gives what is known now, as plain values, and costs nothing worth caching: pages call it once for each
request, `version` twice a second for each viewer.  The application serves `/`, `/ui/…` and `/static/…`, also when
it is mounted below another path (`root_path`); whoever serves it puts a guard in front.

``picture``  a flow as plain values: `FlowPicture`, `RulePicture`; `picture.of_state` makes one from a `FlowState`
``layout``   where rules are drawn: layers, few crossings, collapsed when there are many; pure
``site``     the pages
"""

from altiplano.frameworks.flows.pages.picture import FlowPicture, RulePicture, of_state
from altiplano.frameworks.flows.pages.site import build

__all__ = ["FlowPicture", "RulePicture", "build", "of_state"]
