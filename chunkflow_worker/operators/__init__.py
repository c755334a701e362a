"""One operator per file; the file's name is the operator's, with underscores. Found by `chunkflow_worker.pipeline.operator`."""
