"""The shell that every process shares: one queue, one core, one log, one ordered way out.

``core``      what a core is: `Event`, `Fact`, `Effect`, `Decision`, the `Core` protocol
``records``   facts to bytes and back, with versions
``outbox``    what is said, in order, each part not before the log holds what it rests on
``journal``   what happened, by subject, for people who ask why
``recorder``  the flight recorder: inputs of the core, replayable
``loop``      `Engine`, which joins them
"""
