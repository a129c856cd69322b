"""The executors that live inside an agent: pure cores that say what becomes of a task.

``command``  one command, run without an executor process
"""
