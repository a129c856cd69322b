"""The agent's HTTP APIs.

``operator``, ``executor``  the v1 APIs
``legacy``                  what tools written for Mesos read
``paths``, ``usage``        files of sandboxes, measurements of containers
``access``                  who may
"""
