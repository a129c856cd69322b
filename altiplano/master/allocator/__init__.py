"""Who is offered what.

``sorter``     the fair order of roles and frameworks
``filters``    what was declined, and until when
``split``      one agent for several frameworks
``allocator``  runs over what has changed
"""
