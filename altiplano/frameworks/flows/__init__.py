"""Flows: a graph of rules from a workflow file, run on the pool until every output is made.

``lexer``, ``makeflow``     the workflow language, as a pure parser
``workflow``                what a file says: `Workflow`, `Rule`, `Problem`, `WorkflowError`
``graph``                   who needs whom; everything that can be told before anything runs
``core``, ``draft``         `FlowCore` decides; with ``events``, ``facts``, ``effects`` as its words
``state``, ``progress``     what the facts add up to; the table of a rule's states
``placement``, ``resume``   which rule goes where; which rule runs again
``view``                    what people are shown, and why a rule waits
``transactions``            `FlowLog`, the log that an interrupted run goes on from
``contents``, ``datapath``, ``wrapper``  how files get to commands and back
``opening``, ``files``, ``launching``, ``here``  workflow files to graphs, rules to files, tasks and LOCAL processes
``shell``, ``api``          `FlowRun` carries out what the core decides; what it answers over HTTP
``starting``                the tasks of an offer, built in slices
``registration``, ``hosted``, ``tail``, ``keeping``  what a run tells the host of frameworks, which keeps its page
``pages``                   the web pages
"""
