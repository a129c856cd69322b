"""The simulator: real cores and shells on a virtual clock, with a network, disks and machines that fail on order.

``loop``       an event loop whose time jumps to the next timer; nothing real happens in it
``net``        in-memory transports: real HTTP servers and clients run on them unmodified
``cluster``    a whole pool in one loop: masters, agents, schedulers joined at the seam of their messages
``faults``     what goes wrong, drawn from the seed
``workloads``  what the pool is asked to do
``checkers``   what must hold meanwhile and in the end
``run``        one seed from begin to end, and many
"""
