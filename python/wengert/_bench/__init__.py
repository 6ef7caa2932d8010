"""What times wengert beside its peers; `wengert-bench` and ``bench/peers/run.py`` run it."""
