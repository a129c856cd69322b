"""The master: knows who is in the pool, offers what is free, passes on what is said.

``core``        events in, facts and effects out
``events``, ``facts``, ``effects``, ``outcome``   its language
``state``       what it knows; ``invariants`` what must hold of that
``frameworks``, ``agents``, ``arrivals``, ``tasks``, ``offers``, ``operations``, ``reconcile``   what it decides
``validation``  what it refuses, with which sentences
``allocator``   who is offered what
``view``, ``legacy``, ``metrics``   what it shows
``settings``    its flags
``shell``, ``server``, ``api``      streams, links, HTTP
``pages``       its part of the web page
"""
