"""How is a job told to those who were not there?

build.py           gathers what a report says
document.py        what a report says: figures, plan, what was verified, chain and dates
page.py            the report as one file of HTML, without scripts and without the network
place_svg.py       the map of boxes as a picture
progress_svg.py    progress over time as a picture
gantt_svg.py       the workers over time as a picture
svg.py             parts of pictures
methods.py         a sentence for the methods section of a paper
words.py           numbers, times and text of strangers as words for people
files.py           where a report lies, and how it is written

Nothing here prints.
"""
