"""The report page of an experiment, exp/<tag>/report/index.html: one file that needs no network."""
