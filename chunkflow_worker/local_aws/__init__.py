"""What stands in for AWS on this machine?

serve.py        serves SQS, S3 and CloudWatch, for laptops, tests and the demo
sqs/            how SQS works
kept_s3.py      keeps the objects of S3 in a folder
database.py     opens the files in which they are kept
mended_moto.py  makes moto, which serves all but SQS, fast enough for many objects
stub_sqs.py     the same SQS in memory, with faults and a clock for tests
"""
