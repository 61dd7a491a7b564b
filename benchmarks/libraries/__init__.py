"""Other libraries, each as its users would write it: `library` says what all have in common, `catalogue`
names them, `run` compares."""
