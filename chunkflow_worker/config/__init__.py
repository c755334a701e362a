"""What does the user want?

options.py      options declared once: YAML keys, schema and command-line flags of an operator
values.py       values as YAML reads them, taken as the command line would take them
variables.py    ${env:NAME} in what a user wrote, replaced by the variable's value
places.py       paths as users write them: mistakes in them, and formats around them
queue_name.py   a queue by its name, URL or ARN
facts.py        what an operator says about itself, for those that must not know its name
catalog.py      the operators that can be used here, and their facts, read without importing them
old_words.py    what older versions called an option, and what to write today
commands.py     commands of click that take old words, and tell wrong usage in a line or two
settings.py     how a worker runs, from environment variables
largest_block.py   how many bytes one piece of a stored image may unpack to
cache_size.py   how many bytes of decoded blocks a process keeps
yaml_file.py    YAML files, read with clear errors
extras.py       libraries that come with an extra of this package
"""
