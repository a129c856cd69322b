"""Flows: a graph of rules from a workflow file, run on the pool until every output is made.

``lexer``, ``makeflow``  the workflow language, as a pure parser
``workflow``             what a file says: `Workflow`, `Rule`, `Problem`, `WorkflowError`
``graph``                who needs whom; everything that can be told before anything runs
"""
