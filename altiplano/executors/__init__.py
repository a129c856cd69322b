"""The executors that an agent knows: pure cores that say what becomes of a task.

``command``  one command, run without an executor process
``custom``   programs of frameworks that speak the executor API
``group``    commands that live and die together
"""
