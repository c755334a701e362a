"""What will it take?

prices.py           the price table: machines and services of AWS
prices.yaml         the table that comes with the package; copy it, edit it, and give it to --prices

Nothing here prints, and nothing here changes a job.
"""
