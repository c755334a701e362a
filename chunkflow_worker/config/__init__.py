"""What does the user want?

options.py      options declared once: YAML keys, schema and command-line flags of an operator
settings.py     how a worker runs, from environment variables
yaml_file.py    YAML files, read with clear errors
extras.py       libraries that come with an extra of this package
"""
