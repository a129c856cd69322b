"""Frameworks: programs that use the pool.  They know the SDK, and neither each other nor master and agent.

``flows``  graphs of jobs
``host``   the process of `altiplano up` in which frameworks live
"""
