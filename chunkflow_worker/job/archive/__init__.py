"""An archive: the records of a job's boxes in one Parquet file.

    <ledger>/archive/<job>.0001.parquet    records of boxes that are done, in the order of the boxes
    <ledger>/archive/void/<box>.json       the archived record of this box does not count

columns.py    what a row holds
file.py       one archive: written, read
archives.py   those of a ledger
ledger.py     a ledger that also reads its archives
"""
