"""Who is offered what.

``sorter``     the fair order of roles and frameworks
``pool``       what is known of agents and frameworks
``filters``    what was declined, and until when
``quota``      limits and guarantees of roles
``split``      one agent for several frameworks
``slices``     one slice of a run: the rules
``allocator``  runs over what has changed
"""
