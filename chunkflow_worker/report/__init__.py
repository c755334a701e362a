"""What do people and monitors learn about tasks?

events.py        what happens to tasks, as frozen records that subscribers receive
log.py           a subscriber that writes to the log
quiet.py         keeps the libraries of storage from logging what they also raise
cloudwatch.py    a subscriber that sends metrics to CloudWatch
prometheus.py    a subscriber that counts, and answers Prometheus
traces.py        a subscriber that makes traces of OpenTelemetry
own_hosts.py     by which names a server on this machine may be asked
web_gate.py      keeps web pages away from such a server
tally.py         counts of renewals, outages and throttles in this process
progress.py      the progress of long work on stderr, as a bar or as lines
timings.py       tables of seconds and speed by operator
once.py          warnings that are given once a process
access.py        what errors of AWS, Google Cloud and the network mean, and what to do
unavailable.py   whether an error means that a service is overloaded or away
aws_session.py   the AWS session of this process, whose credentials may be renewed
outage.py        one log line when a service fails, and one when it recovers
excerpt.py       the log lines and the traceback that a failure record keeps
scrub.py         hides credentials in logs, records and what commands print
plain.py         makes text of strangers harmless for a terminal or a log
say.py           the one way in which commands print
"""
