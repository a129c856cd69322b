"""The connection of a master and an agent: one, full-duplex, dialled by the agent.

``messages``   what the two say to each other
``session``    pure: sequence numbers, acknowledgement, flow control, streams
``transport``  WebSocket on both sides

Master and agent meet only here.
"""
