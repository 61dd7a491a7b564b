"""Running a training: the loop (`trainer`), what it keeps (`run_directory`, `checkpoint`), layer-parallel processes (`pipeline`),
how it is stopped (`interrupt`), and how long its steps take (`bench`)."""
