"""How does a job of several stages come to its end?

course.py     goes through all stages again and again, until nothing more happens
stage_run.py  one stage: what its ledger and its queue say, and what follows from that
parts.py      the jobs of a stage: all boxes of its grid, or one wave of its tree after the other
sender.py     sends one of them, once, whoever tries
ending.py     whether a stage that is not complete has failed
redo.py       forgets what was done of some stages
"""
