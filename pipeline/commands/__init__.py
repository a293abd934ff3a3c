"""The commands: every module here is one, with its ``CONFIG`` and ``run(config)``; heavy imports wait for `run`."""
